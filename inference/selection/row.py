"""One setting of a sweep: its runs, the score that decides, and its error over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference.evaluation import Score
from inference.evaluation.quantity import Quantity, quantities_of
from inference.selection.outcome import Outcome
from pyro_models.brief import Brief
from pyro_models.registry import Registry

__all__ = ["Row", "choices", "score_of"]

# the first that a pair has decides, unless another is asked for
TIGHTEST = ("log_likelihood", "importance_bound", "elbo")


def choices() -> Registry[Quantity]:
    """The quantities that may decide, the tightest first."""
    known = {name: of for name, of in quantities_of("sweep").items() if of.direction}
    return Registry("quantity", {name: known[name] for name in (*TIGHTEST, *known)})


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
class Row(Brief):
    """One setting of a sweep, its values by name, with all its runs, one for each seed.

    The ``quantity`` is the score that decides; ``None`` for the tightest that the pair has.
    """

    setting: Mapping[str, Any]
    outcomes: tuple[Outcome, ...]
    quantity: str | None = None

    @property
    def scores(self) -> tuple[Score, ...]:
        """The scores on validation data of the runs that have one; none of a pruned setting."""
        if self.pruned:
            return ()
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
        is not in it: all runs are evaluated on the same data.
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
        there = (each for each in self.outcomes if not (each.pending or each.pruned))
        found = ((outcome.seed, score_of(outcome, self.quantity)) for outcome in there)
        return tuple((seed, why) for seed, why in found if isinstance(why, str))

    @property
    def pending(self) -> int:
        """Number of runs that are another's to train, and not there yet."""
        return sum(outcome.pending for outcome in self.outcomes)

    @property
    def pruned(self) -> str:
        """At which epoch, under which seed, and why it was pruned; empty if it was not."""
        found = (o for o in self.outcomes if o.pruned and o.epochs)
        return next((f"seed {o.seed} {o.pruned}" for o in found), "")

    @property
    def is_whole(self) -> bool:
        """Whether every seed has a score, so that it may be compared."""
        return not (self.failures or self.pending or self.pruned)

    @property
    def epochs(self) -> int:
        """Number of epochs that its runs were trained for, together."""
        return sum(outcome.epochs for outcome in self.outcomes)
