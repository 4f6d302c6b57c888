"""Pathfinder: the best Normal on the way of a quasi-Newton climb (Zhang et al. 2022).

L-BFGS climbs log p(x, u) from a point of the prior. At each point u_l on its way the pairs
s = u_l − u_{l−1} and y = ∇_{l−1} − ∇_l of the last steps give an inverse Hessian H_l, and so
a Normal N(u_l + H_l ∇_l, H_l). The one with the highest ELBO is taken: on the way to a mode that is
no typical point (a funnel), it lies before the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from inference.programs.pair import SITE
from inference.programs.program import Program
from pyro_models import UsageError
from pyro_models.pair import data_plate
from pyro_models.seeds import seeded, stream

__all__ = ["Gaussian", "pathfinder", "paths"]

_DRAWS = 16  # for the ELBO of a point of the way
_WIDER = 1.5  # starts of chains are as much wider than the Normals that were found
_DENSE = 300  # numbers up to which chains have a dense metric, and every point a Normal
_FEW = 8  # points of a longer way that have one: a factor takes D³
_TRIES = 100  # draws from the prior among which one must be possible
_HOPELESS = 30.0  # nats below the best path: it ended on no mode that counts
_CURVATURES = 100  # numbers up to which each is asked for its curvature
_FAR = 10.0  # times that a width may be below what the curvature says
_CURVED = 1e-12  # least curvature, as a share of |y|², of a step that teaches the Hessian


@dataclass(frozen=True, eq=False)
class Gaussian:
    """N(loc, scale_tril scale_trilᵀ) over unconstrained reals, and its ELBO in nats."""

    loc: Tensor
    scale_tril: Tensor
    elbo: float

    @property
    def scale(self) -> Tensor:
        """Standard deviations, (D,)."""
        return self.scale_tril.square().sum(-1).sqrt()


def paths(
    program: Program, *, num_paths: int = 4, max_steps: int = 200, seed: int = 0
) -> list[Gaussian]:
    """The best Normal of each of some paths that begin at draws from the prior, best first.

    A path that leaves the numbers at once has none, and one that ends far below the best is left
    out. Lengths are measured in widths of the prior.

    Raises
    ------
    UsageError
        If log p(x, u) is −∞ or NaN at every one of 100 draws.
    """
    with seeded(stream(seed, "pathfinder"), program.device):
        starts, scale = _possible(program, num_paths)
        precise = _precise(program)
        starts, scale = starts.to(precise.dtype), scale.to(precise.dtype)
        found = [_scaled_path(precise, start, scale, max_steps) for start in starts]
        kept = sorted((g for g in found if g is not None), key=lambda g: -g.elbo)
        if kept:  # once more, in units of what was found, where the prior's were no guide
            again = _scaled_path(precise, kept[0].loc, kept[0].scale, max_steps)
            if again is not None and again.elbo > kept[0].elbo:
                kept[0] = again
            widths = _widths_by_curvature(precise, kept[0])
            again = (
                None if widths is None else _scaled_path(precise, kept[0].loc, widths, max_steps)
            )
            if again is not None and again.elbo > kept[0].elbo:
                kept[0] = again
    like = starts.new_empty(0, dtype=program.dtype)
    return [
        Gaussian(g.loc.to(like), g.scale_tril.to(like), g.elbo)
        for g in kept
        if g.elbo > kept[0].elbo - _HOPELESS
    ]


def _precise(program: Program) -> Program:
    """It in float64, if it can be: along a narrow ridge float32 does not tell up from down."""
    if program.device.type == "mps":
        return program
    try:
        return program.double()
    except UsageError:  # something of the model's own insists on float32
        return program


def _widths_by_curvature(program: Program, found: Gaussian) -> Tensor | None:
    """1 / √(−∂² log p / ∂u_d²), (D,), if what was found is far narrower somewhere: else ``None``.

    No number of a Normal is narrower than it is given all others. One that seems so was never
    moved by the climb, whose steps were as short as another number wanted: beside data of a
    million, an intercept has a slope of a millionth.
    """
    if program.dim > _CURVATURES:
        return None
    with torch.enable_grad():
        u = found.loc.detach().unsqueeze(0).requires_grad_()
        try:
            (slope,) = torch.autograd.grad(program.log_joint(u).sum(), u, create_graph=True)
            second = [
                torch.autograd.grad(slope[0, d], u, retain_graph=True)[0][0, d]
                for d in range(program.dim)
            ]
        except RuntimeError:  # of a function that has no second derivative
            return None
    curvature = -torch.stack(second)
    curved = curvature.isfinite() & (curvature > 0)
    widths = torch.where(
        curved, curvature.clamp_min(torch.finfo(u.dtype).tiny).rsqrt(), found.scale
    )
    return widths if bool((found.scale < widths / _FAR).any()) else None


def _scaled_path(program: Program, start: Tensor, scale: Tensor, max_steps: int) -> Gaussian | None:
    """The best Normal of a path that is measured in units of ``scale``, (D,)."""

    def log_density(v: Tensor) -> Tensor:
        return program.log_joint(scale * v)

    found = pathfinder(log_density, start / scale, max_steps=max_steps)
    if found is None:
        return None
    elbo = found.elbo + float(scale.log().sum())
    return Gaussian(scale * found.loc, scale.unsqueeze(-1) * found.scale_tril, elbo)


def _possible(program: Program, count: int) -> tuple[Tensor, Tensor]:
    """Draws from the prior where log p(x, u) is finite, (count, D), the best first; its widths.

    The widths are those of the middle half of the draws, as those of a Normal.
    """
    with torch.no_grad():
        drawn = program.draw_prior(_TRIES)
        terms = program.log_terms(drawn)
    finite = terms.joint.isfinite()
    if not bool(finite.any()):
        wrong = "likelihood" if bool(terms.prior.isfinite().any()) else "prior"
        raise UsageError(
            f"log p is −∞ or NaN at every one of {_TRIES} draws from the prior of {program.name}, "
            f"by its {wrong}: the data are impossible under it; look at their scale and support"
        )
    low, high = drawn.quantile(drawn.new_tensor([0.25, 0.75]), 0)
    possible, best = drawn[finite], terms.joint[finite].argmax()
    rows = torch.arange(count, device=drawn.device) % len(possible)
    rows[0] = best
    return possible[rows], ((high - low) / 1.35).clamp_min(1e-6)


def pathfinder(
    log_density: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    history: int = 6,
    max_steps: int = 200,
) -> Gaussian | None:
    """The best Normal of one path from ``start``, (D,); ``None`` if there is none.

    The log density is of points (N, D), (N,), differentiable. Noise is of the global generator.
    """
    points = _path(log_density, start, max_steps)
    D = len(start)
    alpha = np.ones(D)
    pairs: list[tuple[np.ndarray, np.ndarray]] = []
    noise = torch.randn(_DRAWS, D, dtype=torch.float64, device="cpu")
    best: Gaussian | None = None
    constant = 0.5 * D * (1 + math.log(2 * math.pi))
    steps = len(points) - 1
    few = steps if D <= _DENSE else _FEW
    for i, ((before, g_before), (point, gradient)) in enumerate(pairwise(points), 1):
        s, y = point - before, g_before - gradient
        if s @ y > _CURVED * (y @ y):
            alpha = _diagonal(alpha, s, y)
            pairs = [*pairs[1 - history :], (s, y)]
        if (steps - i) % max(1, steps // few):  # the last point is asked, and few before it
            continue
        normal = _normal(point, gradient, _inverse_hessian(alpha, pairs))
        if normal is None:
            continue
        loc, tril = normal
        with torch.no_grad():
            joint = log_density((loc + noise @ tril.T).to(start)).double()
        # E_q[log p] − E_q[log q], the second with the same noise
        entropy = constant + float(tril.diagonal().log().sum())
        elbo = float(joint.mean()) + entropy
        if math.isfinite(elbo) and (best is None or elbo > best.elbo):
            best = Gaussian(loc, tril, elbo)
    if best is None:
        return None
    return Gaussian(best.loc.to(start), best.scale_tril.to(start), best.elbo)


def _path(
    log_density: Callable[[Tensor], Tensor], start: Tensor, max_steps: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Points of an L-BFGS climb, each with the gradient of log p there."""
    seen: dict[bytes, np.ndarray] = {}

    def negative(at: np.ndarray) -> tuple[float, np.ndarray]:
        leaf = torch.from_numpy(at).to(start).unsqueeze(0).requires_grad_()
        with torch.enable_grad():
            value = log_density(leaf).sum()
            (slope,) = torch.autograd.grad(value, leaf)
        height, gradient = float(value.detach()), slope[0].double().cpu().numpy()
        if not math.isfinite(height) or not np.isfinite(gradient).all():
            return 1e300, np.zeros_like(at)
        seen[at.tobytes()] = gradient
        return -height, -gradient

    begin = start.detach().double().cpu().numpy()
    way = [begin]
    with np.errstate(all="ignore"):
        minimize(
            negative,
            begin,
            jac=True,
            method="L-BFGS-B",
            callback=lambda at: way.append(at.copy()),
            options={"maxiter": max_steps, "maxls": 40, "ftol": 1e-12, "gtol": 1e-7},
        )
    return [(at, seen[at.tobytes()]) for at in way if at.tobytes() in seen]


def _diagonal(alpha: np.ndarray, s: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The diagonal that an inverse Hessian begins with (Zhang et al. 2022, algorithm 3)."""
    a, b, c = y @ (alpha * y), y @ s, s @ (s / alpha)
    new = 1 / (a / (b * alpha) + y * y / b - a * s * s / (b * c * alpha * alpha))
    good = np.isfinite(new) & (new > 0)
    return np.where(good, new, alpha)


def _inverse_hessian(alpha: np.ndarray, pairs: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """H ← (I − ρ s yᵀ) H (I − ρ y sᵀ) + ρ s sᵀ, ρ = 1 / yᵀ s, from diag α, (D, D)."""
    H = np.diag(alpha)
    for s, y in pairs:
        rho, Hy = 1 / (y @ s), H @ y
        H = H - rho * (np.outer(s, Hy) + np.outer(Hy, s))
        H += (rho * rho * (y @ Hy) + rho) * np.outer(s, s)
    return H


def _normal(point: np.ndarray, gradient: np.ndarray, H: np.ndarray) -> tuple[Tensor, Tensor] | None:
    """u + H ∇ and the factor of H, if it is a covariance."""
    covariance = torch.from_numpy(0.5 * (H + H.T))
    tril, wrong = torch.linalg.cholesky_ex(covariance)
    loc = torch.from_numpy(point + H @ gradient)
    if int(wrong) or not bool(tril.isfinite().all() and loc.isfinite().all()):
        return None
    return loc, tril


class StartOfChains(nn.Module):
    """Draws of u from an even mixture of the Normals of all paths, half as wide again.

    Where the paths found several modes the chains begin in all of them.
    """

    loc: Tensor
    tril: Tensor

    def __init__(self, found: list[Gaussian], *, loc: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("loc", torch.stack([(g.loc - loc) / scale for g in found]))
        tril = [_WIDER * g.scale_tril / scale.unsqueeze(-1) for g in found]
        self.register_buffer("tril", torch.stack(tril))

    @property
    def best(self) -> tuple[Tensor, Tensor]:
        """Mean (1, D) and factor of the covariance (1, D, D) of the best path."""
        return self.loc[:1], self.tril[:1] / _WIDER

    @property
    def metric(self) -> Tensor | None:
        """Factor of the best path's covariance, (1, D, D); ``None`` where D is above 300."""
        factor = self.best[1]
        return factor if factor.shape[-1] <= _DENSE else None

    def forward(self, x: Tensor, *, n: int | None = None, **_: Any) -> None:
        """Sample u."""
        even = dist.Categorical(logits=torch.zeros_like(self.loc[:, 0]))
        normals = dist.MultivariateNormal(self.loc, scale_tril=self.tril)
        with data_plate(x, n, x):
            pyro.sample(SITE, dist.MixtureSameFamily(even, normals))
