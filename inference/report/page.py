"""The page of a report: one HTML file, its figures beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from inference.evaluation import Comparison
from inference.report.section import Section
from inference.templates import render
from pyro_models.files import write_atomically

__all__ = ["write_page", "write_section"]


def write_section(part: Section, folder: Path) -> str:
    """The section's HTML; its figures are written to ``folder/figures``."""
    files = {title: f"{part.key}-{_plain(title)}.png" for title in part.figures}
    for title, figure in part.figures.items():
        _save(figure, folder / "figures" / files[title])
    return render("section.html", part=part, files=files)


def _plain(title: str) -> str:
    """A title as a part of a file's name."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in title)
    return "-".join(word for word in kept.split("-") if word)


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


def write_page(table: Comparison, sections: Sequence[str], folder: Path) -> None:
    """Write ``index.html``: the comparison first, then the sections."""
    html = render(
        "report.html",
        table=table.to_html(),
        sections=sections,
        folder=folder,
    )
    write_atomically(folder / "index.html", html)
