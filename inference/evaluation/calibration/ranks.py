"""Ranks of the truth among posterior draws, and what a set of such ranks says of the posterior."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.optimize import minimize
from scipy.special import ndtr, ndtri
from torch import Tensor

from inference.evaluation.calibration.symmetry import symmetric_p_value
from inference.evaluation.calibration.uniformity import counts_below, uniform_p_value
from pyro_models.brief import Brief

__all__ = ["Ranks", "rank_of"]

MOST_SHIFT, MOST_LOG_WIDTH = 20.0, 4.0
"""How far a fit goes where hardly any truth lies among its draws, in the draws' own scale."""


def rank_of(truth: Tensor, draws: Tensor) -> Tensor:
    """How many of L draws, (L, \\*batch), lie below the truth, (\\*batch): 0…L, (\\*batch).

    A draw that equals the truth lies below it or not by chance, so that ranks of what is discrete
    are uniform as well. The global generator is drawn from only where there is such a tie.

    >>> rank_of(torch.tensor([0.5, 9.0]), torch.tensor([[0.0, 1.0], [1.0, 2.0]]))
    tensor([1, 2])
    """
    below, equal = (draws < truth).sum(0), (draws == truth).sum(0)
    if not bool(equal.any()):
        return below
    chance = torch.rand(equal.shape, dtype=torch.float64, device=equal.device)
    return below + (chance * (equal + 1)).long().clamp_max(equal)


@dataclass(frozen=True, eq=False)
class Ranks(Brief):
    """Ranks of one quantity over n simulations, uniform on {0, …, L} if the posterior is right.

    Attributes
    ----------
    name
        The quantity, such as ``"tau"``, ``"z[3]"`` or ``"log_likelihood"``.
    values
        (n,), whole numbers.
    num_draws
        L.
    """

    name: str
    values: np.ndarray
    num_draws: int

    def __len__(self) -> int:
        return len(self.values)

    @cached_property
    def uniform_p(self) -> float:
        """See :func:`inference.evaluation.calibration.uniformity.uniform_p_value`."""
        return uniform_p_value(self.values, self.num_draws)

    @cached_property
    def symmetric_p(self) -> float:
        """See :func:`inference.evaluation.calibration.symmetry.symmetric_p_value`."""
        return symmetric_p_value(self.values, self.num_draws)

    @property
    def ecdf(self) -> np.ndarray:
        """The share of the ranks below each boundary, (P,)."""
        return counts_below(self.values, self.num_draws) / len(self)

    @property
    def shift(self) -> tuple[float, float]:
        """(q's mean − the right one) / q's standard deviation, and its standard error."""
        return -self._fit[0], self._fit[2]

    @property
    def log_width(self) -> tuple[float, float]:
        """Log of q's standard deviation as a multiple of the right one, and its standard error."""
        return -self._fit[1], self._fit[3]

    @property
    def width(self) -> tuple[float, float]:
        """q's standard deviation as a multiple of what it should be, and its standard error."""
        width = math.exp(self.log_width[0])
        return width, width * self.log_width[1]

    @cached_property
    def _fit(self) -> tuple[float, float, float, float]:
        """m and log s that make N(m, s²) likeliest of the normal scores, and their errors.

        Where q = N(μ + b, v²) stands in place of N(μ, σ²) the score (θ − μ − b) / v of the truth
        is N(−b / v, σ² / v²), and a rank k of L says that it lies between Φ⁻¹(k / (L + 1)) and
        Φ⁻¹((k + 1) / (L + 1)), the first and the last of which are infinite.
        """
        edges = ndtri(np.arange(self.num_draws + 2) / (self.num_draws + 1))
        counts = np.bincount(self.values, minlength=self.num_draws + 1)

        def chances(at: np.ndarray) -> np.ndarray:
            scaled = (edges - at[0]) / math.exp(at[1])
            low, high = scaled[:-1], scaled[1:]
            right = low > 0  # there a difference of lower tails would be one of two ones
            found: np.ndarray = np.where(right, ndtr(-low) - ndtr(-high), ndtr(high) - ndtr(low))
            return np.maximum(found, 1e-300)

        at = minimize(
            lambda at: -float(counts @ np.log(chances(at))) / len(self),
            np.zeros(2),
            bounds=[(-MOST_SHIFT, MOST_SHIFT), (-MOST_LOG_WIDTH, MOST_LOG_WIDTH)],
        ).x
        step = 1e-4 * np.eye(2)
        slope = np.stack([(chances(at + h) - chances(at - h)) / 2e-4 for h in step])
        information = len(self) * (slope / chances(at)) @ slope.T
        errors = np.sqrt(np.diag(np.linalg.pinv(information)))
        return float(at[0]), float(at[1]), float(errors[0]), float(errors[1])
