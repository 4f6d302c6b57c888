"""Several pairs in one table, where two numbers share a column only if they may be compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
from inference.evaluation.table import Absent, Table, Tabular
from pyro_models import UsageError
from pyro_models.moved import renamed_attribute

__all__ = ["Cell", "Column", "Comparison", "compare"]


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
        if self.comparability.get("kind") == "objective only":
            quantity = replace(quantity, title="objective")
        return quantity.heading(self.comparability.get("given"))

    @property
    def subtitle(self) -> str:
        """What may be compared in a line: unit, kind, measure, preparation."""
        c = self.comparability
        kind, measure, preparation = (c.get(name) for name in ("kind", "measure", "preparation"))
        unit = c.get("unit", quantity_named(self.quantity).unit)
        parts = [] if self.title.startswith(unit) else [unit]  # bits per dimension, said once
        if kind == "objective only":
            parts.append(kind)
        elif kind is not None and (measure or kind != "estimate"):
            k = f" L_{c['K']}" if c.get("K") else ""
            by = f" by {c['method']}" if c.get("method") else ""
            parts += [f"{kind}{k}{by}", measure]
        parts.append(preparation and f"{preparation} pixels")
        return "; ".join(part for part in parts if part)


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
    ``cells[i][j]`` is of row i and column j.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def facts(self) -> Mapping[str, object]:
        """What is compared by what; printed, it is the table."""
        quantities = dict.fromkeys(column.quantity for column in self.columns)
        return {"of": list(self.rows), "by": list(quantities), "columns": len(self.columns)}

    def __str__(self) -> str:
        return self.to_markdown()

    @property
    def table(self) -> Table:
        """A row for each pair; its file has every field of every score."""
        named = zip(self.rows, self.cells, strict=True)
        return Table(
            heads=[[""], *([column.title, column.subtitle] for column in self.columns)],
            rows=[[name, *(cell.text for cell in row)] for name, row in named],
            caption=self._caption(),
            records=self._records(),
        )

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
    evaluations: Sequence[Evaluation], *, quantities: Sequence[str] | None = None
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
    given.

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
    return Comparison(tuple(e.name for e in evaluations), tuple(columns), cells)


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
