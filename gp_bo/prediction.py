"""What is predicted, and how good it was: mixtures over draws of the hyper-parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gp_bo.share import Share
from inference.standard_error import mean_and_error
from pyro_models import UsageError
from pyro_models.brief import Brief

__all__ = ["Prediction", "PredictiveScores", "mixture_moments", "score_mixture"]

LEVELS = (0.5, 0.8, 0.95)
"""Central intervals whose coverage is reported, unless others are given."""


@dataclass(frozen=True, eq=False)
class Prediction(Brief):
    """Mean and variance of the predictive distribution at M inputs, (M,), in the output's units.

    The variance has both the mean of the draws' variances and the variance of their means.
    """

    mean: Tensor
    variance: Tensor

    @property
    def standard_deviation(self) -> Tensor:
        """√variance, (M,)."""
        return self.variance.sqrt()


@dataclass(frozen=True)
class PredictiveScores(Brief):
    """How well outputs that were not learned from are predicted; noise included.

    Attributes
    ----------
    log_density
        Mean of log Σ_s w_s N(y; m_s, v_s + σ_s²), nats per datum; a density in the output's unit.
    rmse
        Root of the mean squared error of the predictive mean, unit of the output.
    coverage
        Level of a central interval → fraction of the outputs inside it.
    log_density_error, rmse_error, coverage_error
        Standard errors over the N = ``num_data`` outputs; that of the coverage is √(c (1 − c) / N)
        at the level c, what it would be if the intervals held what they say. In text the coverage
        has Wilson's interval instead.
    """

    log_density: float
    log_density_error: float
    rmse: float
    rmse_error: float
    coverage: dict[float, float]
    coverage_error: dict[float, float]
    num_data: int

    @property
    def counted(self) -> dict[float, int]:
        """Level of a central interval → number of the outputs inside it."""
        return {level: round(share * self.num_data) for level, share in self.coverage.items()}

    def in_unit(self, unit: float) -> PredictiveScores:
        """Of outputs b y + a, where these are of y: b is the unit, above 0.

        log p(b y + a) = log p(y) − log b.
        """
        spread = {"rmse": self.rmse * unit, "rmse_error": self.rmse_error * unit}
        return replace(self, log_density=self.log_density - math.log(unit), **spread)  # type: ignore[arg-type]

    def __str__(self) -> str:
        shares = {level: Share(count, self.num_data) for level, count in self.counted.items()}
        covered = ", ".join(f"{100 * level:g} %: {share}" for level, share in shares.items())
        covered = f", coverage {covered}" if covered else ""
        return (
            f"log density {self.log_density:.4f} ± {self.log_density_error:.4f} nats per datum, "
            f"RMSE {self.rmse:.4g} ± {self.rmse_error:.2g}{covered} "
            f"(N = {self.num_data})"
        )


def mixture_moments(means: Tensor, variances: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """m = Σ_s w_s m_s and v = Σ_s w_s (v_s + (m_s − m)²), each (M,), from (S, M) and (S,).

    >>> import torch
    >>> means, one = torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1)
    >>> float(mixture_moments(means, one, torch.tensor([0.5, 0.5]))[1])
    2.0
    """
    mean = weights @ means
    return mean, weights @ (variances + (means - mean).square())


def score_mixture(
    y: Tensor,
    means: Tensor,
    variances: Tensor,
    weights: Tensor,
    *,
    levels: tuple[float, ...] = LEVELS,
) -> PredictiveScores:
    """Score the mixture Σ_s w_s N(m_s, v_s), (S,) and twice (S, N), at outputs y, (N,).

    The noise is part of the variances; y lies inside a central interval when its quantile under the
    mixture does. A level outside (0, 1) and a variance of 0 are refused.
    """
    if not all(0 < level < 1 for level in levels):
        raise UsageError(f"levels of intervals lie between 0 and 1; got {levels}")
    if not bool((variances > 0).all()):
        raise UsageError("a predictive variance is 0, so there is no density: allow some noise")
    deviation = variances.sqrt()
    z = (y - means) / deviation
    log_each = -0.5 * z.square() - deviation.log() - 0.5 * math.log(2 * math.pi)
    log_density, error = mean_and_error((log_each + weights.log()[:, None]).logsumexp(0))
    quantile = weights @ torch.special.ndtr(z)
    squared = (y - weights @ means).square()
    count = len(y)
    rmse = float(squared.mean().sqrt())
    coverage = {a: float(((quantile - 0.5).abs() <= a / 2).double().mean()) for a in levels}
    return PredictiveScores(
        log_density=log_density,
        log_density_error=error,
        rmse=rmse,
        rmse_error=mean_and_error(squared)[1] / (2 * rmse) if rmse else 0.0,
        coverage=coverage,
        coverage_error={a: math.sqrt(a * (1 - a) / count) for a in levels},
        num_data=count,
    )
