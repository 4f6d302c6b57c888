"""The importance-weighted bound L_K = E[log (1/K) Σ w_k], and three gradients of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from inference.objectives.bound import (
    Bound,
    Tempered,
    Weight,
    particle_count,
    tempered,
    with_gradient_of,
)
from inference.particles import Particles, log_mean_exp

__all__ = ["IWAE", "DReG", "ReweightedWakeSleep"]


@dataclass(frozen=True, kw_only=True)
class IWAE(Tempered):
    r"""The importance-weighted bound (Burda, Grosse & Salakhutdinov 2016); the ELBO for K = 1.

    .. math:: L_K = \E\Big[\log \frac{1}{K} \sum_k w_k\Big],
       \quad w_k = \frac{p(x, z_k)}{q(z_k | x)}, \quad z_k ∼ q(z | x)
    """

    weighs: ClassVar[bool] = True

    num_particles: int = particle_count(5)

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats."""
        return tempered(p, p.importance_bound(), beta)


@dataclass(frozen=True, kw_only=True)
class DReG(Bound):
    r"""L_K with the doubly reparameterised gradient (Tucker, Lawson, Gu & Maddison 2019).

    .. math:: ∇_θ = \sum_k \tilde w_k ∇_θ \log w_k, \quad
       ∇_φ = \sum_k \tilde w_k^2 \frac{∂ \log w_k}{∂ z_k} ∇_φ z_k, \quad
       \tilde w = w / \sum w

    It is unbiased as that of ``iwae``, and its signal-to-noise ratio for the guide does not fall
    with K.
    """

    weighs: ClassVar[bool] = True

    num_particles: int = particle_count(5)

    def __call__(self, p: Particles) -> Tensor:
        """The bound of every datum, (B,), nats."""
        log_w = p.log_joint - p.log_q_stopped
        normalised = log_w.detach().softmax(0)
        for z in p.latents.values():
            if z.requires_grad:
                weight = normalised.reshape(normalised.shape + (1,) * (z.dim() - 2))
                z.register_hook(lambda grad, weight=weight: grad * weight)
        return with_gradient_of((normalised * log_w).sum(0), value=log_mean_exp(log_w.detach()))


@dataclass(frozen=True, kw_only=True)
class ReweightedWakeSleep(Bound):
    r"""L_K with the wake-phase gradients of Bornschein & Bengio (2015), per datum.

    .. math:: ∇_θ = \sum_k \tilde w_k ∇_θ \log p(x, z_k), \quad
       ∇_φ = \sum_k \tilde w_k ∇_φ \log q(z_k | x)

    at constant z_k: the guide descends KL(p(z | x) ‖ q), and may be discrete.
    """

    reparameterised: ClassVar[bool] = False
    weighs: ClassVar[bool] = True

    num_particles: int = particle_count(5)

    def __call__(self, p: Particles) -> Tensor:
        """The bound of every datum, (B,), nats."""
        log_w = p.log_weight
        normalised = log_w.detach().softmax(0)
        surrogate = normalised * (p.log_joint + p.log_q)
        return with_gradient_of(surrogate.sum(0), value=log_mean_exp(log_w.detach()))
