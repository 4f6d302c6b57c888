"""Run the notebooks and keep their outputs: ``python notebooks/execute.py [name ...]``.

Each ``name.py`` becomes ``name.ipynb`` with figures inside, and without what differs from one
machine to another: paths, times, versions, and warnings (these are printed here instead).
"""

import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent
NAMES = (
    "smoke",
    "density_models",
    "likelihoods",
    "bounds",
    "conditioning",
    "encoder_free",
    "half_images",
    "swap_guides",
    "gp_bo",
    "flows",
    "gans",
    "vae_gan_flow",
    "any_model",
)
METADATA = {
    "jupytext": {
        "formats": "ipynb,py:percent",
        "notebook_metadata_filter": "-jupytext.text_representation",
    },
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def execute(name):
    notebook = jupytext.read(FOLDER / f"{name}.py")
    with tempfile.TemporaryDirectory() as elsewhere:
        NotebookClient(
            notebook,
            timeout=None,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": elsewhere}},
        ).execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for i, cell in enumerate(notebook.cells):
        cell.id = f"cell-{i:02d}"
        if cell.cell_type == "code":
            for output in cell.outputs:
                if output.get("name") == "stderr":
                    print(output.text, file=sys.stderr)
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    nbformat.write(notebook, FOLDER / f"{name}.ipynb")


if __name__ == "__main__":
    for name in sys.argv[1:] or NAMES:
        start = time.perf_counter()
        execute(name)
        print(f"{name}.ipynb: {time.perf_counter() - start:.0f} s")
