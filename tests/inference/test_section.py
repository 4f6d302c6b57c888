"""Sections of the report that other packages make."""

from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from inference import cli, report
from inference.section import Section
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


def test_a_section_links_its_figures_from_the_page_and_escapes_its_words(tmp_path: Path) -> None:
    figures = {"a < b": tmp_path / "figures" / "a b.png"}
    section = Section("key", "f & g", "x > 0", ["R-hat < 1.05"], figures)
    page = _Page()
    page.feed(section.to_html(tmp_path))
    assert page.images == ["figures/a b.png"]
    assert page.text == ["f & g", "x > 0", "R-hat < 1.05", "a < b"]


def test_the_demonstration_ends_with_the_sections_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = next(entry for entry in report.ENTRIES if entry.key == "ppca")
    monkeypatch.setattr(report, "ENTRIES", (replace(entry, training={"epochs": 1}, draw={}),))

    def make(folder: Path, *, seed: int) -> Section:
        return Section("extra", "Extra", f"with seed {seed}", [], {})

    report.demo(str(tmp_path / "r"), num_particles=1, seed=3, progress=False, sections=[make])
    page = (tmp_path / "r" / "index.html").read_text()
    assert page.index('id="ppca"') < page.index('id="extra"') < page.index("with seed 3")


def test_the_command_passes_the_section_of_functions_to_the_demonstration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Any] = []
    monkeypatch.setitem(cli.COMMANDS, "demo", _demo(seen))
    monkeypatch.setattr("sys.argv", ["pyro-models", "demo", "--seed", "4"])
    assert console.main() == 0
    assert seen == [(4, [console._functions])]


def _demo(seen: list[Any]) -> Any:
    def demo(seed: int = 0, *, sections: Any = ()) -> None:
        """Report."""
        seen.append((seed, sections))

    return demo
