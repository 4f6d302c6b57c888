"""Documentation and help list every figure and every guide that is registered."""

import re
from pathlib import Path

import matplotlib.pyplot as plt
import pytest

from inference.cli import main
from inference.figures import FIGURES
from inference.figures.listed import figures_as_markdown
from inference.posterior.guides import GUIDES
from inference.programs.guides import PROGRAM_GUIDES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/figures.md").read_text(encoding="utf-8")


def test_the_page_has_the_table_of_all_figures():
    assert figures_as_markdown() in PAGE, "write figures_as_markdown() into docs/figures.md"


def test_the_page_of_guides_names_all_and_the_front_page_counts_them():
    page = (ROOT / "docs/which-guide.md").read_text(encoding="utf-8")
    pairs, _, programs = page.partition("All names, for pairs: ")[2].partition("For any Pyro model")
    assert re.findall(r"`(\w+)`", pairs) == list(GUIDES)
    assert re.findall(r"`(\w+)`", programs) == list(PROGRAM_GUIDES)
    front = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"# {len(GUIDES)} guides by name" in front


@pytest.mark.parametrize(
    ("command", "names"), [("plot", FIGURES), ("infer", GUIDES), ("guides", GUIDES)]
)
def test_help_lists_all_names(command, names, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    words = set(re.findall(r"\w+", capsys.readouterr().out.replace("\n", " ")))
    assert set(names) <= words
    assert "{guides}" not in words


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "figures.md", "exec"), {})
    plt.close("all")
    assert (tmp_path / "two.png").stat().st_size > 20_000
    assert (tmp_path / "side-by-side.png").exists()
