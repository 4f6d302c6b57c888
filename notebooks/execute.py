"""Run the notebooks and keep their outputs: ``python notebooks/execute.py NAME ...`` or ``--all``.

Each ``name.py`` becomes ``name.ipynb`` with small figures inside, and without what differs from one
machine to another: paths, times, versions, and warnings (these are printed here instead). One that
fails leaves its ``.ipynb`` as it was; the others are run all the same, and the exit status is 1.
"""

import argparse
import os
import re
import resource
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from shrink import shrink

FOLDER = Path(__file__).parent.resolve()
NAMES = (  # in the order in which they are read
    "smoke",
    "density_models",
    "likelihoods",
    "bounds",
    "conditioning",
    "encoder_free",
    "half_images",
    "swap_guides",
    "flows",
    "gans",
    "vae_gan_flow",
    "gp_bo",
    "any_model",
)
COLORED = re.compile(r"\x1b\[[0-9;]*m")  # what a terminal is told between the letters
METADATA = {
    "jupytext": {
        "formats": "ipynb,py:percent",
        "notebook_metadata_filter": "-jupytext.text_representation",
    },
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def tidy(notebook):
    """Leave out warnings, and the text of what is shown in another form, and name the cells."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        if cell.cell_type != "code":
            continue
        for output in cell.outputs:
            if output.get("name") == "stderr":
                print(output.text, file=sys.stderr)
            if {"text/html", "text/markdown", "text/latex"} & set(output.get("data", {})):
                output.data.pop("text/plain", None)
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    return notebook


def execute(name):
    """Run ``name.py`` from top to bottom in an empty folder, and write ``name.ipynb``."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    with tempfile.TemporaryDirectory() as elsewhere:
        NotebookClient(
            notebook,
            timeout=None,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": elsewhere}},
        ).execute()
    nbformat.write(shrink(tidy(notebook)), FOLDER / f"{name}.ipynb")


def processor_seconds():
    """What processes that have ended took of a processor: a kernel, after it was shut down."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    parser = argparse.ArgumentParser(description="Run notebooks and keep their outputs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--all", action="store_true", help="all of them, in reading order")
    asked = parser.parse_args()
    unknown = sorted({Path(name).stem for name in asked.names} - set(NAMES))
    if unknown or asked.all == bool(asked.names):
        parser.error(
            f"there is no notebook {unknown[0]!r}" if unknown else "give NAME ... or --all"
        )
    # The kernel starts in an empty folder; the packages are those beside this one.
    there = [str(FOLDER.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(there)
    failed = []
    for name in NAMES if asked.all else [Path(name).stem for name in asked.names]:
        before = processor_seconds()
        try:
            execute(name)
        except Exception as why:  # of any cell: the others are worth running
            failed.append(name)
            print(f"{name}: failed: {COLORED.sub('', str(why))}", file=sys.stderr, flush=True)
        else:
            size = (FOLDER / f"{name}.ipynb").stat().st_size / 1000
            seconds = processor_seconds() - before
            print(f"{name}.ipynb: {size:.0f} kB, {seconds:.0f} s of a processor", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
