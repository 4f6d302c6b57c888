"""Notebooks run from start to end, are the scripts they are paired with, and tell no machine."""

from pathlib import Path

import jupytext
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel of this interpreter, found before any other of the machine, and kept from home."""
    write_kernel_spec(tmp_path / "jupyter" / "kernels" / "here")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return "here"


def execute(path, kernel, folder):
    work = folder / "work"
    work.mkdir()
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, kernel_name=kernel, timeout=900, resources={"metadata": {"path": str(work)}}
    )
    client.execute()
    assert list(work.iterdir()) == []
    return notebook


def figures_in(notebook):
    outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    return sum("image/png" in output.get("data", {}) for output in outputs)


def test_the_first_tour_runs(kernel, tmp_path):
    path = next(path for path in NOTEBOOKS if path.stem == "smoke")
    assert figures_in(execute(path, kernel, tmp_path)) == 1


@pytest.mark.slow
@each_notebook
def test_notebook_runs(path, kernel, tmp_path):
    before = figures_in(nbformat.read(path, as_version=4))
    assert figures_in(execute(path, kernel, tmp_path)) == before > 0


@each_notebook
def test_notebook_is_its_script(path):
    notebook, script = jupytext.read(path), jupytext.read(path.with_suffix(".py"))
    cells, wanted = (
        [(cell.cell_type, cell.source) for cell in part.cells] for part in (notebook, script)
    )
    assert cells == wanted, f"run: python notebooks/execute.py {path.stem}"


@each_notebook
def test_outputs_are_whole_and_tell_no_machine(path):
    code = [cell for cell in jupytext.read(path).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    text = path.read_text()
    for trace in (str(path.parents[1]), "/home/", "/Users/", "/tmp/", "site-packages"):
        assert trace not in text
    assert path.stat().st_size < 1.5e6
