"""An even grid that grows until it holds a density: the trapezoidal rule in one or two dimensions.

For a smooth density that falls off on all sides the rule's error falls faster than any power of the
spacing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["EvenGrid", "even_grid"]

_EDGE = 1e-9  # mass that may lie on the border of the grid
_TIMES = 40  # that the box may be changed


@dataclass(frozen=True, eq=False)
class EvenGrid:
    """Points (N, D), log densities there (num_points, …), and the box they fill.

    ``whole`` says whether the border holds no mass.
    """

    points: Tensor
    log_mass: Tensor
    low: Tensor
    high: Tensor
    whole: bool

    @property
    def log_total(self) -> Tensor:
        """log of the integral, nats."""
        spacing = (self.high - self.low) / (len(self.log_mass) - 1)
        return self.log_mass.logsumexp(tuple(range(self.log_mass.dim()))) + spacing.log().sum()

    @property
    def weights(self) -> Tensor:
        """Shares of the mass, (N,)."""
        total = self.log_mass.logsumexp(tuple(range(self.log_mass.dim())))
        return (self.log_mass - total).exp().reshape(-1)


def even_grid(
    log_density: Callable[[Tensor], Tensor], low: Tensor, high: Tensor, *, num_points: int
) -> EvenGrid:
    """Evaluate a log density of points (N, D) on a grid from ``low`` to ``high``, each (D,).

    The box grows on each side until its border holds no mass, and shrinks where much of it is
    empty. There are ``num_points`` on each axis.

    Examples
    --------
    >>> one = torch.ones(1, dtype=torch.float64)
    >>> grid = even_grid(lambda u: -0.5 * u.square().sum(1), -one, one, num_points=101)
    >>> round(float(grid.log_total), 6)  # ½ log 2π
    0.918939
    """
    grown: tuple[Tensor, Tensor] | None = (low, high)
    for _ in range(_TIMES):
        low, high = grown or (low, high)
        bounds = zip(low.tolist(), high.tolist(), strict=True)
        axes = [
            torch.linspace(*ends, num_points, dtype=low.dtype, device=low.device) for ends in bounds
        ]
        points = torch.cartesian_prod(*axes).reshape(-1, len(axes))
        log_mass = log_density(points).reshape([num_points] * len(axes))
        grown = _grown(log_mass, low, high)
        if grown is None:
            break
    return EvenGrid(points, log_mass, low, high, grown is None)


def _grown(log_mass: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor] | None:
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
