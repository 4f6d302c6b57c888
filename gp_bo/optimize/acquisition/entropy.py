"""Max-value entropy search: how much a value would tell of how low the function gets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gp_bo.optimize.acquisition.multistart import maximize_by_multistart
from gp_bo.optimize.acquisition.thompson import MOST, joint_draw
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models.counts import check_counts

__all__ = ["MaxValueEntropy", "entropy_reduction"]

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
MARGIN = 1e-3  # standard deviations of y: how far below the incumbent a drawn minimum lies at least


def entropy_reduction(gamma: Tensor) -> Tensor:
    """γ φ(γ) / 2Φ(γ) − log Φ(γ): nats by which f(z) > f* narrows f(z), γ = (m − f*)/σ."""
    log_cdf = torch.special.log_ndtr(gamma)
    ratio = torch.exp(-0.5 * gamma**2 - _LOG_SQRT_2PI - log_cdf)
    return 0.5 * gamma * ratio - log_cdf


class MaxValueEntropy:
    r"""What f(z) tells of the minimum f*: the mean over draws of f* of

    .. math:: I(f(z); f^*) ≈ \frac{γ φ(γ)}{2Φ(γ)} − \log Φ(γ), \quad γ = \frac{m_θ(z) − f^*}{σ_θ(z)}

    f* is the minimum of joint draws of the posterior at candidates, some under each θ (Wang and
    Jegelka 2017, equation 6, with the sign of a minimum).

    Parameters
    ----------
    minima
        Number of draws of f*, at least one under each θ.
    candidates
        Number of candidates whose least drawn value stands for f*; 4,000 in all at most.
    """

    def __init__(self, *, minima: int = 32, candidates: int = 500) -> None:
        check_counts(minima=minima, candidates=candidates)
        self.minima, self.candidates = minima, candidates

    def drawn_minima(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """(S, k): draws of f* under each θ, each a little below the best mean at the data."""
        generator = torch.Generator().manual_seed(seed)
        points = region.candidates(self.candidates, seed=seed, most=MOST)
        each = math.ceil(self.minima / surrogate.draws)
        rows = []
        for draw in range(surrogate.draws):
            mean, covariance = surrogate.joint(points, draw)
            values = [joint_draw(mean, covariance, generator=generator) for _ in range(each)]
            rows.append(torch.stack(values).amin(1))
        return torch.minimum(torch.stack(rows), surrogate.incumbent[:, None] - MARGIN)

    def value(self, surrogate: Surrogate, z: Tensor, *, minima: Tensor) -> Tensor:
        """(M, D) → (M,), nats, given draws of f* (S, k)."""
        mean, variance = surrogate.moments(z)
        gamma = (mean[:, None] - minima.to(mean)[..., None]) / variance.sqrt()[:, None]
        return entropy_reduction(gamma).mean((0, 1))

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """The point of the region that tells most of f*, (D,)."""
        with torch.no_grad():
            minima = self.drawn_minima(surrogate, region, seed=seed)
        return maximize_by_multistart(
            lambda z: self.value(surrogate, z, minima=minima), region, seed=seed
        )
