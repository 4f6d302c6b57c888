"""One or two hyper-parameters on a grid: the reference for every other inference."""

from __future__ import annotations

from typing import Any

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.laplace import laplace_factor
from gp_bo.inference.point import modes
from gp_bo.model import GPModel, HyperPosterior
from inference.even_grid import even_grid
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["quadrature"]

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
    grid = even_grid(lambda points: density(points)[0], low, high, num_points=num_points)
    weights = (
        (grid.log_mass - grid.log_mass.logsumexp(tuple(range(density.size)))).exp().reshape(-1)
    )
    kept = weights > _NEGLIGIBLE
    messages = () if grid.whole else ("the posterior does not fall off: mass beyond the grid",)
    details: dict[str, Any] = {"log_evidence": float(grid.log_total), "num_points": num_points}
    details |= {"low": grid.low.tolist(), "high": grid.high.tolist()}
    weights = weights[kept] / weights[kept].sum()
    return HyperDraws(grid.points[kept], weights, messages=messages, details=details)
