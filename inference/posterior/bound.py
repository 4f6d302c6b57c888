"""Bounds of log p(x_seen) for each image, with their Monte-Carlo standard errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from inference.particles import effective_sample_size, log_mean_exp
from inference.standard_error import mean_and_error
from pyro_models.brief import Brief

__all__ = ["Bound", "elbo_of", "importance_bound_of"]


@dataclass(frozen=True, eq=False)
class Bound(Brief):
    """A bound of log p(x_seen) for each image, nats.

    Attributes
    ----------
    value, standard_error
        Estimate and its Monte-Carlo standard error, (B,).
    num_particles
        Samples of z behind each.
    """

    value: Tensor
    standard_error: Tensor
    num_particles: int

    @property
    def mean(self) -> tuple[float, float]:
        """Mean over images, and its standard error over images (NaN for one image)."""
        return mean_and_error(self.value)


def elbo_of(log_weights: Tensor) -> Bound:
    """The mean of log w, an unbiased estimate of the ELBO, from log-weights (K, B) in nats.

    Its standard error is the spread of log w over √K; NaN for K = 1.
    """
    K, log_w = len(log_weights), log_weights.double()
    error = log_w.std(0) if K > 1 else log_w[0] * math.nan
    return Bound(log_w.mean(0), error / math.sqrt(K), K)


def importance_bound_of(log_weights: Tensor) -> Bound:
    """L_K = log (1/K) Σ_k w_k of log-weights (K, B) in nats (Burda et al. 2016).

    The standard error is that of log p̂ by the delta method, √(1/ESS − 1/K): right for small ones.
    """
    K, log_w = len(log_weights), log_weights.double()
    error = (1 / effective_sample_size(log_w) - 1 / K).clamp_min(0).sqrt()
    return Bound(log_mean_exp(log_w), error, K)
