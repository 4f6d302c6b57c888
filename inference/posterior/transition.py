"""One transition of Hamiltonian Monte Carlo, for many data and chains at once.

From (z, p) with momentum p ~ N(0, I), L leapfrog steps of size ε follow the Hamiltonian
H(z, p) = −log π(z) + ½ pᵀp, and the end is taken with probability min(1, exp(−ΔH)) (Neal 2011).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.posterior.log_density import At, LogDensity

__all__ = ["Transition", "transition"]


@dataclass(frozen=True)
class Transition:
    """One step of every chain.

    Attributes
    ----------
    z
        Where the chains are now, (C, B, D).
    at
        The target there.
    acceptance
        min(1, exp(−ΔH)), (C, B); 0 where the energy at the end is not finite.
    diverged
        Where ΔH is above 1000 or not finite, (C, B).
    """

    z: Tensor
    at: At
    acceptance: Tensor
    diverged: Tensor


def transition(
    target: LogDensity,
    z: Tensor,
    at: At,
    *,
    step: Tensor,
    num_leapfrog: int,
    beta: float = 1.0,
    scale: Tensor | None = None,
) -> Transition:
    """Move every chain once, leaving π_β(z) ∝ q(z)^{1−β} p(x, z)^β as it is.

    Parameters
    ----------
    target
        Gives q (its guide, or the prior) and p.
    z, at
        Where the chains are, (C, B, D), and the target there.
    step
        ε, (B,) or (C, B), in units of ``scale``.
    num_leapfrog
        L, each one gradient.
    beta
        β.
    scale
        Rough standard deviations of π, (B, D): the inverse square root of a diagonal mass.
    """
    size = step.unsqueeze(-1) if scale is None else step.unsqueeze(-1) * scale

    def log_density(a: At) -> Tensor:
        return a.joint if beta == 1 else (1 - beta) * a.start + beta * a.joint

    def gradient(a: At) -> Tensor:
        both = (1 - beta) * a.start_gradient + beta * a.joint_gradient
        return a.joint_gradient if beta == 1 else both

    p = torch.randn_like(z)
    before = 0.5 * p.square().sum(-1) - log_density(at)
    there, end = z, at
    p = p + 0.5 * size * gradient(at)
    for i in range(num_leapfrog):
        there = there + size * p
        end = target.at(there)
        p = p + (1.0 if i + 1 < num_leapfrog else 0.5) * size * gradient(end)
    change = 0.5 * p.square().sum(-1) - log_density(end) - before
    finite = change.isfinite()
    change = torch.where(finite, change, math.inf)
    acceptance = (-change).exp().clamp_max(1.0)
    taken = torch.rand_like(acceptance) < acceptance
    rows = taken.unsqueeze(-1)
    return Transition(
        z=torch.where(rows, there, z),
        at=At(
            torch.where(taken, end.start, at.start),
            torch.where(taken, end.joint, at.joint),
            torch.where(rows, end.start_gradient, at.start_gradient),
            torch.where(rows, end.joint_gradient, at.joint_gradient),
        ),
        acceptance=acceptance,
        diverged=change > 1000,
    )
