"""Several small tables as one result: numbers that may be compared, and below what has none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from inference.evaluation.table import Absent, Cell, Table, csv_text, in_lines, joined, plain
from inference.templates import render
from pyro_models.brief import Brief

__all__ = ["Group", "Tables", "in_groups", "left_out", "listed", "merged"]


@dataclass(frozen=True, kw_only=True)
class Tables(Brief):
    """Tables one below the other, and what is to be said of all of them.

    Attributes
    ----------
    tables
        The tables.
    above, notes, conclusions
        Lines above the first, and below the last.
    records
        The lines of the CSV file, headings first.

    Examples
    --------
    >>> bound = Table(title="log-probability", heads=[[""], ["ELBO"]], rows=[["a", "-1.0"]])
    >>> error = Table(title="error", heads=[[""], ["MSE"]], rows=[["a", "0.5"]])
    >>> print(Tables(tables=[bound, error], above=["digits test"]).to_text(), end="")
    digits test
    <BLANKLINE>
    log-probability
    <BLANKLINE>
       ELBO
    a  -1.0
    <BLANKLINE>
    <BLANKLINE>
    error
    <BLANKLINE>
       MSE
    a  0.5
    """

    tables: Sequence[Table]
    above: Sequence[str] = ()
    notes: Sequence[str] = ()
    conclusions: Sequence[str] = ()
    records: Sequence[Sequence[object]] = ()

    def facts(self) -> Mapping[str, object]:
        """What they are called; printed, they are shown whole."""
        return {"": [table.title for table in self.tables]}

    def _repr_html_(self) -> str:
        return self.to_html()

    def to_text(self, width: int | None = None) -> str:
        """The tables for a terminal; see :meth:`.table.Table.to_text`."""
        above, below = (
            in_lines(lines, width) for lines in (self.above, [*self.notes, *self.conclusions])
        )
        texts = "\n\n".join(table.to_text(width) for table in self.tables)
        return joined(above, texts.splitlines(), below)

    def to_markdown(self) -> str:
        """The tables for people."""
        below = [f"- {plain(line)}" for line in (*self.notes, *self.conclusions)]
        texts = [table.to_markdown().splitlines() for table in self.tables]
        return joined(*([plain(line)] for line in self.above), *texts, below)

    def to_html(self) -> str:
        """The tables as an HTML fragment, in which every text is escaped."""
        return render("tables.html", of=self)

    def to_page(self, title: str) -> str:
        """The tables as an HTML page of their own."""
        return render("table_page.html", table=self.to_html(), title=title)

    def to_csv(self) -> str:
        """The tables for other programs, one below the other unless there are records."""
        if self.records:
            return csv_text(self.records)
        return "\n".join(table.to_csv() for table in self.tables)


@dataclass(frozen=True)
class Group:
    """Columns, by their places, that make a small table: its title, and what they share."""

    title: str
    subtitle: str
    columns: Sequence[int]


def in_groups(
    head: str,
    names: Sequence[str],
    heads: Sequence[Sequence[str]],
    cells: Sequence[Sequence[Cell]],
    groups: Iterable[Group],
) -> list[Table]:
    """A table for each group that has a number, with the rows that have one there.

    Parameters
    ----------
    head, names
        Heading of the names, and the name of each row.
    heads, cells
        Headings of all columns, and all cells, one row for each name.
    groups
        Which columns stand in which table.

    Examples
    --------
    >>> cells = [["-1.0", "0.5"], [Absent("it has none"), "0.25"]]
    >>> groups = [Group("bounds", "nats", [0]), Group("errors", "", [1])]
    >>> [table.rows for table in in_groups("", ["a", "b"], [["ELBO"], ["MSE"]], cells, groups)]
    [[['a', '-1.0']], [['a', '0.5'], ['b', '0.25']]]
    """
    tables = []
    for group in groups:
        kept = [
            [name, *(row[j] for j in group.columns)]
            for name, row in zip(names, cells, strict=True)
            if any(isinstance(row[j], str) for j in group.columns)
        ]
        if kept:
            chosen = [[head], *(heads[j] for j in group.columns)]
            tables.append(
                Table(title=group.title, subtitle=group.subtitle, heads=chosen, rows=kept)
            )
    return tables


def left_out(
    names: Sequence[str],
    heads: Sequence[Sequence[str]],
    cells: Sequence[Sequence[Cell]],
    groups: Iterable[Group],
) -> list[str]:
    """Why a row that has no number in a group is not in its table; a line for each reason.

    >>> cells = [["-1.0"], [Absent("it has none")], [Absent("it has none")]]
    >>> left_out(["a", "b", "c"], [["ELBO"]], cells, [Group("bounds", "nats", [0])])
    ['ELBO – none for b, c: it has none']
    """
    found = []
    for group in groups:
        for name, row in zip(names, cells, strict=True):
            own = [row[j] for j in group.columns]
            if any(isinstance(cell, str) for cell in own):
                continue
            for j, cell in zip(group.columns, own, strict=True):
                if isinstance(cell, Absent):
                    found.append((heads[j][0], name, cell.reason))
    return merged(found)


def merged(missing: Iterable[tuple[str, str, str]]) -> list[str]:
    """What is missing, (column, row, reason) each, with what has one reason in one line."""
    columns: dict[tuple[str, str], list[str]] = {}
    for column, row, reason in missing:
        columns.setdefault((reason, row), []).append(column)
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (reason, row), of in columns.items():
        rows.setdefault((reason, tuple(dict.fromkeys(of))), []).append(row)
    return [
        f"{'; '.join(of)} – none for {listed(names)}: {reason}"
        for (reason, of), names in rows.items()
    ]


def listed(names: Sequence[str]) -> str:
    """Names one after the other, by semicolons where a name holds a comma."""
    return ("; " if any("," in name for name in names) else ", ").join(names)
