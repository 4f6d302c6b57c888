"""One table: rows under headings as text, Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from inference.evaluation.layout import laid_out, prose, width_of_prose, width_of_tables
from inference.templates import render
from pyro_models.brief import Brief

__all__ = ["Absent", "Faces", "Table", "Tabular", "csv_text"]


@dataclass(frozen=True)
class Absent:
    """A cell without a number, and the reason why there is none."""

    reason: str


Cell = str | Absent | None


@dataclass(frozen=True, kw_only=True)
class Table(Brief):
    """Rows under headings, and what is to be said of them.

    Attributes
    ----------
    title, subtitle
        What the table is of, and the unit of its numbers with what else they share, above it.
    heads, rows
        For each column its heading, and the lines of small print below that; for each row its
        cells: a text, the reason why there is none, or ``None`` for a dash.
    above, notes, conclusions
        Lines above the table, and below, before and after the reasons of empty cells.
    caption
        What the numbers are, in a line.
    named_rows, keys
        Whether the first column holds the names of the rows; and how many columns, from the first,
        say what a row is of: they are repeated where the others do not fit beside each other.
    records
        The lines of the CSV file, headings first, where it says more than the cells.

    Examples
    --------
    >>> table = Table(heads=[["pair"], ["ELBO"]], rows=[["a", "-1.0"], ["b", Absent("it is none")]])
    >>> print(table.to_text(), end="")
    pair   ELBO
    a      -1.0
    b     – [a]
    <BLANKLINE>
    [a] it is none
    """

    heads: Sequence[Sequence[str]]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    subtitle: str = ""
    above: Sequence[str] = ()
    caption: str = ""
    notes: Sequence[str] = ()
    conclusions: Sequence[str] = ()
    named_rows: bool = True
    keys: int = 1
    records: Sequence[Sequence[object]] = ()

    def facts(self) -> Mapping[str, object]:
        """How large it is, and what it is of; printed, it is shown whole."""
        return {"rows": len(self.rows), "columns": len(self.heads), "caption": self.caption}

    def _repr_html_(self) -> str:
        return self.to_html()

    def _texts(self) -> tuple[list[list[str]], list[str]]:
        """The texts of the cells, a letter where there is a reason, and all lines below."""
        letters: dict[str, str] = {}
        for row in self.rows:
            for cell in row:
                if isinstance(cell, Absent):
                    i = len(letters)
                    letters.setdefault(cell.reason, chr(ord("a") + i) if i < 26 else f"a{i - 25}")

        def text(cell: Cell) -> str:
            if isinstance(cell, Absent):
                return f"– [{letters[cell.reason]}]"
            return "–" if cell is None else cell

        reasons = [f"[{letter}] {reason}" for reason, letter in letters.items()]
        return [[*map(text, row)] for row in self.rows], [*self.notes, *reasons, *self.conclusions]

    def to_text(self, width: int | None = None) -> str:
        """The table for a terminal.

        Columns that do not fit beside each other stand in blocks, one below the other.

        Parameters
        ----------
        width
            Characters of a line. Unless given it is the terminal's, from 40 to 200; where the
            output is none it is 100 for tables, and lines of words are left whole.
        """
        rows, below = self._texts()
        rows = [[_in_one_line(text) for text in row] for row in rows]
        lines = laid_out(
            [[_in_one_line(line) for line in head] for head in self.heads],
            rows,
            keys=self.keys,
            named_rows=self.named_rows,
            width=width_of_tables(width),
        )
        titles = [line for line in (self.title, self.subtitle) if line]
        below = [*([self.caption] if self.caption else []), *below]
        words = [in_lines(block, width) for block in (self.above, titles, below)]
        return joined(words[0], words[1], lines, words[2])

    def to_markdown(self) -> str:
        """The table for people, with every reason below."""
        rows, below = self._texts()
        heads = ["<br>".join(map(plain, head)) for head in self.heads]
        lines = [text for line in self.above for text in (plain(line), "")]
        title = [f"**{plain(self.title)}**"] if self.title else []
        titles = [*title, *([plain(self.subtitle)] if self.subtitle else [])]
        lines += [" – ".join(titles), ""] if titles else []
        lines += [_piped(heads), "|---" * len(heads) + "|"] if heads else []
        lines += [_piped([plain(text) for text in row]) for row in rows]
        lines += ["", plain(self.caption)] if self.caption else []
        lines += ["", *(f"- {plain(line)}" for line in below)] if below else []
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """The table as an HTML fragment, in which every text is escaped."""
        rows, below = self._texts()
        textual = {j for j in range(len(self.heads)) if not any(map(_is_number, self._column(j)))}
        below = [*self.above, *below]
        return render("table.html", table=self, rows=rows, below=below, textual=textual)

    def _column(self, j: int) -> list[Cell]:
        return [row[j] for row in self.rows]

    def to_page(self, title: str) -> str:
        """The table as an HTML page of its own."""
        return render("table_page.html", table=self.to_html(), title=title)

    def to_csv(self) -> str:
        """The table for other programs."""
        if self.records:
            return csv_text(self.records)
        heads = [" ".join(head) for head in self.heads]
        rows = [[cell if isinstance(cell, str) else "" for cell in row] for row in self.rows]
        return csv_text([heads, *rows])


class Faces(Protocol):
    """How a table, or several, are shown: :class:`Table`, or :class:`.tables.Tables`."""

    def to_text(self, width: int | None = None) -> str:
        """For a terminal."""
        ...

    def to_markdown(self) -> str:
        """For people."""
        ...

    def to_html(self) -> str:
        """As an HTML fragment."""
        ...

    def to_page(self, title: str) -> str:
        """As an HTML page of its own."""
        ...

    def to_csv(self) -> str:
        """For other programs."""
        ...


class Tabular(Brief):
    """A result that is shown as a table, or as several, in a notebook too; see :class:`Table`."""

    @property
    def table(self) -> Faces:
        """The table."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_text(self, width: int | None = None) -> str:
        """The table for a terminal, of its width unless one is given; see :meth:`Table.to_text`."""
        return self.table.to_text(width)

    def to_markdown(self) -> str:
        """The table for people, with the reason of every empty cell below."""
        return self.table.to_markdown()

    def to_html(self) -> str:
        """The table as an HTML fragment."""
        return self.table.to_html()

    def to_page(self, title: str) -> str:
        """The table as an HTML page of its own."""
        return self.table.to_page(title)

    def to_csv(self) -> str:
        """The table for other programs, with more fields than people are shown."""
        return self.table.to_csv()


def csv_text(lines: Iterable[Sequence[object]]) -> str:
    """Lines of CSV; what is ``None`` or NaN is left blank."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for line in lines:
        writer.writerow(["" if isinstance(v, float) and math.isnan(v) else v for v in line])
    return out.getvalue()


def plain(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table or a line of a list."""
    text = re.sub(r"[\\|<`*]|(?<=\])(?=\()|&(?=#?\w+;)|(?<!\w)_", r"\\\g<0>", text)
    return _in_one_line(text)


def joined(*blocks: Sequence[str]) -> str:
    """Blocks of lines, with an empty line between."""
    return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"


def _is_number(cell: Cell) -> bool:
    """Whether a cell says a number: it begins with one, or with its sign."""
    return isinstance(cell, str) and re.match(r"[-−+<]?(\d|∞)", cell) is not None


def in_lines(words: Sequence[str], width: int | None) -> list[str]:
    """Lines of words as a terminal has room for them."""
    return [prose(line, width_of_prose(width)) for line in words]


def _in_one_line(text: str) -> str:
    return " ".join(text.split())


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
