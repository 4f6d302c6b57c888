"""Cells under headings as lines of text within a width: wrapped headings, blocks of columns."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["LEAST", "MOST", "PIPED", "laid_out", "prose", "width_of_prose", "width_of_tables"]

LEAST, MOST = 40, 200
"""Characters between which tables are laid out, whatever the terminal's width."""

PIPED = 100
"""Characters of a line where the output is no terminal, unless ``COLUMNS`` says how many."""

_PROSE = 100  # longer lines of words are hard to read
_HEADS = (30, 20, 12)  # characters that a heading may have in a line, over narrow cells too
_GAP = 2
_RULE = "─"
_HELD = "\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}"


def width_of_tables(width: int | None = None) -> int:
    """Characters that a line of a table may have: of the terminal, unless a width is given."""
    if width is None and not (sys.stdout.isatty() or "COLUMNS" in os.environ):
        return PIPED
    columns = shutil.get_terminal_size((PIPED, 24)).columns if width is None else width
    return min(max(columns, LEAST), MOST)


def width_of_prose(width: int | None = None) -> int | None:
    """The same of lines of words; ``None`` where they are left whole, for programs that read them.

    That is where no width is given and the output is no terminal.
    """
    if width is None and not sys.stdout.isatty():
        return None
    return min(width_of_tables(width), _PROSE)


def prose(line: str, width: int | None) -> str:
    """A line of words broken at spaces, later lines set in; whole where ``width`` is ``None``.

    >>> print(prose("- what is left of it all", 16))
    - what is left
      of it all
    """
    if width is None or _width(line) <= width:
        return line
    return "\n".join(_wrapped(line, width))


def laid_out(
    heads: Sequence[Sequence[str]],
    rows: Sequence[Sequence[str]],
    *,
    keys: int = 1,
    named_rows: bool = True,
    width: int = PIPED,
) -> list[str]:
    """The lines of a table, none of which is longer than ``width`` if its cells allow it.

    Headings are wrapped, more so where that saves a block. Columns that do not fit beside each
    other stand in blocks, one below the other, as even as they can be, and each begins with the
    first ``keys`` columns. Names of rows that leave too little beside them are wrapped.

    Parameters
    ----------
    heads, rows
        For each column the lines of its heading, for each row its cells.
    keys
        How many columns at the left say what a row is of.
    named_rows
        Whether the first column is set to the left; all others are set to the right.
    width
        Characters that a line may have.

    Examples
    --------
    >>> heads = [[""], ["ELBO", "lower bound"], ["MSE"]]
    >>> print("\\n".join(laid_out(heads, [["VAE", "-1.0", "0.5"], ["PPCA", "-2.0", "0.25"]])))
                 ELBO
          lower bound   MSE
    ───────────────────────
    VAE          -1.0   0.5
    PPCA         -2.0  0.25
    """
    if not heads:
        return []
    cells = [[row[j] for row in rows] for j in range(len(heads))]
    tried = []
    for room in _HEADS:
        columns = [
            _Column.of(head, own, left=j == 0 and named_rows, room=room)
            for j, (head, own) in enumerate(zip(heads, cells, strict=True))
        ]
        tried.append(_in_blocks(columns, keys, width))
    blocks = min(tried, key=len)
    tall = any(len(column.head) > 1 for block in blocks for column in block)
    lines: list[str] = []
    for block in blocks:
        lines += [""] if lines else []
        lines += _lines(block, ruled=tall or len(blocks) > 1)
    return lines


def _in_blocks(columns: Sequence[_Column], keys: int, width: int) -> list[list[_Column]]:
    """Columns in blocks, each of which begins with the first; names are wrapped if they must be."""
    first, others = columns[:keys], columns[keys:]
    widest = max((column.width for column in others), default=0)
    spare = width - widest - _GAP * keys
    if _total(first) > spare + _GAP * (keys - 1):
        share = max(10, (spare - _GAP * (keys - 1)) // max(1, keys))
        first = [column.within(share) for column in first]
    return [[*first, *block] for block in _blocks(first, others, width)]


@dataclass(frozen=True)
class _Column:
    """A column whose heading and cells are lines already."""

    head: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]
    left: bool

    @classmethod
    def of(cls, head: Sequence[str], cells: Sequence[str], *, left: bool, room: int) -> _Column:
        """A column with its heading wrapped to ``room``, or to what its cells or words ask for."""
        body = max(map(_width, cells), default=0)
        words = [_width(word) for line in head for word in line.split()]
        room = max(body, min(room, max(map(_width, head), default=0)), *words, 1)
        lines = [part for line in head for part in _wrapped(line, room, indent="")]
        return cls(tuple(lines), tuple((cell,) for cell in cells), left)

    @property
    def width(self) -> int:
        texts = [*self.head, *(line for cell in self.cells for line in cell)]
        return max(map(_width, texts), default=0)

    def within(self, width: int) -> _Column:
        """The same with long cells and headings broken at spaces."""
        head = [part for line in self.head for part in _wrapped(line, width, indent="")]
        cells = [tuple(p for line in cell for p in _wrapped(line, width)) for cell in self.cells]
        return _Column(tuple(head), tuple(cells), self.left)

    def padded(self, text: str) -> str:
        space = " " * (self.width - _width(text))
        return text + space if self.left else space + text


def _total(columns: Sequence[_Column]) -> int:
    return sum(column.width for column in columns) + _GAP * max(0, len(columns) - 1)


def _blocks(
    first: Sequence[_Column], others: Sequence[_Column], width: int
) -> list[Sequence[_Column]]:
    """As few blocks as there can be, and of these the narrowest."""
    found = _filled(first, others, width)
    if len(found) == 1:
        return found
    for narrower in range(width - 1, 0, -1):
        tried = _filled(first, others, narrower)
        if len(tried) > len(found):
            break
        found = tried
    return found


def _filled(
    first: Sequence[_Column], others: Sequence[_Column], width: int
) -> list[Sequence[_Column]]:
    """Blocks with as many columns each as fit, one at least."""
    blocks: list[Sequence[_Column]] = [[]]
    for column in others:
        whole = [*blocks[-1], column]
        if blocks[-1] and _total([*first, *whole]) > width:
            blocks.append([column])
        else:
            blocks[-1] = whole
    return blocks


def _lines(columns: Sequence[_Column], *, ruled: bool) -> Iterator[str]:
    """One block: headings that end at the same line, a rule where they are tall, and the rows."""
    height = max(len(column.head) for column in columns)
    heads = [("",) * (height - len(column.head)) + column.head for column in columns]
    yield from _joined(columns, heads)
    if ruled:
        yield _RULE * _total(columns)
    for cells in zip(*(column.cells for column in columns), strict=True):
        tallest = max(map(len, cells))
        yield from _joined(columns, [cell + ("",) * (tallest - len(cell)) for cell in cells])


def _joined(columns: Sequence[_Column], texts: Sequence[Sequence[str]]) -> Iterator[str]:
    for line in zip(*texts, strict=True):
        padded = (column.padded(text) for column, text in zip(columns, line, strict=True))
        yield (" " * _GAP).join(padded).rstrip()


def _wrapped(text: str, width: int, *, indent: str = "  ") -> list[str]:
    """Lines of at most ``width`` characters, broken at spaces alone, and not around a ±."""
    if _width(text) <= width:  # which counts no mark above a letter, as textwrap does
        return [text]
    options = {"subsequent_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(text.replace(" ± ", _HELD), width, **options)  # type: ignore[arg-type]
    return [line.replace(_HELD, " ± ") for line in lines] or [""]


def _width(text: str) -> int:
    """Characters that a text takes on a line; a mark above another, as of R̂, takes none."""
    return sum(not unicodedata.combining(letter) for letter in text)
