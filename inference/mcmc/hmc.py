"""One transition of Hamiltonian Monte Carlo, for many data and chains at once.

From (z, p) with momentum p ~ N(0, I), L leapfrog steps of size ε follow the Hamiltonian
H(z, p) = −log π(z) + ½ pᵀp, and the end is taken with probability min(1, exp(−ΔH)) (Neal 2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from inference.mcmc.leapfrog import leapfrog

__all__ = ["At", "Density", "Transition", "transition"]

Beta = float | Tensor
"""A tensor on the device is not waited for."""


@dataclass(frozen=True)
class At:
    """A density q and a density p at some values of z, in nats, (C, B), and their gradients.

    ``start`` is log q(z | x) of a guide, or log p(z) where there is none, and ``joint`` is
    log p(x_seen, z) = log p(z) + log p(x_seen | z). The gradients of both are (C, B, D).
    """

    start: Tensor
    joint: Tensor
    start_gradient: Tensor
    joint_gradient: Tensor

    def log_density(self, beta: Beta) -> Tensor:
        """(1 − β) log q(z) + β log p(x, z), (C, B)."""
        return self.joint if _is_one(beta) else (1 - beta) * self.start + beta * self.joint

    def gradient(self, beta: Beta) -> Tensor:
        """Gradient of that, (C, B, D)."""
        if _is_one(beta):
            return self.joint_gradient
        return (1 - beta) * self.start_gradient + beta * self.joint_gradient


def _is_one(beta: Beta) -> bool:
    return not isinstance(beta, Tensor) and beta == 1


class Density(Protocol):
    """What chains can draw from."""

    def at(self, z: Tensor) -> At:
        """The densities, and their gradients, at z, (C, B, D)."""


@dataclass(frozen=True)
class Transition:
    """One step of every chain: where it is now, z, (C, B, D), and the densities there.

    Its acceptance is min(1, exp(−ΔH)), (C, B), 0 where the energy at the end is not finite; it
    diverged where ΔH is above 1000 or not finite, (C, B).
    """

    z: Tensor
    at: At
    acceptance: Tensor
    diverged: Tensor


def transition(
    target: Density,
    z: Tensor,
    at: At,
    *,
    step: Tensor,
    num_leapfrog: int,
    beta: Beta = 1.0,
    scale: Tensor | None = None,
) -> Transition:
    """Move every chain once, leaving π_β(z) ∝ q(z)^{1−β} p(x, z)^β as it is.

    The chains are at z, (C, B, D), and ``at`` are the densities there. ε, ``step``, is (B,) or
    (C, B), in units of ``scale``, rough standard deviations of π, (B, D): the inverse square root
    of a diagonal mass. Each of L = ``num_leapfrog`` steps takes one gradient.
    """
    size = step.unsqueeze(-1) if scale is None else step.unsqueeze(-1) * scale

    def evaluate(z: Tensor) -> tuple[At, Tensor]:
        there = target.at(z)
        return there, there.gradient(beta)

    p = torch.randn_like(z)
    before = 0.5 * p.square().sum(-1) - at.log_density(beta)
    start = z, p, at.gradient(beta)
    there, p, end, _ = leapfrog(evaluate, *start, size=size, num_steps=num_leapfrog)
    change = 0.5 * p.square().sum(-1) - end.log_density(beta) - before
    change = torch.where(change.isfinite(), change, math.inf)
    acceptance = (-change).exp().clamp_max(1.0)
    taken = torch.rand_like(acceptance) < acceptance
    index = taken.unsqueeze(-1)
    return Transition(
        z=torch.where(index, there, z),
        at=At(
            torch.where(taken, end.start, at.start),
            torch.where(taken, end.joint, at.joint),
            torch.where(index, end.start_gradient, at.start_gradient),
            torch.where(index, end.joint_gradient, at.joint_gradient),
        ),
        acceptance=acceptance,
        diverged=change > 1000,
    )
