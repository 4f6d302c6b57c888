"""The result of a sweep: one row for each setting, with its error over seeds."""

from __future__ import annotations

import csv
import io
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inference.evaluation import Score
from inference.evaluation.scores import conditional
from inference.selection.grid import short_name
from inference.selection.outcome import Outcome
from pyro_models import UsageError

__all__ = ["LOWER_IS_BETTER", "QUANTITIES", "Row", "Sweep", "score_of"]

# the first that a pair has decides, unless another is asked for
TIGHTEST = ("log_likelihood", "importance_bound", "elbo")
LOWER_IS_BETTER = ("bits_per_dimension", "mse_sampled", "mse_mean")
QUANTITIES = (*TIGHTEST, *LOWER_IS_BETTER, "accuracy")


def score_of(outcome: Outcome, quantity: str | None = None) -> Score | str:
    """The score that decides, or why the run has none."""
    if outcome.evaluation is None:
        return outcome.failure
    wanted = TIGHTEST if quantity is None else (quantity,)
    scores = outcome.evaluation.scores
    for name in wanted:
        if name in scores:
            score = scores[name]
            return score if math.isfinite(score.value) else f"its {name} is {score.value}"
    return outcome.evaluation.absent.get(wanted[0], f"it has no {wanted[0]}")


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes
    ----------
    setting
        By name, as in the grid.
    outcomes
        Its runs, one for each seed.
    quantity
        The score that decides; ``None`` for the tightest that the pair has.
    """

    setting: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    quantity: str | None = None

    @property
    def scores(self) -> tuple[Score, ...]:
        """Of the runs that have one, on validation data."""
        found = (score_of(outcome, self.quantity) for outcome in self.outcomes)
        return tuple(score for score in found if isinstance(score, Score))

    @property
    def mean(self) -> float:
        """Mean of the score over seeds; NaN if no run has one."""
        return statistics.fmean(self.values) if self.scores else math.nan

    @property
    def standard_error(self) -> float:
        """Standard error of that mean over seeds, s / √n; NaN for fewer than two seeds.

        It tells how much another set of seeds would change the mean. The error over validation data
        is not in it: all runs are judged on the same data.
        """
        if len(self.scores) < 2:
            return math.nan
        return statistics.stdev(self.values) / math.sqrt(len(self.scores))

    @property
    def values(self) -> tuple[float, ...]:
        """The score of each run that has one."""
        return tuple(score.value for score in self.scores)

    @property
    def seconds(self) -> float:
        """Mean seconds of training over the finished runs; NaN if there is none."""
        finished = [o.seconds for o in self.outcomes if o.evaluation is not None]
        return statistics.fmean(finished) if finished else math.nan

    @property
    def failures(self) -> tuple[tuple[int, str], ...]:
        """Seed and reason of each run that failed, or has no such score."""
        found = ((outcome.seed, score_of(outcome, self.quantity)) for outcome in self.outcomes)
        return tuple((seed, why) for seed, why in found if isinstance(why, str))


@dataclass(frozen=True)
class Sweep:
    """All settings of a sweep; printed, it is its table.

    Attributes
    ----------
    rows
        One for each combination of the grid.
    grid
        The values of each setting.
    seeds
        The seeds of each setting.
    out
        Folder of the runs and tables.
    """

    rows: tuple[Row, ...]
    grid: Mapping[str, Sequence[Any]]
    seeds: tuple[int, ...]
    out: Path

    @property
    def varied(self) -> tuple[str, ...]:
        """Names of the settings with more than one value."""
        return tuple(name for name, values in self.grid.items() if len(values) > 1)

    @property
    def footing(self) -> dict[str, Any]:
        """What all scores share (unit, kind, measure, preparation, data …).

        Raises
        ------
        UsageError
            If no run has a score, or two may not be compared.
        """
        scores = [score for row in self.rows for score in row.scores]
        if not scores:
            reasons = [reason for row in self.rows for _, reason in row.failures]
            raise UsageError(f"no run of this sweep has a score; the first: {reasons[0]}")
        for score in scores:
            differing = score.differs_from(scores[0].footing)
            if differing:
                raise UsageError(
                    "these settings are not judged on one footing, so none of them is best "
                    f"({differing}); sweep them apart, or name a quantity that they share"
                )
        return scores[0].footing

    @property
    def best(self) -> Row:
        """The setting with the best mean on validation data, of those whose every seed finished.

        Raises
        ------
        UsageError
            If two settings may not be compared, or each has a seed that failed.
        """
        lower = self.footing["quantity"] in LOWER_IS_BETTER
        whole = [row for row in self.rows if not row.failures]
        if not whole:
            raise UsageError("each setting has a seed that failed, so none of them is best")
        return (min if lower else max)(whole, key=lambda row: row.mean)

    @property
    def near_best(self) -> tuple[Row, ...]:
        """Other settings whose mean is within two standard errors of the best's.

        Of the difference, √(s₁²/n₁ + s₂²/n₂), over seeds. Where a setting has one seed nothing is
        known of its error, and it is left out.
        """
        best = self.best
        return tuple(
            row
            for row in self.rows
            if row is not best
            and not row.failures
            and abs(row.mean - best.mean) <= 2 * math.hypot(row.standard_error, best.standard_error)
        )

    @property
    def label(self) -> str:
        """Quantity and unit, for an axis or a heading."""
        footing = self.footing
        name = footing["quantity"].replace("_", " ")
        if footing["quantity"] == "log_likelihood":
            name = "log p(x)"
        if footing["quantity"] == "importance_bound":
            name = "importance-sampled bound"
        if footing["kind"] == "objective only":
            name = f"objective ({name})"
        name = conditional(name, footing["given"])
        k = f", K = {footing['K']}" if footing["K"] else ""
        return f"{name}{k} ({footing['unit']})"

    def _caption(self) -> list[str]:
        """What the numbers are, which is best, and what failed."""
        lines = [
            "Mean ± standard error over seeds (of training; every run is judged on the same "
            "validation data, with the same draws)."
        ]
        try:
            footing = self.footing
            kinds = {score.kind for row in self.rows for score in row.scores}
            kind = "" if kinds == {"objective only"} else f", {' or '.join(sorted(kinds))}"
            lines.append(
                f"Score: {self.label}{kind}, {footing['preparation']} pixels; "
                f"{footing['data']} {footing['split']}, {footing['number of data']:,} data."
            )
            known = [s.identity is not None for row in self.rows for s in row.scores]
            if any(known) and not all(known):
                lines.append(
                    f"The data of {known.count(False)} runs, of an earlier version, are known by "
                    "name alone."
                )
            near = "; ".join(describe(row.setting) for row in self.near_best)
            near = f" Within two standard errors of the difference: {near}." if near else ""
            lines.append(f"Best: {describe(self.best.setting)}.{near}")
        except UsageError as error:
            lines.append(f"No best: {error}.")
        for row in self.rows:
            for seed, reason in row.failures:
                lines.append(f"Failed: {describe(row.setting)}, seed {seed}: {reason}")
        return lines

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        names = [short_name(name, self.grid) for name in self.grid]
        head = [*names, "score", "seeds", "seconds"]
        lines = []
        for row in self.rows:
            failed = f", {len(row.failures)} failed" if row.failures else ""
            lines.append(
                [
                    *(str(value) for value in row.setting.values()),
                    _with_error(row.mean, row.standard_error),
                    f"{len(row.scores)}{failed}",
                    "–" if math.isnan(row.seconds) else f"{row.seconds:.1f}",
                ]
            )
        return head, lines

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self) -> str:
        """The table for a terminal."""
        head, lines = self._cells()
        widths = [max(len(line[j]) for line in (head, *lines)) for j in range(len(head))]
        table = [
            "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True))
            for line in (head, *lines)
        ]
        return "\n".join([*table, "", *self._caption()]) + "\n"

    def to_markdown(self) -> str:
        """The table for people."""
        head, lines = self._cells()
        table = [f"| {' | '.join(_plain(cell) for cell in line)} |" for line in (head, *lines)]
        table.insert(1, "|" + "---|" * len(head))
        return "\n".join([*table, "", *(f"- {_plain(line)}" for line in self._caption())]) + "\n"

    def to_csv(self) -> str:
        """One line for each setting."""
        fields = [*self.grid, "quantity", "unit", "given", "mean", "standard_error_over_seeds"]
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([*fields, "seeds", "failed", "seconds", "failures"])
        for row in self.rows:
            first = row.scores[0] if row.scores else None
            reasons = "; ".join(f"seed {seed}: {reason}" for seed, reason in row.failures)
            writer.writerow(
                [
                    *row.setting.values(),
                    *(("",) * 3 if first is None else (first.quantity, first.unit, first.given)),
                    _blank(row.mean),
                    _blank(row.standard_error),
                    len(row.scores),
                    len(row.failures),
                    _blank(row.seconds),
                    reasons,
                ]
            )
        return out.getvalue()

    def runs_to_csv(self) -> str:
        """One line for each run, with the standard error over its validation data."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        told = ("seed", "epochs", "seconds", "threads", "stopped", "failure")
        scored = ("quantity", "unit", "given", "value", "standard_error_over_data")
        writer.writerow([*self.grid, *told, *scored, "folder"])
        for row in self.rows:
            for outcome in row.outcomes:
                score = score_of(outcome, row.quantity)
                numbers: tuple[Any, ...] = ("",) * 5
                if isinstance(score, Score):
                    error = _blank(score.standard_error)
                    numbers = (score.quantity, score.unit, score.given, score.value, error)
                folder = outcome.folder.relative_to(self.out).as_posix()
                own = [getattr(outcome, name) for name in told]
                writer.writerow([*row.setting.values(), *own, *numbers, folder])
        return out.getvalue()


def describe(setting: Mapping[str, Any]) -> str:
    """A setting in a line."""
    words = [f"{short_name(name, setting)} = {value}" for name, value in setting.items()]
    return ", ".join(words) or "the settings as given"


def _with_error(mean: float, error: float) -> str:
    """A mean with as many digits as its error has meaning for."""
    if math.isnan(mean):
        return "–"
    if math.isnan(error) or error == 0:
        return f"{mean:.3f}"
    digits = max(0, min(6, 1 - math.floor(math.log10(error))))
    return f"{mean:.{digits}f} ± {error:.{digits}f}"


def _blank(value: float) -> float | str:
    return "" if math.isnan(value) else value


def _plain(text: str) -> str:
    return text.replace("|", "\\|")
