"""One guide on the same data as others: its numbers, and its paired difference to another's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from inference.evaluation.diagnostics import RELIABLE

__all__ = ["COLUMNS", "PER_DATUM", "Difference", "GuideScores", "mean_and_error"]

COLUMNS = {
    "elbo": "ELBO",
    "importance_bound": "L_K",
    "gap": "log p(x) − ELBO",
    "approximation_gap": "approximation gap",
    "amortisation_gap": "amortisation gap",
    "share_unreliable": f"share k̂ > {RELIABLE}",
    "effective_sample_size": "ESS",
    "milliseconds": "ms per image",
    "num_parameters": "numbers per image",
}
"""Quantities of a row, and their headings."""

PER_DATUM = ("elbo", "importance_bound", "gap", "approximation_gap", "amortisation_gap")
"""Those of which every datum has a value, in nats."""


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """Mean over data and its standard error; NaN for one datum."""
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), error


@dataclass(frozen=True, eq=False)
class GuideScores:
    """One guide on B data; nats per datum where nothing else is said.

    Attributes
    ----------
    name
        Of the guide.
    milliseconds
        Wall-clock time of the inference per image, in this run on this machine.
    num_parameters
        Numbers that the guide keeps per image; those that images share count by their share.
    elbo, elbo_error
        E_q[log p(x, z) − log q(z)], (B,), estimated from K draws, and its Monte-Carlo error.
    importance_bound, importance_error
        L_K, (B,), with the same K for all guides, and its Monte-Carlo error.
    effective_sample_size, k_hat
        Of the K weights, (B,).
    gap
        log p(x) − ELBO, (B,): KL(q(z | x) ‖ p(z | x)) where the evidence is exact.
    unfinished
        Fits that ended at the step limit, or where numbers were no longer finite.
    family, best_of_family
        The family of q, and the fitted guide that stands for its best member.
    approximation_gap
        log p(x) − the best ELBO within the family, (B,) (Cremer, Li & Duvenaud 2018). Members of a
        family that this one contains count as its own.
    amortisation_gap
        The best ELBO within the family − this guide's, (B,).
    optimisation_gap
        The same of a guide that was fitted to each datum, where another of its family is better:
        what its optimisation lost.
    absent
        Quantities there are none of, and why.
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
    def elbo_mean(self) -> tuple[float, float]:
        """Mean ELBO over data, and its Monte-Carlo error; −∞ where there is no density."""
        if self.elbo is None or self.elbo_error is None:
            return -math.inf, math.nan
        noise = float(self.elbo_error.double().square().sum().sqrt()) / len(self.elbo)
        return float(self.elbo.double().mean()), noise

    def value(self, quantity: str) -> tuple[float, float] | None:
        """Number of a column of :data:`COLUMNS` and its standard error over data, if there is one.

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
    quantity
        Of which.
    first, second
        Names of the guides.
    value
        first − second, nats per datum.
    standard_error
        Over data, of the paired differences: what both guides owe to an image cancels.
    num_data
        How many.
    """

    quantity: str
    first: str
    second: str
    value: float
    standard_error: float
    num_data: int

    def __str__(self) -> str:
        error = self.standard_error
        spread = "" if math.isnan(error) else f" ± {error:.4f}"  # of one datum there is none
        return (
            f"{COLUMNS[self.quantity]}, {self.first} − {self.second}: {self.value:+.4f}{spread} "
            f"nats per datum (paired over {self.num_data:,} data)"
        )
