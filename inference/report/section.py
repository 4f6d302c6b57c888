"""One part of a report: what it is about, its numbers, a table, and figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from matplotlib.figure import Figure

__all__ = ["MakeSection", "Section"]


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
