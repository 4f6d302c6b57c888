"""Several pairs in one table, where two numbers share a column only if they may be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from inference.evaluation.contradictions import without_contradictions
from inference.evaluation.evaluation import Evaluation
from inference.evaluation.quantity import (
    NATS_SUM,
    quantities_of,
    quantity_named,
)
from inference.evaluation.scores import LEBESGUE_255, Score, from_sum, on_unit_pixels
from inference.evaluation.table import Absent, Table, Tabular
from pyro_models import UsageError
from pyro_models.moved import renamed_attribute

__all__ = ["Cell", "Column", "Comparison", "compare"]


@dataclass(frozen=True)
class Column:
    """The scores of one quantity that may be compared.

    Attributes
    ----------
    quantity
        Its name.
    comparability
        What all scores of the column agree on.
    """

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
        parts = [quantity_named(self.quantity).unit if "unit" not in c else c["unit"]]
        if kind == "objective only":
            parts.append(kind)
        elif kind is not None and (measure or kind != "estimate"):
            k = f" L_{c['K']}" if c.get("K") else ""
            by = f" by {c['method']}" if c.get("method") else ""
            parts += [f"{kind}{k}{by}", *([measure] if measure else [])]
        return "; ".join([*parts, *([f"{preparation} pixels"] if preparation else [])])


@dataclass(frozen=True)
class Cell:
    """A score, or the reason why there is none in this column."""

    score: Score | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison(Tabular):
    """A table of pairs by quantities, with in one column only what may be compared.

    Attributes
    ----------
    rows
        Names.
    columns
        One for each quantity and each comparability that occurs.
    cells
        ``cells[i][j]`` of row i and column j.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def __str__(self) -> str:
        return self.to_markdown()

    @property
    def table(self) -> Table:
        """A row for each pair; its file has every field of every score."""
        return Table(
            heads=[[""], *([column.title, column.subtitle] for column in self.columns)],
            rows=[
                [name, *map(_cell_text, cells)]
                for name, cells in zip(self.rows, self.cells, strict=True)
            ],
            caption=self._caption(),
            records=self._records(),
        )

    def _caption(self) -> str:
        scores = [cell.score for row in self.cells for cell in row if cell.score]
        sets = sorted({f"{s.data} {s.split}, {s.num_data:,} data" for s in scores})
        rows = (any(c.score and c.score.identity is None for c in row) for row in self.cells)
        unknown = sum(rows)
        by_name = f" The data of {unknown} of {len(self.rows)} rows are known by name alone."
        by_name = by_name if unknown else ""
        seeds = " Of several seeds it is the mean ± its standard error over them."
        seeds = seeds if any(score.num_seeds for score in scores) else ""
        return f"{'; '.join(sets)}. Value ± standard error over data.{seeds}{by_name}"

    def _records(self) -> list[list[object]]:
        """A line per score with every field, and one per empty cell with its reason."""
        fields = list(Score.__dataclass_fields__)
        lines: list[list[object]] = [["name", "column", "reason", *fields]]
        for name, row in zip(self.rows, self.cells, strict=True):
            for column, cell in zip(self.columns, row, strict=True):
                values: dict[str, object] = {"quantity": column.quantity}
                if cell.score is not None:
                    known = cell.score.identity
                    content = {"identity": None if known is None else known.checksum}
                    values = {**cell.score.to_dict(), **content}
                title = f"{column.title} ({column.subtitle})"
                lines.append([name, title, cell.reason, *(values.get(f) for f in fields)])
        return lines


def compare(
    evaluations: Sequence[Evaluation], *, quantities: Sequence[str] | None = None
) -> Comparison:
    """Put evaluations into one table.

    Sums over data and pixels in [0, 255] are converted first, which is exact. Then each quantity
    gets a column for every comparability (unit, kind, K, measure, condition, preparation, data,
    split) that occurs, and a score stands in its own only; elsewhere the cell names the field that
    differs. Data, masks and pixels conditioned on are the same if their content is, whatever they
    are called; where a score does not know it, names have to do, and the table says so. A lower
    bound that is above an exact log p(x) of the same row by more than its error is said, and
    not given as a number.

    Parameters
    ----------
    evaluations
        One row each.
    quantities
        Names of the quantities that are shown, in their order; all that a comparison has a column
        of unless given.

    Raises
    ------
    UsageError
        If there is nothing to compare, or a quantity is unknown.
    """
    if not evaluations:
        raise UsageError("there is nothing to compare: give at least one evaluation")
    known = quantities_of("comparison")
    quantities = list(known) if quantities is None else quantities
    for name in quantities:
        known.check(name)
    rows = [{q: _converted(s) for q, s in e.scores.items()} for e in evaluations]
    both = list(zip(evaluations, rows, strict=True))
    columns: list[Column] = []
    for quantity in quantities:
        for row in rows:
            score = row.get(quantity)
            if score is None:
                continue
            fits = [i for i, c in enumerate(columns) if not score.differs_from(c.comparability)]
            if not fits:
                columns.append(Column(quantity, score.comparability))
                continue
            own = columns[fits[0]].comparability
            for field in ("K", "method", "identity"):  # begun by an exact value, or known by name
                value = score.comparability.get(field)
                if value is not None and (field != "identity" or own[field] is None):
                    own = {**own, field: value}
            columns[fits[0]] = Column(quantity, own)
    cells = tuple(
        tuple(_cell(*_consistent(e, row), column, columns) for column in columns) for e, row in both
    )
    return Comparison(tuple(e.name for e in evaluations), tuple(columns), cells)


def _consistent(
    evaluation: Evaluation, row: dict[str, Score]
) -> tuple[dict[str, Score], dict[str, str]]:
    kept, absent = without_contradictions(evaluation.scores, evaluation.absent)
    return {name: score for name, score in row.items() if name in kept}, absent


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


def _cell_text(cell: Cell) -> str | Absent:
    if cell.score is None:
        return Absent(cell.reason)
    exact = " (exact)" if cell.score.kind == "exact" else ""
    return f"{cell.score.column_number}{exact}"
