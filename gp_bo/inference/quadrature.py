"""One or two hyper-parameters on a grid: the reference for every other inference."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.laplace import laplace_factor
from gp_bo.inference.point import modes
from gp_bo.model import GPModel, HyperPosterior
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["quadrature"]

_EDGE = 1e-9  # mass that may lie on the border of the grid
_NEGLIGIBLE = 1e-12  # weight of a point that is left out


def quadrature(
    gp: GPModel, *, seed: int = 0, num_points: int | None = None, restarts: int = 8
) -> HyperDraws:
    """p(u | y) on an even grid in unconstrained space, by the trapezoidal rule.

    The grid starts around the mode and grows on each side until the border holds no mass. For a
    smooth density that falls off on all sides the rule's error falls faster than any power of the
    spacing. The weights are kept: every later average is a quadrature too. More than two open
    hyper-parameters, or none, are refused.

    Parameters
    ----------
    num_points
        Number of points on each axis; by default 801 on one axis, 101 on each of two.
    """
    density = HyperPosterior(gp)
    if density.size not in (1, 2):
        raise UsageError(
            f"quadrature is for one or two hyper-parameters; {density.size} are open: fix some by "
            "priors={name: number}, or use nuts"
        )
    num_points = (801 if density.size == 1 else 101) if num_points is None else num_points
    check_counts(least=5, num_points=num_points)
    found = modes(gp, seed=seed, restarts=restarts, jacobian=True)
    factor, _ = laplace_factor(density, found)
    width = factor.square().sum(1).sqrt()
    low, high = found.points[0] - 4 * width, found.points[0] + 4 * width
    like: dict[str, Any] = {"dtype": low.dtype, "device": low.device}
    for _ in range(40):
        bounds = zip(low.tolist(), high.tolist(), strict=True)
        axes = [torch.linspace(*ends, num_points, **like) for ends in bounds]
        grid = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        log_mass = density(grid)[0].reshape([num_points] * len(axes))
        grown = _grow(log_mass, low, high)
        if grown is None:
            break
        low, high = grown
    total = log_mass.logsumexp(tuple(range(log_mass.dim())))
    spacing = (high - low) / (num_points - 1)
    log_evidence = float(total + spacing.log().sum())
    weights = (log_mass - total).exp().reshape(-1)
    kept = weights > _NEGLIGIBLE
    messages = () if grown is None else ("the posterior does not fall off: mass beyond the grid",)
    details: dict[str, Any] = {"log_evidence": log_evidence, "num_points": num_points}
    details |= {"low": low.tolist(), "high": high.tolist()}
    weights = weights[kept] / weights[kept].sum()
    return HyperDraws(grid[kept], weights, messages=messages, details=details)


def _grow(log_mass: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor] | None:
    """A wider box where a border holds mass, a narrower one where much of it is empty."""
    weights = (log_mass - log_mass.max()).exp()
    weights = weights / weights.sum()
    low, high, changed = low.clone(), high.clone(), False
    for axis in range(log_mass.dim()):
        marginal = weights.movedim(axis, 0).reshape(len(weights), -1).sum(1)
        width = float(high[axis] - low[axis])
        used = (marginal > _EDGE).nonzero()[:, 0]
        for border, bound, outwards in ((0, low, -0.5), (-1, high, 0.5)):
            if float(marginal[border]) > _EDGE:
                bound[axis] += outwards * width
                changed = True
        if not changed and len(used) < 0.4 * len(marginal):
            step = width / (len(marginal) - 1)
            start = float(low[axis])
            low[axis] = start + step * max(0, int(used[0]) - 3)
            high[axis] = start + step * min(len(marginal) - 1, int(used[-1]) + 3)
            changed = True
    return (low, high) if changed else None
