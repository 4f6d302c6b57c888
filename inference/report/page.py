"""The page of a report: its sections, one HTML file, its figures beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from inference.evaluation import Comparison
from inference.report.colophon import Colophon
from inference.templates import render
from pyro_models.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MakeSection", "Section", "write_page", "write_section"]

TITLE = "Density models of handwritten digits"
_DPI = 160


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    key, title
        Its anchor, which the names of its figures begin with, and its heading.
    words, settings, numbers
        What was done, and why, as HTML; how, in a line of small print; and a line for each number,
        plain text: what it is, its kind and its error.
    figures, table
        Its figures, by what is written below them: what it is, and after a colon what to see in it;
        an HTML table, or nothing.
    """

    key: str
    title: str
    words: str
    numbers: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    table: str = ""
    settings: str = ""


class MakeSection(Protocol):
    """Does the work and says what is to be shown; for packages that build on this one."""

    def __call__(self, *, seed: int) -> Section:
        """Make the part."""
        ...


def write_section(part: Section, folder: Path) -> str:
    """The section's HTML; its figures are written to ``folder/figures``."""
    files: dict[str, str] = {}
    for caption, figure in part.figures.items():
        name = _file_name(f"{part.key}-{caption.partition(': ')[0]}")
        while f"{name}.png" in files.values():
            name += "-"
        files[caption] = f"{name}.png"
        save = partial(figure.savefig, format="png", dpi=_DPI)
        write_atomically(folder / "figures" / files[caption], save)
    return render("section.html", part=part, files=files)


def _file_name(words: str) -> str:
    return re.sub("[^a-zA-Z0-9]+", "-", words).strip("-")


def write_page(
    table: Comparison,
    sections: Sequence[tuple[Section, str]],
    folder: Path,
    *,
    colophon: Colophon,
) -> None:
    """Write ``index.html``: the comparison first, then the sections, each with its HTML."""
    html = render(
        "report.html",
        title=TITLE,
        colophon=colophon,
        count=len(table.rows),
        table=table.to_html(),
        parts=[part for part, _ in sections],
        sections=[text for _, text in sections],
        folder=folder,
    )
    write_atomically(folder / "index.html", html)
