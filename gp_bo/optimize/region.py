"""Where the next point may lie: starting points, neighbours, and points already tried."""

from __future__ import annotations

import torch
from torch import Tensor

from gp_bo.optimize.designs import unit_points
from gp_bo.optimize.inputs import Categorical, Integer
from gp_bo.optimize.space import SAME, Space

__all__ = ["Region"]

SPREADS = (0.1, 0.01, 0.001)  # around the best points, of the width of the cube


class Region:
    """A space as an acquisition function searches it, in the unit cube.

    Points that were ``tried``, (n, D), are not proposed again; ``best`` are worth searching around;
    ``allowed``, if given, are the only ones that may be proposed. All are where ``best`` is; the
    same seed gives the same ones on every device.
    """

    def __init__(
        self, space: Space, *, tried: Tensor, best: Tensor, allowed: Tensor | None = None
    ) -> None:
        self.space, self.best = space, best
        self.tried = tried.to(best.device)
        self.allowed = None if allowed is None else allowed.to(best.device)

    def candidates(self, count: int, *, seed: int, most: int | None = None) -> Tensor:
        """Points to compare, (M, D): all that are allowed, or ``count`` Sobol points and others.

        Half as many lie around the best; none was tried. If there are more points than ``most``, so
        many of them are drawn at random.
        """
        points = self._around(count, seed) if self.allowed is None else self.allowed
        if most is None or len(points) <= most:
            return points
        some = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:most]
        return points[some.to(points.device)]

    def _around(self, count: int, seed: int) -> Tensor:
        device = self.best.device
        wide = unit_points(count, self.space.columns, seed=seed).to(device)
        generator = torch.Generator().manual_seed(seed)
        near = self.best.repeat(max(1, count // (2 * max(1, len(self.best)))), 1)
        spread = torch.tensor(SPREADS, dtype=torch.float64)
        which = torch.randint(len(SPREADS), (len(near), 1), generator=generator)
        noise = torch.randn(near.shape, generator=generator, dtype=torch.float64)
        near = (near + (spread[which] * noise).to(device)).clamp(0.0, 1.0)
        points = self.space.snap(torch.cat([wide, near]))
        new = ~self.is_tried(points)
        return points[new] if bool(new.any()) else points

    def is_tried(self, points: Tensor) -> Tensor:
        """(M,) bool: whether a point is one of those tried, to a millionth of the cube's width."""
        if not len(self.tried):
            return torch.zeros(len(points), dtype=torch.bool, device=points.device)
        return torch.cdist(points, self.tried, p=float("inf")).amin(1) < SAME

    def neighbors(self, point: Tensor) -> Tensor:
        """(M, D): the point with one integer a step away, or one category changed."""
        moved, start = [point[None][:0]], 0
        for each in self.space.inputs.values():
            stop = start + each.columns
            changes = point.new_empty(0, each.columns)
            if isinstance(each, Integer):
                here = each.back([float(point[start])])
                beside = [n for n in (here - 1, here + 1) if each.low <= n <= each.high]
                changes = point.new_tensor([each.to(n) for n in beside]).reshape(-1, 1)
            elif isinstance(each, Categorical):
                changes = torch.eye(each.columns).to(point)[point[start:stop] == 0]
            moved.append(point.repeat(len(changes), 1))
            moved[-1][:, start:stop] = changes
            start = stop
        return torch.cat(moved)
