"""All registered figures as a table, for documentation that cannot fall behind."""

from __future__ import annotations

from inference.figures.registry import FIGURES

__all__ = ["figures_as_markdown"]


def figures_as_markdown() -> str:
    """A table in Markdown of every registered figure: its name, what it shows, what it needs.

    >>> print(figures_as_markdown().partition("reconstructions")[0])
    | figure | what it shows | what it needs |
    |---|---|---|
    | `
    """
    lines = ["| figure | what it shows | what it needs |", "|---|---|---|"]
    for name, figure in FIGURES.items():
        cells = (f"`{name}`", figure.summary, figure.needs or "a record of a training")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"
