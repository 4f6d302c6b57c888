"""The Rényi bound of order α."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from inference.declared import at_least, declared
from inference.objectives.bound import FINITE, Tempered, Weight, particle_count, tempered
from inference.particles import Particles, log_mean_exp

__all__ = ["Renyi"]


@dataclass(frozen=True, kw_only=True)
class Renyi(Tempered):
    r"""The Rényi bound of order α (Li & Turner 2016).

    .. math:: \frac{1}{1 − α} \E\Big[\log \frac{1}{K} \sum_k w_k^{1 − α}\Big]

    α = 0 is L_K, α → 1 the ELBO; a lower bound on log p(x) in expectation for α ≥ 0.
    """

    weighs: ClassVar[bool] = True

    num_particles: int = particle_count(5)
    alpha: float = declared(0.5, "Order α.", FINITE, at_least(0, why="for a lower bound"))

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats."""
        alpha = self.alpha
        if abs(1 - alpha) > 0.1:
            bound = log_mean_exp((1 - alpha) * p.log_weight) / (1 - alpha)
        elif alpha == 1:
            bound = p.log_weight.mean(0)
        else:  # log-mean-exp of numbers near 0, which would cancel; the largest is made 0
            held = p.log_weight.detach()
            top = held.amax(0) if alpha < 1 else held.amin(0)
            top = top.masked_fill(top == -math.inf, 0.0)
            below = (1 - alpha) * (p.log_weight - top)
            bound = top + below.expm1().mean(0).log1p() / (1 - alpha)
        return tempered(p, bound, beta)
