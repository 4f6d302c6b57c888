"""The evidence lower bound, and three gradients of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from inference.objectives.bound import Tempered, Weight
from inference.particles import Particles

__all__ = ["MeanFieldELBO", "MonteCarloELBO", "PairELBO", "StickTheLanding"]


class PairELBO:
    """The ELBO that is right for the pair: closed KL, enumeration, or whatever its ``elbo()`` is.

    Its options are of what it stands for: those of :class:`MeanFieldELBO` for an autoencoder.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options


@dataclass(frozen=True, kw_only=True)
class MeanFieldELBO(Tempered):
    r"""The ELBO, its KL in closed form where there is one.

    .. math:: \E_q[\log p(x | z)] − β \KL(q ‖ p)
    """

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats."""
        return (p.log_likelihood - beta * p.kl).mean(0)


@dataclass(frozen=True, kw_only=True)
class MonteCarloELBO(Tempered):
    r"""The ELBO, every term of it sampled.

    .. math:: \E_q[\log p(x | z) + β (\log p(z) − \log q(z | x))]
    """

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats."""
        return (p.log_likelihood + beta * (p.log_prior - p.log_q)).mean(0)


@dataclass(frozen=True, kw_only=True)
class StickTheLanding(Tempered):
    """:class:`MonteCarloELBO` without the score of q, whose mean is 0 (Roeder et al. 2017).

    At q = p(z | x) the gradient for the guide then has no variance.
    """

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats."""
        return (p.log_likelihood + beta * (p.log_prior - p.log_q_stopped)).mean(0)
