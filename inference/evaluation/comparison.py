"""Several pairs in one table, where two numbers share a column only if they may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from inference.evaluation.evaluation import Evaluation
from inference.evaluation.quantity import NATS_SUM, quantities_of, quantity_named
from inference.evaluation.scores import (
    LEBESGUE_255,
    Score,
    from_sum,
    on_unit_pixels,
    without_contradictions,
)
from inference.evaluation.table import Absent, Tabular
from inference.evaluation.table import Cell as Text
from inference.evaluation.tables import Group, Tables, in_groups, merged
from pyro_models import UsageError
from pyro_models.data.preparation import words_of_preparation
from pyro_models.moved import renamed_attribute

__all__ = ["Cell", "Column", "Comparison", "compare"]

_OF_COLUMN = ("quantity", "kind", "K", "method")  # in which columns of one small table may differ


@dataclass(frozen=True)
class Column:
    """The scores of one quantity, by its name, that may be compared, and what all agree on."""

    quantity: str
    comparability: dict[str, Any]

    footing = renamed_attribute("comparability")

    @property
    def title(self) -> str:
        """Heading: the quantity, given what."""
        quantity = quantity_named(self.quantity)
        if self.is_objective and quantity.kind != "objective only":
            quantity = replace(quantity, title="objective")
        return quantity.heading(self.comparability.get("given"))

    @property
    def subtitle(self) -> str:
        """What may be compared in a line: unit, kind, measure, preparation."""
        return "; ".join(part for part in (self._unit, self.kind, *self._of_pixels) if part)

    @property
    def kind(self) -> str:
        """What the numbers are beside estimates: exact, bounds, K, how these are estimated."""
        c = self.comparability
        kind = c.get("kind")
        if kind is None or (kind == "estimate" and not c.get("measure")):
            return ""
        if kind == "objective only":
            return kind
        k = f" L_{c['K']}" if c.get("K") else ""
        by = f" by {c['method']}" if c.get("method") else ""
        return f"{kind}{k}{by}"

    def stands_beside(self, other: Column) -> bool:
        """Whether two columns make one small table: all agrees but quantity, kind, K and method.

        Objectives stay apart from what are probabilities.
        """
        one, two = (
            {k: v for k, v in column.comparability.items() if k not in _OF_COLUMN}
            | {"topic": quantity_named(column.quantity).topic, "objective": column.is_objective}
            for column in (self, other)
        )
        known, own = one.pop("identity", None), two.pop("identity", None)
        if known is not None and own is not None:  # content decides in the place of names
            if known.differs_from(own):
                return False
            for name in ("data", "split"):
                one.pop(name), two.pop(name)
        return one == two

    @property
    def is_objective(self) -> bool:
        """Whether the numbers are no probabilities, nor bounds of any."""
        return self.comparability.get("kind") == "objective only"

    def group_title(self, titles: Sequence[str]) -> str:
        """The title of the small table of this column and of those of these titles beside it."""
        quantity, given = quantity_named(self.quantity), self.comparability.get("given")
        if self.is_objective:
            topic = "Objective, which is no probability"
        elif not quantity.topic:
            return "; ".join(dict.fromkeys(titles))
        else:
            topic = quantity.topic
        return f"{topic}, given {given}" if given else topic

    def group_subtitle(self, *, with_data: bool) -> str:
        """Below that: unit, which way is better, measure, preparation, and the data if asked."""
        direction = quantity_named(self.quantity).direction
        better = f"{direction} is better" if direction else ""
        unit = self.comparability.get("unit", quantity_named(self.quantity).unit)
        own = ", ".join(part for part in (unit, better) if part)
        data = described_data(self.comparability) if with_data else ""
        return "; ".join(part for part in (own, *self._of_pixels, data) if part)

    @property
    def _unit(self) -> str:
        unit = self.comparability.get("unit", quantity_named(self.quantity).unit)
        return "" if self.title.startswith(unit) else unit  # bits per dimension, said once

    @property
    def _of_pixels(self) -> list[str]:
        c = self.comparability
        measure = "" if self.is_objective else c.get("measure")
        return [
            measure or "",
            words_of_preparation(c["preparation"]) if c.get("preparation") else "",
        ]


def described_data(of: Mapping[str, Any]) -> str:
    """Data, their split and how many they are, of what scores agree on."""
    count = of.get("number of data")
    return f"{of.get('data')} {of.get('split')}, {count:,} data" if count is not None else ""


@dataclass(frozen=True)
class Cell:
    """A score, or the reason why there is none in this column."""

    score: Score | None
    reason: str = ""

    @property
    def text(self) -> str | Absent:
        """What stands in the table."""
        if self.score is None:
            return Absent(self.reason)
        exact = "exact" if self.score.kind == "exact" else None
        words = ", ".join(word for word in (exact, self.score.precision) if word)
        return f"{self.score.column_number}{words and f' ({words})'}"


@dataclass(frozen=True)
class Comparison(Tabular):
    """A table of pairs by quantities, with in one column only what may be compared.

    There is a row for each name, and a column for each quantity and each comparability that occurs;
    ``cells[i][j]`` is of row i and column j. People read ``titles`` of rows by their names, where
    there are any; files for programs keep the names. ``remarks`` are said of rows, by name.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    titles: Mapping[str, str] = field(default_factory=dict)
    remarks: Mapping[str, str] = field(default_factory=dict)

    def facts(self) -> Mapping[str, object]:
        """What is compared by what; printed, it is the table."""
        quantities = dict.fromkeys(column.quantity for column in self.columns)
        return {"of": list(self.rows), "by": list(quantities), "columns": len(self.columns)}

    @property
    def table(self) -> Tables:
        """A small table for what may be compared, and below what is missing, and stands apart.

        Its file has every field of every score.
        """
        titles = [column.title for column in self.columns]
        data = {d for c in self.columns if (d := described_data(c.comparability))}
        together = self._together()
        groups = []
        for number, own in enumerate(together, start=1):
            of = self.columns[own[0]]
            title = of.group_title([titles[j] for j in own])
            title = f"{number}. {title}" if len(together) > 1 else title
            groups.append(Group(title, of.group_subtitle(with_data=len(data) > 1), own))
        cells: list[list[Text]] = [[cell.text for cell in row] for row in self.cells]
        heads = [
            [c.title, *([c.kind] if c.kind and not c.is_objective else [])] for c in self.columns
        ]
        return Tables(
            tables=in_groups("", self._names(), heads, cells, groups),
            above=[self._caption()],
            notes=[*self._remarks(), *self._apart(together), *self._missing(together)],
            records=self._records(),
        )

    def _names(self) -> list[str]:
        return [self.titles.get(name, name) for name in self.rows]

    def _missing(self, groups: Sequence[Sequence[int]]) -> list[str]:
        """What rows have no score of anywhere, and why, if no table that they stand in says it."""
        found = []
        for name, row in zip(self._names(), self.cells, strict=True):
            shown = {
                self.columns[j].quantity
                for group in groups
                if any(row[j].score for j in group)
                for j in group
            }
            for column, cell in zip(self.columns, row, strict=True):
                if column.quantity not in shown:
                    title = quantity_named(column.quantity).title
                    found.append((title, name, cell.reason))
        return merged(found)

    def _together(self) -> list[list[int]]:
        """Which columns make a small table, by their places; those that have a score."""
        found: list[list[int]] = []
        for j, column in enumerate(self.columns):
            if not any(row[j].score for row in self.cells):
                continue
            own = next((g for g in found if self.columns[g[0]].stands_beside(column)), None)
            if own is None:
                found.append([j])
            else:
                own.append(j)
        return found

    def _apart(self, groups: Sequence[Sequence[int]]) -> list[str]:
        """Why scores of one quantity stand in several tables, that are no objectives: what differs.

        Tables are counted from 1.
        """
        place = {j: i for i, group in enumerate(groups, start=1) for j in group}
        found: dict[tuple[int, int], list[str]] = {}
        for j, column in enumerate(self.columns):
            for i, other in enumerate(self.columns[:j]):
                alike = column.quantity == other.quantity
                if not alike or place[i] == place[j] or column.is_objective != other.is_objective:
                    continue
                found.setdefault((place[j], place[i]), []).extend(
                    row[i].reason for row in self.cells if row[j].score and not row[i].score
                )
        return [
            f"Table {second} stands apart from {first}: {reason}"
            for (second, first), reasons in found.items()
            for reason in dict.fromkeys(reasons)
        ]

    def _remarks(self) -> list[str]:
        """What is said of rows, by the names that people read."""
        return [f"{self.titles.get(name, name)}: {said}" for name, said in self.remarks.items()]

    def _caption(self) -> str:
        scores = [[cell.score for cell in row if cell.score] for row in self.cells]
        sets = {f"{s.data} {s.split}, {s.num_data:,} data" for row in scores for s in row}
        unknown = sum(any(score.identity is None for score in row) for row in scores)
        by_name = f" The data of {unknown} of {len(self.rows)} rows are known by name alone."
        by_name = by_name if unknown else ""
        seeds = " Of several seeds it is the mean ± its standard error over them."
        seeds = seeds if any(score.num_seeds for row in scores for score in row) else ""
        return f"{'; '.join(sorted(sets))}. Value ± standard error over data.{seeds}{by_name}"

    def _records(self) -> list[list[object]]:
        """A line per score with every field, and one per empty cell with its reason."""
        fields = list(Score.__dataclass_fields__)
        lines: list[list[object]] = [["name", "column", "reason", *fields]]
        for name, row in zip(self.rows, self.cells, strict=True):
            for column, cell in zip(self.columns, row, strict=True):
                values: dict[str, object] = {"quantity": column.quantity}
                if cell.score is not None:
                    known = cell.score.identity
                    values = {**cell.score.to_dict(), "identity": known and known.checksum}
                title = f"{column.title} ({column.subtitle})"
                lines.append([name, title, cell.reason, *map(values.get, fields)])
        return lines


def compare(
    evaluations: Sequence[Evaluation],
    *,
    quantities: Sequence[str] | None = None,
    titles: Mapping[str, str] | None = None,
) -> Comparison:
    """Put evaluations into one table, a row each.

    Sums over data and pixels in [0, 255] are converted first, which is exact. Then each quantity
    gets a column for every comparability (unit, kind, K, measure, condition, preparation, data,
    split) that occurs, and a score stands in its own only; elsewhere the cell names the field that
    differs. Data, masks and pixels conditioned on are the same if their content is, whatever they
    are called; where a score does not know it, names have to do, and the table says so. A lower
    bound that is above an exact log p(x) of the same row by more than its error is said, and not
    given as a number.

    ``quantities`` names those that are shown, in their order; all that a comparison has unless
    given. ``titles`` are what people read in the place of the names of rows.

    Raises
    ------
    UsageError
        If there is nothing to compare, or a quantity is unknown.
    """
    several = evaluations if isinstance(evaluations, list | tuple) else [None]
    if not all(hasattr(evaluation, "scores") for evaluation in several):
        raise UsageError("compare takes a list of what evaluate returns, of each pair")
    if not evaluations:
        raise UsageError("there is nothing to compare: give at least one evaluation")
    known = quantities_of("comparison")
    asked = quantities is not None
    quantities = list(known) if quantities is None else quantities
    for name in quantities:
        known.check(name)
    columns: list[Column] = []
    rows = []
    for evaluation in evaluations:
        scores, absent = without_contradictions(evaluation.scores, evaluation.absent)
        rows.append(({name: _converted(score) for name, score in scores.items()}, absent))
    for quantity in quantities:
        for evaluation in evaluations:  # what is contradicted has a column as well
            if quantity in evaluation.scores:
                _place(_converted(evaluation.scores[quantity]), columns)
        if asked and not any(column.quantity == quantity for column in columns):
            columns.append(Column(quantity, {}))  # of reasons alone
    cells = tuple(tuple(_cell(*row, column, columns) for column in columns) for row in rows)
    names = tuple(e.name for e in evaluations)
    remarks = {e.name: e.note for e in evaluations if getattr(e, "note", "")}
    return Comparison(names, tuple(columns), cells, dict(titles or {}), remarks)


def _place(score: Score, columns: list[Column]) -> None:
    """Let there be a column for a score; the first that it fits learns what it did not know."""
    agreed = score.comparability
    for i, column in enumerate(columns):
        own = column.comparability
        if not score.differs_from(own):
            for field in ("K", "method", "identity"):  # begun by an exact value, or known by name
                value = agreed.get(field)
                if value is not None and (field != "identity" or own[field] is None):
                    own = {**own, field: value}
            columns[i] = Column(score.quantity, own)
            return
    columns.append(Column(score.quantity, agreed))


def _cell(
    row: dict[str, Score], absent: dict[str, str], column: Column, columns: Sequence[Column]
) -> Cell:
    score = row.get(column.quantity)
    if score is None:
        return Cell(None, absent.get(column.quantity, "not computed"))
    difference = score.differs_from(column.comparability)
    if not difference and score.identity is None and _of_several_data(score, columns):
        difference = f"it is of {score.data}, which is the name of two data sets here"
    return Cell(None, difference) if difference else Cell(score)


def _of_several_data(score: Score, columns: Sequence[Column]) -> bool:
    """Whether a score whose data are known by name alone fits data that are known to differ."""
    fits = [c.comparability for c in columns if not score.differs_from(c.comparability)]
    known = [c["identity"] for c in fits if c.get("identity") is not None]
    return any(identity.differs_from(known[0]) for identity in known[1:])


def _converted(score: Score) -> Score:
    if score.unit == NATS_SUM:
        score = from_sum(score)
    return on_unit_pixels(score) if score.measure == LEBESGUE_255 else score
