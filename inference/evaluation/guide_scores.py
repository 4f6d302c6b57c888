"""One guide on the same data as others: its numbers, and its paired difference to another's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from inference.evaluation.quantity import NATS, quantity_named
from inference.pareto import RELIABLE
from inference.standard_error import error_of_mean, mean_and_error, with_error

__all__ = ["Difference", "GuideScores"]

_DIGITS = 4  # of a paired difference, in which what both guides owe to a datum cancels


@dataclass(frozen=True, eq=False)
class GuideScores:
    """One guide on B data; nats per datum where nothing else is said.

    Attributes
    ----------
    name, milliseconds
        Name of the guide, and wall-clock time of the inference per datum, in this run here.
    num_parameters
        Parameters that the guide keeps per datum; those that data share count by their share.
    elbo, elbo_error
        E_q[log p(x, z) − log q(z)], (B,), estimated from K draws, and its Monte-Carlo error.
    importance_bound, importance_error
        L_K, (B,), with the same K for all guides, and its Monte-Carlo error.
    effective_sample_size, k_hat
        Effective sample size and Pareto k̂ of the K weights, (B,).
    gap
        log p(x) − ELBO, (B,): KL(q(z | x) ‖ p(z | x)) where the evidence is exact.
    unfinished
        Fits that ended at the step limit, or where numbers were no longer finite.
    family, best_of_family
        The family of q, and the fitted guide that stands for its best member.
    approximation_gap, amortisation_gap
        log p(x) − the best ELBO within the family, and that − this guide's, (B,) (Cremer, Li &
        Duvenaud 2018). Members of a family that this one contains count as its own.
    optimisation_gap
        What the optimisation of a guide that was fitted to each datum lost, (B,), where another
        guide of its family is better.
    absent
        Quantities that the guide has none of, and why.
    """

    name: str
    milliseconds: float
    num_parameters: float
    elbo: Tensor | None = None
    elbo_error: Tensor | None = None
    importance_bound: Tensor | None = None
    importance_error: Tensor | None = None
    effective_sample_size: Tensor | None = None
    k_hat: Tensor | None = None
    gap: Tensor | None = None
    unfinished: int = 0
    family: str | None = None
    best_of_family: str | None = None
    approximation_gap: Tensor | None = None
    amortisation_gap: Tensor | None = None
    optimisation_gap: Tensor | None = None
    absent: Mapping[str, str] = field(default_factory=dict)

    @property
    def bound(self) -> tuple[Tensor, Tensor] | None:
        """L_K of every datum with its Monte-Carlo error; ``None`` where there is no density."""
        if self.importance_bound is None or self.importance_error is None:
            return None
        return self.importance_bound, self.importance_error

    @property
    def elbo_mean(self) -> tuple[float, float]:
        """Mean ELBO over data, and its Monte-Carlo error; −∞ where there is no density."""
        if self.elbo is None or self.elbo_error is None:
            return -math.inf, math.nan
        return float(self.elbo.double().mean()), error_of_mean(self.elbo_error)

    def value(self, quantity: str) -> tuple[float, float] | None:
        """A quantity of the guides' table and its standard error over data, if there is one.

        The error is NaN where there is none: for one datum, and for numbers that are no mean.
        """
        if quantity in self.absent:
            return None
        if quantity in ("milliseconds", "num_parameters"):
            return float(getattr(self, quantity)), math.nan
        if quantity == "share_unreliable":
            return None if self.k_hat is None else mean_and_error((self.k_hat > RELIABLE).double())
        values = getattr(self, quantity)
        if values is None:
            return None
        if quantity == "effective_sample_size":
            return float(values.median()), math.nan
        return mean_and_error(values)


@dataclass(frozen=True)
class Difference:
    """One guide's mean minus another's over the same data.

    Attributes
    ----------
    quantity, first, second
        Names of the quantity and of the guides.
    value, standard_error, num_data
        first − second, nats per datum; and over how many data, with the standard error of the
        paired differences: what both guides owe to a datum cancels.
    """

    quantity: str
    first: str
    second: str
    value: float
    standard_error: float
    num_data: int

    def __str__(self) -> str:
        number = with_error(self.value, self.standard_error, digits=_DIGITS, signed=True)
        return (
            f"{quantity_named(self.quantity).title}, {self.first} − {self.second}: {number} {NATS} "
            f"(paired over {self.num_data:,} data)"
        )
