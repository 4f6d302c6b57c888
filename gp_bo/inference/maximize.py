"""Maximisation from many starts at once: BFGS, every start a row of one batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gp_bo.model import GPModel
from gp_bo.scaling import widths
from pyro_models.brief import Brief

__all__ = ["Maximum", "maximize", "starting_points"]

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]

_ARMIJO = 1e-4
_LONGEST_STEP = 2.0


@dataclass(frozen=True, eq=False)
class Maximum(Brief):
    """Where each of several starts led, (R, p), and the objective there, (R,), best first.

    After so many ``steps``; ``gradient`` is the largest entry of that at the best point.
    """

    points: Tensor
    values: Tensor
    steps: int
    gradient: float


def maximize(
    objective: Objective, starts: Tensor, *, max_steps: int = 200, tolerance: float = 1e-6
) -> Maximum:
    """Maximise a function by BFGS from every row of ``starts``; Nocedal & Wright (2006), ch. 6.

    The objective maps points (R, p) to values (R,) and gradients (R, p); −inf is walked away from.
    It ends when no gradient has an entry above the tolerance, or no start can go on.

    Examples
    --------
    >>> import torch
    >>> peak = torch.tensor([1.0, -2.0], dtype=torch.float64)
    >>> def hill(u):
    ...     return -(u - peak).pow(4).sum(-1), -4 * (u - peak).pow(3)
    >>> bool((maximize(hill, peak[None] + 1).points[0] - peak).abs().max() < 0.02)
    True
    """
    u = starts.clone()
    value, gradient = objective(u)
    eye = torch.eye(u.shape[1], dtype=u.dtype, device=u.device)
    H = eye.repeat(len(u), 1, 1)
    alive = value.isfinite()
    fresh = torch.ones_like(alive)
    step = 0
    while step < max_steps:
        alive = alive & (gradient.abs().amax(-1) > tolerance)
        active = alive.nonzero()[:, 0]
        if not len(active):
            break
        step += 1
        at, slope = u[active], gradient[active]
        direction = (H[active] @ slope[..., None])[..., 0]
        direction = torch.where(((direction * slope).sum(-1) > 0)[:, None], direction, slope)
        direction = direction * (_LONGEST_STEP / direction.norm(dim=-1)).clamp_max(1.0)[:, None]
        before = value[active]
        moved, now, new_slope = _line_search(objective, at, before, slope, direction)
        H[active] = _update(H[active], moved - at, slope - new_slope, fresh[active], eye)
        fresh[active] = False
        u[active], value[active], gradient[active] = moved, now, new_slope
        alive[active] = now - before > 1e-12 * (1 + now.abs())
    order = value.argsort(descending=True)
    return Maximum(u[order], value[order], step, float(gradient[order[0]].abs().max()))


def _line_search(
    objective: Objective, at: Tensor, value: Tensor, slope: Tensor, direction: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Halve each row's step until it gains enough; a row that never gains stays."""
    length = at.new_ones(len(at))
    best = (at.clone(), value.clone(), slope.clone())
    unsettled = torch.arange(len(at), device=at.device)
    promised = (slope * direction).sum(-1)
    for _ in range(25):
        trial = at[unsettled] + length[unsettled, None] * direction[unsettled]
        new_value, new_gradient = objective(trial)
        enough = new_value >= value[unsettled] + _ARMIJO * length[unsettled] * promised[unsettled]
        done = unsettled[enough]
        for stored, found in zip(best, (trial, new_value, new_gradient), strict=True):
            stored[done] = found[enough]
        unsettled = unsettled[~enough]
        if not len(unsettled):
            break
        length[unsettled] *= 0.4
    return best


def _update(H: Tensor, d: Tensor, y: Tensor, fresh: Tensor, eye: Tensor) -> Tensor:
    """BFGS update of inverse Hessians of the negated objective, where the curvature is positive."""
    dy = (d * y).sum(-1)
    good = dy > 1e-12 * d.norm(dim=-1) * y.norm(dim=-1)
    scale = torch.where(good, dy / y.square().sum(-1).clamp_min(1e-300), 1.0)
    H = torch.where((fresh & good)[:, None, None], scale[:, None, None] * eye, H)
    rho = torch.where(good, 1 / torch.where(good, dy, 1.0), 0.0)[:, None, None]
    V = eye - rho * d[..., None] * y[..., None, :]
    return torch.where(good[:, None, None], V @ H @ V.mT + rho * d[..., None] * d[..., None, :], H)


def starting_points(gp: GPModel, count: int, *, generator: torch.Generator) -> Tensor:
    """u, (count, p): length-scales from a twentieth of the inputs' width to twice it, and so on.

    Units are those of the data the model holds, so unscaled data have fitting starts too. The
    generator is the CPU's: a seed gives the same starts on every device.
    """
    width = widths(gp.X)[1]
    spread = gp.spread
    columns = []
    for site in gp.hyperparameters.sites:
        h = site.parameter
        shape = (count, site.stop - site.start)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64).to(gp.device)
        if site.kind == "exp":
            low, high = _RANGES.get((h.name.rpartition(".")[2]), (-1.0, 1.0))
            own = low + (high - low) * uniform + h.log_unit(width, spread).reshape(-1)
        elif site.kind == "identity" and not h.positive:
            centre = gp.location if h.output_power and not h.input_power else 0.0
            own = centre + spread * (uniform - 0.5)
        else:
            own = 2 * uniform - 1
        columns.append(own)
    return torch.cat(columns, 1) if columns else gp.y.new_zeros(count, 0)


# of log hyper-parameters, in units of the data
_RANGES = {
    "lengthscale": (-3.0, 0.7),
    "period": (-2.5, 0.0),
    "period_length": (-2.5, 0.0),
    "noise": (-9.0, -1.0),
    "df": (0.5, 3.5),
}
