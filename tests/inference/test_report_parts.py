"""Parts of the report that other packages make."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from inference import cli, report
from inference.report import Section, demonstration, models
from inference.report.page import write_section
from pyro_models import console


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.images: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.images.append(str(dict(attrs)["src"]))

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_a_part_links_its_figures_from_the_page_and_escapes_its_words(tmp_path: Path) -> None:
    figures = {"a < θ": Figure()}
    part = Section("key", "f & g", "x &gt; 0", numbers=("R-hat < 1.05",), figures=figures)
    page = _Page()
    page.feed(write_section(part, tmp_path))
    assert page.images == ["figures/key-a.png"]
    assert (tmp_path / "figures" / "key-a.png").read_bytes().startswith(b"\x89PNG")
    assert page.text == ["f & g", "x > 0", "R-hat < 1.05", "a < θ"]


def test_a_caption_says_what_it_is_and_what_to_see_and_names_no_two_files_alike(
    tmp_path: Path,
) -> None:
    captions = {"Draws: look at the tails": Figure(), "Draws: and at the middle": Figure()}
    part = Section("key", "title", "words", figures=captions, settings="lr = 0.1")
    page = _Page()
    page.feed(write_section(part, tmp_path))
    assert page.text[-4:] == ["Draws.", " Look at the tails", "Draws.", " And at the middle"]
    assert "lr = 0.1" in page.text
    assert len({*page.images}) == len(list((tmp_path / "figures").iterdir())) == 2


def test_the_demonstration_ends_with_the_parts_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = next(entry for entry in models.ENTRIES if entry.key == "ppca")
    short = (replace(entry, training={"epochs": 1}, draw={}),)
    monkeypatch.setattr(demonstration, "ENTRIES", short)
    monkeypatch.setattr(demonstration, "_unseen", lambda *_, **__: [])

    def make(*, seed: int) -> Section:
        return Section("extra", "Extra", f"with seed {seed}")

    report.demo(str(tmp_path / "r"), num_particles=1, seed=3, progress=False, parts=[make])
    page = (tmp_path / "r" / "index.html").read_text()
    assert page.index('id="ppca"') < page.index('id="extra"') < page.index("with seed 3")


def test_the_command_passes_the_part_on_functions_to_the_demonstration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(cli.COMMANDS, "demo", _demo(seen))
    monkeypatch.setattr("sys.argv", ["pyro-models", "demo", "--seed", "4"])
    assert console.main() == 0
    assert seen == [(4, [console._functions])]


def _demo(seen: list[Any]) -> Any:
    def demo(seed: int = 0, *, parts: Any = ()) -> None:
        """Report."""
        seen.append((seed, parts))

    return demo
