"""Where an acquisition function is largest: many points compared, the best of them improved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from gp_bo.optimize.region import Region

__all__ = ["maximize_by_multistart"]

CHUNK = 512


def maximize_by_multistart(
    value: Callable[[Tensor], Tensor],
    region: Region,
    *,
    seed: int,
    raw: int = 512,
    starts: int = 6,
    steps: int = 100,
) -> Tensor:
    """The point of a region where a function is largest.

    ``raw`` Sobol points, and half as many around the best evaluations, are compared; from the best
    of them, spread over distinct neighbourhoods, L-BFGS-B goes uphill in the continuous inputs, all
    starts at once. Whole numbers and categories then change one at a time while that helps.

    The function, (M, D) → (M,), is differentiable; ``steps`` are the most iterations of each start.
    The point, (D,), exists and was not tried, unless all were.
    """
    points = region.candidates(raw, seed=seed)
    values = _in_chunks(value, points)
    if region.allowed is not None:
        return points[values.argmax()]
    chosen = _spread_best(points, values, starts)
    found, found_values = points[chosen], values[chosen]
    free = region.space.free.to(found.device)
    if bool(free.any()):
        climbed = region.space.snap(_maximize(value, found, free, steps))
        climbed_values = _in_chunks(value, climbed)
        # where rounding let a climb end lower than it began, its start is kept
        climbed_values[region.is_tried(climbed)] = -torch.inf
        found = torch.cat([climbed, found])
        found_values = torch.cat([climbed_values, found_values])
    best = found_values.argmax()
    return _improve_discrete(value, found[best], found_values[best], region)


def _in_chunks(value: Callable[[Tensor], Tensor], points: Tensor) -> Tensor:
    with torch.no_grad():
        values = torch.cat([value(part) for part in points.split(CHUNK)])
    return values.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf)


def _spread_best(points: Tensor, values: Tensor, count: int) -> Tensor:
    """Indices of the best points, each at least a little away from those before it."""
    chosen: list[int] = []
    distance = torch.full_like(values, torch.inf)
    for _ in range(min(count, len(points))):
        # the radius is a twentieth of the cube's width; if nothing is left outside, take the best
        open_values = values.masked_fill(distance < 0.05, -torch.inf)
        open_values[chosen] = -torch.inf
        index = int(open_values.argmax())
        if open_values[index] == -torch.inf:
            break
        chosen.append(index)
        distance = torch.minimum(distance, (points - points[index]).abs().amax(1))
    return torch.tensor(chosen or [int(values.argmax())]).to(points.device)


def _maximize(
    value: Callable[[Tensor], Tensor], starts: Tensor, free: Tensor, steps: int
) -> Tensor:
    """L-BFGS-B on the sum over starts: they do not interact, so each climbs its own hill."""
    shape = (len(starts), int(free.sum()))

    def negative(flat: np.ndarray) -> tuple[float, np.ndarray]:
        moved = torch.as_tensor(flat).to(starts.device).reshape(shape).requires_grad_()
        points = starts.clone()
        points[:, free] = moved
        total = -value(points).sum()
        (gradient,) = torch.autograd.grad(total, moved)
        if not bool(torch.isfinite(total)):
            return 1e100, np.zeros(flat.size)
        return float(total.detach()), gradient.nan_to_num().reshape(-1).cpu().numpy()

    begin = starts[:, free].reshape(-1).cpu().numpy()
    bounds, options = [(0.0, 1.0)] * begin.size, {"maxiter": steps}
    ended = minimize(negative, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    points = starts.clone()
    points[:, free] = torch.as_tensor(ended.x).to(starts.device).reshape(shape)
    return points


def _improve_discrete(
    value: Callable[[Tensor], Tensor], point: Tensor, height: Tensor, region: Region
) -> Tensor:
    """Take the best single change of a whole number or a category until none helps."""
    for _ in range(50):
        around = region.neighbors(point)
        around = around[~region.is_tried(around)] if len(around) else around
        if not len(around):
            return point
        values = _in_chunks(value, around)
        best = values.argmax()
        if values[best] <= height:
            return point
        point, height = around[best], values[best]
    return point
