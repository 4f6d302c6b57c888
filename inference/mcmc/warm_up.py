"""The warm-up of Markov chains: step sizes by dual averaging, scales learned at ends of windows."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from numbers import Real
from typing import Any, Generic, TypeVar

import torch
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
    """Refuse arguments of a sampler that are out of range; ``counts`` are at least 1, by name."""
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

    ``step`` is ε to begin with, a number, or one for each datum, (B,); then that of the next
    transition.
    """

    def __init__(self, step: Step, target_acceptance: float) -> None:
        self._several = isinstance(step, Tensor)
        self._exp: Callable[[Step], Step] = torch.exp if self._several else math.exp
        self.step = step.log().exp() if self._several else step
        self._center = step.log() + math.log(10) if self._several else math.log(10 * step)
        self._target = target_acceptance
        self._error: Step = 0.0
        self._average: Step = 0.0
        self._count = 0

    @property
    def averaged(self) -> Step:
        """ε to go on with after the warm-up."""
        return self._exp(self._average)

    def update(self, acceptance: Step) -> None:
        """Take in the acceptance of one transition, in the shape of ε."""
        self._count += 1
        t, w = self._count, self._count**-0.75
        miss = self._target - acceptance - self._error
        # Numbers and tensors each keep the order of operations, and so the rounding, that the draws
        # of earlier releases have: a chain carries the last digit of ε into its first.
        self._error = self._error + (miss / (t + 10) if self._several else 1 / (t + 10) * miss)
        new, old = self._center - math.sqrt(t) / 0.05 * self._error, self._average
        self._average = w * new + (1 - w) * old if self._several else old + w * (new - old)
        self.step = self._exp(new)


class Chains(ABC, Generic[Moved]):
    """Markov chains that go in step, and what their warm-up has found."""

    step: Step
    """ε, a number, or (B,) of B data with chains of their own."""
    done: Callable[[int], object] = staticmethod(lambda _: None)
    """Called with 1 after each transition."""

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
        """Find ε anew in windows: numbers of transitions, and whether they teach the scale."""
        for length, learns in windows:
            averaging = DualAveraging(self.step, target_acceptance)
            moves = []
            for _ in range(length):
                moved = self.move(averaging.step)
                averaging.update(self.mean_acceptance(moved))
                self.done(1)
                if learns:
                    moves.append(moved)
            self.step = averaging.averaged
            if learns:
                self.learn_scale(moves)
