"""The page of a report: its sections, one HTML file, its figures beside it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from inference.evaluation import Comparison
from inference.templates import render
from pyro_models.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MakeSection", "Section", "write_page", "write_section"]


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    key, title
        Its anchor, which the names of its figures begin with, and its heading.
    words, numbers
        What was done, as HTML; a line each, plain text: what it is, its kind and its error.
    figures, table
        Its figures, by what is written below them; an HTML table, or nothing.
    """

    key: str
    title: str
    words: str
    numbers: tuple[str, ...] = ()
    figures: Mapping[str, Figure] = field(default_factory=dict)
    table: str = ""


class MakeSection(Protocol):
    """Does the work and says what is to be shown; for packages that build on this one."""

    def __call__(self, *, seed: int) -> Section:
        """Make the part."""
        ...


def write_section(part: Section, folder: Path) -> str:
    """The section's HTML; its figures are written to ``folder/figures``."""
    files = {}
    for title, figure in part.figures.items():
        words = re.sub("[^a-zA-Z0-9]+", "-", title).strip("-")
        files[title] = f"{part.key}-{words}.png"
        save = partial(figure.savefig, format="png", dpi=130)
        write_atomically(folder / "figures" / files[title], save)
    return render("section.html", part=part, files=files)


def write_page(table: Comparison, sections: Sequence[str], folder: Path) -> None:
    """Write ``index.html``: the comparison first, then the sections."""
    html = render("report.html", table=table.to_html(), sections=sections, folder=folder)
    write_atomically(folder / "index.html", html)
