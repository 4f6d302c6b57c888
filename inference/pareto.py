"""The tail of importance weights: whether estimates from them can be relied upon."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["FEWEST", "RELIABLE", "pareto_k_hat"]

RELIABLE = 0.7
"""Importance weights with a k̂ above this have estimates that cannot be relied upon."""

FEWEST = 25
"""Particles below which the tail of the weights is too short for k̂."""


def pareto_k_hat(log_weights: Tensor) -> Tensor:
    """Shape k̂ of the generalised Pareto tail of importance weights, per datum.

    The M = min(K/5, 3 √K) largest weights, minus the largest of the others, are fitted by the
    estimator of Zhang & Stephens (2009) with the weakly informative prior of Vehtari, Simpson,
    Gelman, Yao & Gabry (2024): k̂ < 0.5 has finite variance, k̂ > 0.7 is not to be relied upon.

    Parameters
    ----------
    log_weights
        (K, B).

    Returns
    -------
    Tensor
        k̂, (B,), float64; NaN for K < 25 (a tail of fewer than five weights), and −∞ where all
        weights are equal up to rounding, as for an exact guide.

    Examples
    --------
    >>> u = (torch.arange(5000, dtype=torch.float64) + 0.5) / 5000
    >>> round(float(pareto_k_hat(-0.3 * u.log().unsqueeze(1))), 1)  # weights u^−0.3: k = 0.3
    0.3
    """
    K, B = log_weights.shape
    M = min(K // 5, int(3 * math.sqrt(K)))
    if M < 5:
        return log_weights.new_full((B,), math.nan, dtype=torch.float64)
    eps = torch.finfo(log_weights.dtype).eps
    rounding = (8 * eps * log_weights.amax(0).abs().double()).clamp_min(math.sqrt(eps))
    ordered = log_weights.double().sort(0).values
    ordered = ordered - ordered[-1]
    cutoff = ordered[-M - 1].exp()
    excess = (ordered[-M:].exp() - cutoff).T  # (B, M), ascending
    equal = -ordered[-M - 1] <= rounding
    any_tail = torch.arange(1, M + 1, device=excess.device).to(excess)
    excess = torch.where(equal[:, None], any_tail, excess)
    grid = 30 + int(math.sqrt(M))
    j = torch.arange(1, grid + 1, dtype=torch.float64, device=excess.device) - 0.5
    quartile = excess[:, int(M / 4 + 0.5) - 1].clamp_min(1e-300)
    theta = 1 / excess[:, -1:] + (1 - math.sqrt(grid) / j.sqrt()) / (3 * quartile[:, None])
    k = torch.log1p(-theta[:, :, None] * excess[:, None, :]).mean(-1)  # (B, grid)
    profile = M * ((-theta / k).log() - k - 1)
    weight = profile.softmax(-1)
    best = (weight * theta).sum(-1, keepdim=True)
    k_hat = torch.log1p(-best * excess).mean(-1)
    k_hat = (M * k_hat + 10 * 0.5) / (M + 10)
    return torch.where(equal, torch.full_like(k_hat, -math.inf), k_hat)
