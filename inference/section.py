"""A part of the report that another package makes: numbers in words, and figures in files."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

__all__ = ["MakeSection", "Section"]


@dataclass(frozen=True)
class Section:
    """What is shown of one piece of work.

    Attributes
    ----------
    key
        Its anchor on the page.
    title
        Its heading.
    text
        What was done, in a sentence or two.
    lines
        Numbers, one line each; every line says what its number is.
    figures
        Caption → file inside the report's folder.
    """

    key: str
    title: str
    text: str
    lines: Sequence[str]
    figures: Mapping[str, Path]

    def to_html(self, folder: Path) -> str:
        """The section for a page in ``folder``."""
        images = "".join(
            f'<figure><img src="{html.escape(path.relative_to(folder).as_posix())}" '
            f'alt="{html.escape(caption)}"><figcaption>{html.escape(caption)}</figcaption></figure>'
            for caption, path in self.figures.items()
        )
        lines = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines)
        return (
            f'<section id="{html.escape(self.key)}"><h2>{html.escape(self.title)}</h2>'
            f"<p>{html.escape(self.text)}</p><ul>{lines}</ul><div>{images}</div></section>"
        )


class MakeSection(Protocol):
    """Does the work, writes its figures below ``folder``, and says what is to be shown."""

    def __call__(self, folder: Path, *, seed: int) -> Section:
        """Make the section."""
        ...
