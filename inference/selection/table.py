"""The result of a sweep: a table of its settings, the best of them, and what may be compared."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inference.evaluation import Score
from inference.evaluation.quantity import quantities_of, quantity_named
from inference.evaluation.table import Absent, Table, Tabular, csv_text
from inference.selection.grid import short_name
from inference.selection.row import Row, score_of
from inference.standard_error import with_error
from pyro_models import UsageError
from pyro_models.data.preparation import words_of_preparation
from pyro_models.moved import renamed_attribute

__all__ = ["Sweep"]


@dataclass(frozen=True)
class Sweep(Tabular):
    """All settings of a sweep; printed, it is its table.

    Attributes
    ----------
    rows, grid
        One for each combination of the grid, or each setting that a search has tried, in order; and
        the values of each setting.
    seeds, out
        The random seeds under which each setting was trained; folder of the runs and tables.
    quantities
        Names of quantities that stand beside the score that decides, and decide nothing.
    search
        The search that has chosen the settings, by name; empty if they are a grid.
    """

    rows: tuple[Row, ...]
    grid: Mapping[str, Sequence[Any]]
    seeds: tuple[int, ...]
    out: Path
    quantities: tuple[str, ...] = ()
    search: str = ""

    def showing(self, quantities: Sequence[str]) -> Sweep:
        """The same with these quantities beside the score that decides; they decide nothing."""
        for name in quantities:
            quantities_of("sweep").check(name)
        return replace(self, quantities=tuple(quantities))

    def facts(self) -> Mapping[str, object]:
        """What was varied, under which seeds; printed, it is the table."""
        return {
            "settings": len(self.rows),
            "varied": {name: list(self.grid[name]) for name in self.varied},
            "seeds": self.seeds,
            "pending runs": self.pending or None,
            "kept in": self.out,
        }

    @property
    def varied(self) -> tuple[str, ...]:
        """Names of the settings with more than one value."""
        return tuple(name for name, values in self.grid.items() if len(values) > 1)

    @property
    def pending(self) -> int:
        """Number of runs that are another's to train, and not there yet."""
        return sum(row.pending for row in self.rows)

    @property
    def epochs(self) -> int:
        """Number of epochs that all runs were trained for, those of pruned ones included."""
        return sum(row.epochs for row in self.rows)

    @property
    def lower_is_better(self) -> bool:
        """Whether the score that decides is better if it is lower."""
        return quantity_named(self.comparability["quantity"]).direction == "lower"

    @property
    def comparability(self) -> dict[str, Any]:
        """What all scores agree on (unit, kind, measure, preparation, data …).

        A ``UsageError`` is raised if no run has a score, or two may not be compared.
        """
        scores = [score for row in self.rows for score in row.scores]
        if not scores:
            reason = next((reason for row in self.rows for _, reason in row.failures), None)
            if reason is None:
                raise UsageError("no run of this sweep is there yet")
            raise UsageError(f"no run of this sweep has a score; the first: {reason}")
        for score in scores:
            if differing := score.differs_from(scores[0].comparability):
                raise UsageError(
                    "the scores of these settings may not be compared, so none of them is best "
                    f"({differing}); sweep them apart, or name a quantity that they share"
                )
        return scores[0].comparability

    footing = renamed_attribute("comparability")

    @property
    def best(self) -> Row:
        """The setting with the best mean on validation data, of those whose every seed finished.

        A ``UsageError`` is raised if two may not be compared, or each has a seed that failed.
        """
        lower = self.lower_is_better
        whole = [row for row in self.rows if row.is_whole]
        if not whole:
            what = "is not there yet" if self.pending else "failed or was pruned"
            what = what if any(row.pruned or row.pending for row in self.rows) else "failed"
            raise UsageError(f"each setting has a seed that {what}, so none of them is best")
        return (min if lower else max)(whole, key=lambda row: row.mean)

    @property
    def near_best(self) -> tuple[Row, ...]:
        """Other settings whose mean is within two standard errors of the best's.

        The standard error of the difference is √(s₁²/n₁ + s₂²/n₂), over seeds. Where a setting has
        one seed nothing is known of its error, and it is left out.
        """
        best = self.best

        def near(row: Row) -> bool:
            error = math.hypot(row.standard_error, best.standard_error)
            return row.is_whole and abs(row.mean - best.mean) <= 2 * error

        return tuple(row for row in self.rows if row is not best and near(row))

    @property
    def label(self) -> str:
        """Quantity and unit, for an axis or a heading."""
        quantity, unit = self._heading()
        return f"{quantity} ({unit})"

    def _heading(self) -> tuple[str, str]:
        """What the scores are of, and their unit."""
        shared = self.comparability
        of = quantity_named(shared["quantity"])
        if shared.get("kind") == "objective only":
            of = replace(of, title=f"objective ({of.title})")
        k = f", K = {shared['K']}" if shared.get("K") else ""
        return f"{of.heading(shared.get('given'))}{k}", shared.get("unit", of.unit)

    def _head(self) -> list[str]:
        """The same where the scores may be compared, or else no more than that they are scores."""
        try:
            return [*self._heading()]
        except UsageError:
            return ["score"]

    def _data(self) -> list[str]:
        """Which data the scores are of, where all runs agree."""
        of = {(s.data, s.split, s.num_data) for row in self.rows for s in row.scores}
        return [f"{data} {split}, {n:,} data" for data, split, n in of] if len(of) == 1 else []

    def _notes(self) -> Iterator[str]:
        """What the numbers are, which is best, and what failed."""
        yield (
            "Mean ± standard error over seeds (of training; every run is evaluated on the same "
            "validation data, with the same draws)."
        )
        try:
            label, scores = self.label, [score for row in self.rows for score in row.scores]
            kinds = {score.kind for score in scores}
            kind = "" if kinds == {"objective only"} else f", {' or '.join(sorted(kinds))}"
            one = scores[0]
            prepared = words_of_preparation(one.preparation)
            yield (
                f"Score: {label}{kind}, {prepared}; {one.data} {one.split}, {one.num_data:,} data."
            )
            unknown = sum(score.identity is None for score in scores)
            if 0 < unknown < len(scores):
                yield f"The data of {unknown} runs, of an earlier version, are known by name alone."
            near = "; ".join(describe(row.setting) for row in self.near_best)
            near = f" Within two standard errors of the difference: {near}." if near else ""
            yield f"Best: {describe(self.best.setting)}.{near}"
        except UsageError as error:
            yield f"No best: {error}."
        if self.search:
            yield (
                f"Search: {self.search}, {len(self.rows)} settings, {self.epochs:,} epochs of "
                f"training in all; {sum(bool(row.pruned) for row in self.rows)} settings pruned."
            )
        if self.pending and self.search:
            yield f"Runs that others are training: {self.pending}."
        elif self.pending:
            yield f"Runs of other shards that are not there yet: {self.pending}."
        for row in self.rows:
            if row.pruned:
                yield f"Pruned, and not compared: {describe(row.setting)}, {row.pruned}"
        for row in self.rows:
            for seed, reason in row.failures:
                yield f"Failed: {describe(row.setting)}, seed {seed}: {reason}"

    @property
    def table(self) -> Table:
        """A row for each setting."""
        settings = [[short_name(name, self.grid)] for name in self.grid]
        rows = []
        for row in self.rows:
            score = with_error(row.mean, row.standard_error) if row.scores else None
            seeds = f"{len(row.scores)}{f', {len(row.failures)} failed' if row.failures else ''}"
            seeds = "pruned" if row.pruned else seeds
            seeds += f", {row.pending} to come" if row.pending else ""
            seconds = None if math.isnan(row.seconds) else f"{row.seconds:.1f}"
            beside = [self._beside(row, name) for name in self.quantities]
            rows.append([*map(str, row.setting.values()), score, *beside, seeds, seconds])
        more = [self._heading_of(name) for name in self.quantities]
        return Table(
            heads=[*settings, self._head(), *more, ["seeds"], ["seconds"]],
            rows=rows,
            above=self._data(),
            notes=[*self._notes()],
            named_rows=False,
            keys=len(settings),
            records=self._records(),
        )

    def _first(self, quantity: str) -> Score | None:
        """The first score of a quantity, which all others of it must be comparable with."""
        rows = (replace(row, quantity=quantity) for row in self.rows)
        return next((score for row in rows for score in row.scores), None)

    def _heading_of(self, quantity: str) -> list[str]:
        """Heading of a quantity that stands beside: its title, and its unit."""
        of, first = quantity_named(quantity), self._first(quantity)
        given, unit = (None, of.unit) if first is None else (first.given, first.unit)
        title = of.heading(given)
        return [title] if title.startswith(unit) else [title, unit]

    def _beside(self, row: Row, quantity: str) -> str | Absent:
        """Its mean over seeds with the error of that, or why there is none."""
        own, first = replace(row, quantity=quantity), self._first(quantity)
        if own.failures:
            return Absent(own.failures[0][1])
        if first is None or not own.scores:
            return Absent("no run is there yet")
        for score in own.scores:
            if differing := score.differs_from(first.comparability):
                return Absent(differing)
        return with_error(own.mean, own.standard_error)

    def _records(self) -> list[list[object]]:
        """A line for each setting."""
        numbers = ("quantity", "unit", "given", "mean", "standard_error_over_seeds")
        lines: list[list[object]] = [
            [*self.grid, *numbers, "seeds", "failed", "seconds", "failures", "epochs", "pruned"]
        ]
        for name in self.quantities:
            lines[0] += [name, f"{name}_standard_error_over_seeds"]
        for row in self.rows:
            of = [getattr(row.scores[0], name) if row.scores else None for name in numbers[:3]]
            reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in row.failures)
            counts = (len(row.scores), len(row.failures), row.seconds, reasons)
            ended = (row.epochs, row.pruned)
            lines.append(
                [*row.setting.values(), *of, row.mean, row.standard_error, *counts, *ended]
            )
            for name in self.quantities:
                beside = replace(row, quantity=name)
                lines[-1] += [beside.mean, beside.standard_error]
        return lines

    def runs_to_csv(self) -> str:
        """One line for each run, with the standard error over its validation data."""
        recorded = ("seed", "epochs", "seconds", "threads", "stopped", "failure", "pruned")
        scored = ("quantity", "unit", "given", "value", "standard_error")
        lines: list[list[object]] = [
            [*self.grid, *recorded, *scored[:-1], "standard_error_over_data", "folder"]
        ]
        for row in self.rows:
            for outcome in row.outcomes:
                score = None if row.pruned else score_of(outcome, row.quantity)
                of_run = [getattr(outcome, name) for name in recorded]
                of_score = [getattr(score, n) if isinstance(score, Score) else None for n in scored]
                folder = outcome.folder.relative_to(self.out).as_posix()
                lines.append([*row.setting.values(), *of_run, *of_score, folder])
        return csv_text(lines)


def describe(setting: Mapping[str, Any]) -> str:
    """A setting in a line."""
    words = [f"{short_name(name, setting)} = {value}" for name, value in setting.items()]
    return ", ".join(words) or "the settings as given"
