"""The warm-up of Markov chains: step sizes by dual averaging, scales learned at ends of windows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from numbers import Real
from typing import Any, Generic, TypeVar

from torch import Tensor

from pyro_models.counts import check_counts
from pyro_models.errors import UsageError
from pyro_models.seeds import check_seed

__all__ = ["Chains", "DualAveraging", "check_sampling"]

LEAST_WARM_UP = 20
"""Transitions in which a step size can be found."""

Moved = TypeVar("Moved")
Step = Any
"""One number, or a tensor of one for each datum."""


def check_sampling(*, warmup: int, target_acceptance: float, seed: int = 0, **counts: Any) -> None:
    """Refuse arguments of a sampler that are out of range.

    Parameters
    ----------
    warmup
        Transitions that are thrown away.
    target_acceptance
        To which the step size is led.
    seed
        Seed of all draws.
    counts
        Whole numbers of at least 1, by name.

    Raises
    ------
    UsageError
        Naming the argument.
    """
    check_counts(**counts)
    check_counts(least=LEAST_WARM_UP, warmup=warmup)
    check_acceptance(target_acceptance)
    check_seed(seed)


def check_acceptance(target_acceptance: float) -> None:
    """Refuse a target acceptance that is no probability between 0 and 1."""
    if not isinstance(target_acceptance, Real) or not 0 < target_acceptance < 1:
        raise UsageError(f"target_acceptance lies between 0 and 1; got {target_acceptance}")


class DualAveraging:
    """ε, led to a target acceptance (Nesterov 2009; Hoffman & Gelman 2014, section 3.2).

    Parameters
    ----------
    step
        ε to begin with: a number, or one for each datum, (B,).
    target_acceptance
        Between 0 and 1.

    Attributes
    ----------
    step
        ε of the next transition.
    """

    def __init__(self, step: Step, target_acceptance: float) -> None:
        self.step = step.log().exp() if isinstance(step, Tensor) else step
        self._center = _log_of_ten(step)
        self._target = target_acceptance
        self._error: Step = 0.0
        self._average: Step = 0.0
        self._count = 0

    @property
    def averaged(self) -> Step:
        """ε to go on with after the warm-up."""
        return _exp(self._average)

    def update(self, acceptance: Step) -> None:
        """Take in the acceptance of one transition, in the shape of ε."""
        self._count += 1
        t = self._count
        miss = self._target - acceptance - self._error
        self._error = self._error + _divided(miss, t + 10)
        log_step = self._center - math.sqrt(t) / 0.05 * self._error
        self._average = _mixed(self._average, log_step, t**-0.75)
        self.step = _exp(log_step)


# Numbers and tensors each keep the order of operations, and so the rounding, that the draws of
# earlier releases have: a chain carries the last digit of ε into its first.


def _log_of_ten(step: Step) -> Step:
    """log 10 ε."""
    return step.log() + math.log(10) if isinstance(step, Tensor) else math.log(10 * step)


def _divided(value: Step, by: int) -> Step:
    return value / by if isinstance(value, Tensor) else 1 / by * value


def _mixed(old: Step, new: Step, weight: float) -> Step:
    """(1 − w) old + w new."""
    if isinstance(new, Tensor):
        return weight * new + (1 - weight) * old
    return old + weight * (new - old)


def _exp(value: Step) -> Step:
    return value.exp() if isinstance(value, Tensor) else math.exp(value)


class Chains(ABC, Generic[Moved]):
    """Markov chains that go in step, and what their warm-up has found.

    Attributes
    ----------
    step
        ε, a number, or (B,) of B data with chains of their own.
    """

    step: Step

    @abstractmethod
    def move(self, step: Step) -> Moved:
        """One transition of every chain."""

    @abstractmethod
    def mean_acceptance(self, moved: Moved) -> Step:
        """Mean acceptance over the chains that share a step size, in its shape."""

    @abstractmethod
    def learn_scale(self, moves: Sequence[Moved]) -> None:
        """Measure lengths, and ε, in units of the spread that these transitions saw."""

    def warm_up(self, windows: Sequence[tuple[int, bool]], target_acceptance: float) -> None:
        """Find ε in each window anew.

        Parameters
        ----------
        windows
            Number of transitions of each, and whether the scale is learned from them.
        target_acceptance
            To which ε is led.
        """
        for length, learns in windows:
            averaging = DualAveraging(self.step, target_acceptance)
            moves = []
            for _ in range(length):
                moved = self.move(averaging.step)
                averaging.update(self.mean_acceptance(moved))
                if learns:
                    moves.append(moved)
            self.step = averaging.averaged
            if learns:
                self.learn_scale(moves)
