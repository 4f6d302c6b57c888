"""One table: rows under headings as text, Markdown, HTML and CSV."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.templates import render
from pyro_models.brief import Brief

__all__ = ["Absent", "Table", "Tabular", "csv_text"]


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
    heads, rows
        For each column its heading, and the lines of small print below that; for each row its
        cells: a text, the reason why there is none, or ``None`` for a dash.
    above, notes, conclusions
        Lines above the table, and below, before and after the reasons of empty cells.
    caption
        What the numbers are, in a line.
    named_rows
        Whether the first column holds the names of the rows.
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
    above: Sequence[str] = ()
    caption: str = ""
    notes: Sequence[str] = ()
    conclusions: Sequence[str] = ()
    named_rows: bool = True
    records: Sequence[Sequence[object]] = ()

    def facts(self) -> Mapping[str, object]:
        """How large it is, and what it is of; printed, it is shown whole."""
        return {"rows": len(self.rows), "columns": len(self.heads), "caption": self.caption}

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

    def to_text(self) -> str:
        """The table for a terminal; columns with small print are numbered, and explained below."""
        rows, below = self._texts()
        rows = [[" ".join(text.split()) for text in row] for row in rows]  # a line for each
        heads, legend = [head[0] for head in self.heads], []
        if any(len(head) > 1 for head in self.heads):
            numbered = list(enumerate(self.heads[1:], start=1))
            heads = [heads[0], *(f"({i})" for i, _ in numbered)]
            legend = [f"({i}) {': '.join(head)}" for i, head in numbered]
        aligned = []  # names of rows to the left, all else to the right
        for j, column in enumerate(zip(heads, *rows, strict=True)):
            pad = str.ljust if j == 0 and self.named_rows else str.rjust
            width = max(map(len, column))
            aligned.append([pad(text, width) for text in column])
        lines = ["  ".join(row).rstrip() for row in zip(*aligned, strict=True)]
        below = [*([self.caption] if self.caption else []), *below]
        blocks = (self.above, lines, legend, below)
        return "\n\n".join("\n".join(block) for block in blocks if block) + "\n"

    def to_markdown(self) -> str:
        """The table for people, with every reason below."""
        rows, below = self._texts()
        heads = ["<br>".join(map(_plain, head)) for head in self.heads]
        above = [text for line in self.above for text in (_plain(line), "")]
        lines = [*above, _piped(heads), "|---" * len(heads) + "|"]
        lines += [_piped([_plain(text) for text in row]) for row in rows]
        lines += ["", _plain(self.caption)] if self.caption else []
        lines += ["", *(f"- {_plain(line)}" for line in below)] if below else []
        return "\n".join(lines) + "\n"

    def to_html(self) -> str:
        """The table as an HTML fragment, in which every text is escaped."""
        rows, below = self._texts()
        return render("table.html", table=self, rows=rows, below=[*self.above, *below])

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


class Tabular(Brief):
    """A result that is shown as a table, in a notebook too; see :class:`Table`."""

    @property
    def table(self) -> Table:
        """The table."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.to_text()

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_text(self) -> str:
        """The table for a terminal."""
        return self.table.to_text()

    def to_markdown(self) -> str:
        """The table for people, with the reason of every empty cell below."""
        return self.table.to_markdown()

    def to_html(self) -> str:
        """The table as an HTML fragment."""
        return self.table.to_html()

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


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, in a cell of a table or a line of a list."""
    text = re.sub(r"[\\|<`*]|(?<=\])(?=\()|&(?=#?\w+;)|(?<!\w)_", r"\\\g<0>", text)
    return " ".join(text.split())


def _piped(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
