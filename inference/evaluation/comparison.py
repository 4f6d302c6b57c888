"""Several pairs in one table, where two numbers share a column only if they may be compared."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from inference.evaluation.contradictions import without_contradictions
from inference.evaluation.evaluate import Evaluation
from inference.evaluation.layout import Absent, aligned, html_table, lettered, markdown_table
from inference.evaluation.scores import (
    FRACTION,
    LEBESGUE_255,
    NATS_SUM,
    SQUARED_ERROR,
    Score,
    conditional,
    from_sum,
    on_unit_pixels,
)
from pyro_models import UsageError

__all__ = ["Cell", "Column", "Comparison", "compare"]

QUANTITIES = {
    "elbo": "ELBO",
    "log_likelihood": "log p(x)",
    "conditional_log_likelihood": "log p(x)",
    "bits_per_dimension": "bits per dimension",
    "mse_sampled": "MSE, z sampled",
    "mse_mean": "MSE, z mean",
    "mse_unseen": "MSE of unseen pixels",
    "accuracy": "accuracy",
}


@dataclass(frozen=True)
class Column:
    """One quantity on one footing."""

    quantity: str
    footing: dict[str, Any]

    @property
    def title(self) -> str:
        """Heading: the quantity, given what."""
        title = QUANTITIES[self.quantity]
        if self.footing["kind"] == "objective only":
            title = "objective"
        return conditional(title, self.footing["given"])

    @property
    def subtitle(self) -> str:
        """The footing in a line: unit, kind, measure, preparation."""
        f = self.footing
        parts = [f["unit"]]
        if f["unit"] not in (SQUARED_ERROR, FRACTION):
            if f["kind"] == "objective only":
                parts.append("objective only")
            else:
                k = f" L_{f['K']}" if f["K"] else ""
                by = f" by {f['method']}" if f["method"] else ""
                parts.append(f"{f['kind']}{k}{by}; {f['measure']}")
        parts.append(f"{f['preparation']} pixels")
        return "; ".join(parts)


@dataclass(frozen=True)
class Cell:
    """A score, or the reason why there is none in this column."""

    score: Score | None
    reason: str = ""


@dataclass(frozen=True)
class Comparison:
    """A table of rows (pairs) and columns (quantity and footing).

    Attributes
    ----------
    rows
        Names.
    columns
        One for each quantity on each footing that occurs.
    cells
        ``cells[i][j]`` of row i and column j.
    """

    rows: tuple[str, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]

    def _texts(self) -> tuple[list[list[str]], list[str]]:
        """Rows of text, and the reasons of the empty cells."""
        rows = zip(self.rows, self.cells, strict=True)
        return lettered([[name, *map(_text, cells)] for name, cells in rows])

    def _heads(self) -> list[list[str]]:
        return [[""], *([c.title, c.subtitle] for c in self.columns)]

    def _caption(self) -> str:
        scores = [cell.score for row in self.cells for cell in row if cell.score]
        sets = sorted({f"{s.data} {s.split}, {s.num_data:,} data" for s in scores})
        rows = (any(c.score and c.score.identity is None for c in row) for row in self.cells)
        unknown = sum(rows)
        by_name = f" The data of {unknown} of {len(self.rows)} rows are known by name alone."
        by_name = by_name if unknown else ""
        return f"{'; '.join(sets)}. Value ± standard error over data.{by_name}"

    def __str__(self) -> str:
        return self.to_markdown()

    def to_markdown(self) -> str:
        """The table for people, with the reason of every empty cell below."""
        rows, notes = self._texts()
        lines = [*markdown_table(self._heads(), rows), "", self._caption()]
        lines += ["", *(f"- {note}" for note in notes)] if notes else []
        return "\n".join(lines) + "\n"

    def to_text(self) -> str:
        """The table for a terminal."""
        rows, notes = self._texts()
        numbers = [f"({i + 1})" for i in range(len(self.columns))]
        lines = aligned([["", *numbers], *rows])
        legend = [
            f"{n} {c.title}: {c.subtitle}" for n, c in zip(numbers, self.columns, strict=True)
        ]
        return "\n".join([*lines, "", *legend, "", self._caption(), *notes]) + "\n"

    def to_html(self) -> str:
        """The table as an HTML fragment."""
        rows, notes = self._texts()
        return html_table(self._heads(), rows, notes=notes, caption=self._caption())

    def _repr_html_(self) -> str:
        """The table in a notebook."""
        return self.to_html()

    def to_csv(self) -> str:
        """One line per score with every field, and one per empty cell with its reason."""
        fields = ["name", "column", "reason", *Score.__dataclass_fields__]
        out = io.StringIO()
        writer = csv.DictWriter(out, fields, lineterminator="\n")
        writer.writeheader()
        for name, row in zip(self.rows, self.cells, strict=True):
            for column, cell in zip(self.columns, row, strict=True):
                line = {"name": name, "column": f"{column.title} ({column.subtitle})"}
                if cell.score is None:
                    writer.writerow({**line, "quantity": column.quantity, "reason": cell.reason})
                else:
                    known = cell.score.identity
                    content = {"identity": None if known is None else known.checksum}
                    writer.writerow({**line, **cell.score.to_dict(), **content})
        return out.getvalue()


def compare(
    evaluations: Sequence[Evaluation], *, quantities: Sequence[str] = tuple(QUANTITIES)
) -> Comparison:
    """Put evaluations into one table.

    Sums over data and pixels in [0, 255] are converted first, which is exact. Then each quantity
    gets a column for every footing (unit, kind, K, measure, condition, preparation, data, split)
    that occurs, and a score stands in its own only; elsewhere the cell names the field that
    differs. Data, masks and pixels conditioned on are the same if their content is, whatever they
    are called; where a score does not know it, names have to do, and the table says so. A lower
    bound that is above an exact log p(x) of the same row by more than its error is said, and
    not given as a number.

    Parameters
    ----------
    evaluations
        One row each.
    quantities
        Which, in which order.

    Raises
    ------
    UsageError
        If there is nothing to compare, or a quantity is unknown.
    """
    if not evaluations:
        raise UsageError("there is nothing to compare: give at least one evaluation")
    unknown = [q for q in quantities if q not in QUANTITIES]
    if unknown:
        raise UsageError(f"unknown quantity {unknown[0]!r}: choose from {', '.join(QUANTITIES)}")
    rows = [{q: _converted(s) for q, s in e.scores.items()} for e in evaluations]
    both = list(zip(evaluations, rows, strict=True))
    columns: list[Column] = []
    for quantity in quantities:
        for row in rows:
            score = row.get(quantity)
            if score is None:
                continue
            fits = [i for i, c in enumerate(columns) if not score.differs_from(c.footing)]
            if not fits:
                columns.append(Column(quantity, score.footing))
            elif score.num_particles or score.method:  # begun by an exact value: take these
                own = columns[fits[0]].footing
                how = {"K": score.num_particles, "method": score.method}
                columns[fits[0]] = Column(quantity, {**own, **{k: v for k, v in how.items() if v}})
            for i in fits[:1]:  # begun by data of which the name alone is known
                if columns[i].footing["identity"] is None and score.identity is not None:
                    own = columns[i].footing
                    columns[i] = Column(quantity, {**own, "identity": score.identity})
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
    difference = score.differs_from(column.footing)
    if not difference and score.identity is None and _of_several_data(score, columns):
        difference = f"it is of {score.data}, which is the name of two data sets here"
    return Cell(None, difference) if difference else Cell(score)


def _of_several_data(score: Score, columns: Sequence[Column]) -> bool:
    """Whether a score whose data are known by name alone fits data that are known to differ."""
    fits = [c.footing for c in columns if not score.differs_from(c.footing)]
    known = [f["identity"] for f in fits if f["identity"] is not None]
    return any(identity.differs_from(known[0]) for identity in known[1:])


def _converted(score: Score) -> Score:
    if score.unit == NATS_SUM:
        score = from_sum(score)
    return on_unit_pixels(score) if score.measure == LEBESGUE_255 else score


def _text(cell: Cell) -> str | Absent:
    return Absent(cell.reason) if cell.score is None else _number(cell.score)


def _number(score: Score) -> str:
    digits = 4 if score.unit in (SQUARED_ERROR, FRACTION, "bits per dimension") else 2
    error = (
        ""
        if score.standard_error != score.standard_error
        else (f" ± {score.standard_error:.{digits}f}")
    )
    exact = " (exact)" if score.kind == "exact" else ""
    return f"{score.value:.{digits}f}{error}{exact}"
