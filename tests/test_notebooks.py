"""Notebooks run from start to end, are the scripts they are paired with, and read like a course."""

import base64
import importlib
import io
import re
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SETTINGS = 'DATA = "digits"  # or "mnist", "fashion-mnist"\nDEVICE = "cpu"  # or "cuda"'
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel of this interpreter, found before any other of the machine, and kept from home."""
    for name in ("here", "python3"):
        write_kernel_spec(tmp_path / "jupyter" / "kernels" / name)
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return "here"


@pytest.fixture
def execute_module(monkeypatch):
    """``notebooks/execute.py``, which is no package's."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("execute")
    for name in ("execute", "shrink"):
        sys.modules.pop(name, None)


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


def code_of(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs_of(notebook):
    return [output for cell in code_of(notebook) for output in cell.get("outputs", [])]


def pngs_in(notebook):
    shown = [output.get("data", {}) for output in outputs_of(notebook)]
    return [base64.b64decode(data["image/png"]) for data in shown if "image/png" in data]


def png_of(image):
    written = io.BytesIO()
    image.save(written, "PNG")
    return written.getvalue()


def with_figures(*pngs):
    cell = nbformat.v4.new_code_cell("figure")
    for png in pngs:
        data = {"image/png": base64.b64encode(png).decode()}
        cell.outputs.append(nbformat.v4.new_output("display_data", data))
    return nbformat.v4.new_notebook(cells=[cell])


def is_hidden(cell):
    folded = cell.metadata.get("jupyter") == {"source_hidden": True, "outputs_hidden": True}
    assert folded == ("hide-cell" in cell.metadata.get("tags", []))  # JupyterLab's, and MyST's
    return folded


def test_the_first_tour_runs(kernel, tmp_path):
    path = next(path for path in NOTEBOOKS if path.stem == "smoke")
    before = len(pngs_in(nbformat.read(path, as_version=4)))
    assert len(pngs_in(execute(path, kernel, tmp_path))) == before > 0


@pytest.mark.slow
@each_notebook
def test_notebook_runs(path, kernel, tmp_path):
    before = len(pngs_in(nbformat.read(path, as_version=4)))
    assert len(pngs_in(execute(path, kernel, tmp_path))) == before > 0


@each_notebook
def test_notebook_is_its_script(path):
    cells, wanted = (
        [
            (cell.cell_type, cell.source, cell.metadata.get("tags"), cell.metadata.get("jupyter"))
            for cell in jupytext.read(file).cells
        ]
        for file in (path, path.with_suffix(".py"))
    )
    assert cells == wanted, f"run: python notebooks/execute.py {path.stem}"


@each_notebook
def test_outputs_are_whole_and_tell_no_machine(path):
    code = code_of(jupytext.read(path))
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    text = path.read_text()
    for trace in (str(path.parents[1]), "/home/", "/Users/", "/tmp/", "site-packages"):
        assert trace not in text


@each_notebook
def test_notebook_is_small(path):
    assert path.stat().st_size < 300_000


@each_notebook
def test_outputs_hold_no_tensors_or_modules_as_text(path):
    for output in outputs_of(jupytext.read(path)):
        shown = [output.get("text", "")]
        shown += [text for kind, text in output.get("data", {}).items() if kind != "image/png"]
        for text in shown:
            assert not re.search(r"tensor\(|dtype=|in_features=|^\s*\(\w+\): \w+\(", text, re.M)


@each_notebook
def test_figures_are_legible_on_light_and_dark_pages(path):
    for png in pngs_in(jupytext.read(path)):
        image = Image.open(io.BytesIO(png))
        assert "transparency" not in image.info
        assert image.mode in ("P", "L", "1", "RGB")
        pixels = image.convert("L")
        assert pixels.width >= 200
        assert min(pixels.getpixel((x, pixels.height - 1)) for x in (0, pixels.width - 1)) > 240
        assert pixels.getextrema()[0] < 130  # something dark is on it


@each_notebook
def test_sections_go_from_a_question_to_what_to_see(path):
    text = path.with_suffix(".py").read_text()
    first, *sections = re.split(r"^# ## ", text, flags=re.M)
    assert len(sections) >= 3
    assert "$$" in text
    for section in sections[:-1]:
        title = section.splitlines()[0]
        assert "*Question.*" in section, title
        assert re.search(r"\*What to see(\.\*|:\*)", section), title
    assert first.count("# # ") == 1


@each_notebook
def test_an_exercise_ends_it_whose_answer_is_folded(path):
    cells = jupytext.read(path).cells
    (start,) = (i for i, cell in enumerate(cells) if re.search(r"^## Exercise$", cell.source, re.M))
    answer, *after = cells[start + 1 :]
    assert answer.cell_type == "code"
    assert is_hidden(answer)
    assert answer.outputs
    assert [cell.cell_type for cell in after] in ([], ["markdown"])
    assert not any(is_hidden(cell) for cell in cells[: start + 1])


@each_notebook
def test_data_and_device_are_set_at_the_top(path):
    first, *others = [cell.source for cell in code_of(jupytext.read(path))]
    if not any("load_data" in source for source in others):
        assert path.stem in ("gp_bo", "any_model")
        return
    assert first == SETTINGS
    for source in others:
        assert not re.search(r'load_data\((?!DATA\b)|device="(cpu|cuda)', source)


def test_all_notebooks_are_read_in_the_order_of_the_table(execute_module):
    readme = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| (\d+) \| \[`(\w+)`\]\((\w+)\.ipynb\) \|", readme, re.M)
    assert [name for _, name, _ in rows] == [link for _, _, link in rows]
    assert [name for _, name, _ in rows] == list(execute_module.NAMES)
    assert [int(number) for number, _, _ in rows] == list(range(1, len(NOTEBOOKS) + 1))
    assert sorted(execute_module.NAMES) == [path.stem for path in NOTEBOOKS]


@pytest.mark.parametrize("asked", [[], ["nosuch"], ["--all", "smoke"]])
def test_execute_refuses_what_it_cannot_run(execute_module, monkeypatch, capsys, asked):
    monkeypatch.setattr(sys, "argv", ["execute.py", *asked])
    with pytest.raises(SystemExit) as stop:
        execute_module.main()
    assert stop.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert ("no notebook 'nosuch'" if asked == ["nosuch"] else "or --all") in said


def test_execute_goes_on_after_one_that_fails(
    execute_module, kernel, monkeypatch, tmp_path, capsys
):
    (tmp_path / "broken.py").write_text("# %%\n1 / 0\n")
    (tmp_path / "whole.py").write_text(
        "# %%\nimport sys\nprint('warned', file=sys.stderr)\n\n"
        '# %% tags=["hide-cell"] jupyter={"source_hidden": true, "outputs_hidden": true}\n'
        "print(6 * 7)\n"
    )
    monkeypatch.setattr(execute_module, "FOLDER", tmp_path)
    monkeypatch.setattr(execute_module, "NAMES", ("broken", "whole"))
    monkeypatch.setattr(sys, "argv", ["execute.py", "--all"])
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(SystemExit, match="failed: broken"):
        execute_module.main()
    assert not (tmp_path / "broken.ipynb").exists()
    first, second = nbformat.read(tmp_path / "whole.ipynb", as_version=4).cells
    assert first.outputs == []
    assert second.outputs[0].text == "42\n"
    assert is_hidden(second)
    printed = capsys.readouterr()
    assert "ZeroDivisionError" in printed.err
    assert "whole.ipynb: " in printed.out


def test_figures_are_put_on_white(execute_module):
    clear = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (100, 50, 200, 150))
    (small,) = pngs_in(execute_module.shrink(with_figures(png_of(clear))))
    image = Image.open(io.BytesIO(small)).convert("RGB")
    assert image.size == (300, 200)
    assert image.getpixel((0, 0)) == (255, 255, 255)
    assert image.getpixel((150, 100)) == (0, 0, 0)


def test_few_colored_points_keep_their_colors_beside_many_grey_pixels(execute_module):
    image = Image.linear_gradient("L").resize((600, 400)).convert("RGB")
    points = [(230, 60, 20), (40, 120, 220), (120, 60, 160), (250, 170, 10)]
    for i, color in enumerate(points):
        image.paste(color, (100 * i + 50, 50, 100 * i + 56, 56))
    limit = len(nbformat.writes(with_figures()).encode()) + 3500
    (small,) = pngs_in(execute_module.shrink(with_figures(png_of(image)), limit=limit))
    reduced = Image.open(io.BytesIO(small)).convert("RGB")
    assert len(reduced.getcolors()) < 64
    scale = reduced.width / image.width
    for i, color in enumerate(points):
        seen = reduced.getpixel((round((100 * i + 53) * scale), round(53 * scale)))
        assert max(abs(a - b) for a, b in zip(seen, color, strict=True)) < 40


def test_the_largest_figures_shrink_until_the_notebook_fits(execute_module):
    line = Image.new("RGB", (400, 300), "white")
    for shade in range(100):
        line.paste((shade, 0, 255 - shade), (shade, shade, shade + 200, shade + 2))
    noise = png_of(Image.effect_noise((1200, 300), 80).convert("RGB"))
    colors = {}
    for limit in (2_000_000, 220_000, 120_000):
        small = execute_module.shrink(with_figures(png_of(line), noise), limit=limit)
        assert len(nbformat.writes(small).encode()) <= limit
        kept, reduced = (Image.open(io.BytesIO(png)).convert("RGB") for png in pngs_in(small))
        assert kept.size == line.size
        assert len(kept.getcolors()) == len(line.getcolors()) == 101
        assert reduced.width <= 900
        colors[limit] = len(reduced.getcolors())
    assert colors[2_000_000] == 256 > colors[220_000] > colors[120_000]
    with pytest.raises(ValueError, match="leave some out"):
        execute_module.shrink(with_figures(noise), limit=10_000)
