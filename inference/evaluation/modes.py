"""Where the posterior of one or two latents is: its modes, and how wide it is around each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d

from inference.posterior.log_density import LogDensity

__all__ = ["Modes", "Survey", "find_modes", "regular_grid", "survey"]

_SURVEYED = {1: 513, 2: 41}  # nodes along each dimension while the prior is looked over
_DEVIATIONS = 7.0  # of the prior, to both sides of its mean
_HIGHEST = 10  # local maxima of the survey that are climbed from
_ROUNDS = 40
_NEGLIGIBLE = 45.0  # nats of evidence below the best mode


@dataclass(frozen=True, eq=False)
class Survey:
    """The height log p(x_seen, z), (G, B), at nodes z, (G, B, D), of a coarse grid over a prior."""

    z: Tensor
    height: Tensor
    spread: Tensor
    log_cell: Tensor


@dataclass(frozen=True, eq=False)
class Modes:
    """Modes of M starts of B data; those that are not ``kept`` repeat others or are negligible.

    They are at z, (M, B, D), of a height log p(x_seen, z), (M, B); with H the curvature of
    −log p(x_seen, z) there, ``factor`` is A with A Aᵀ = H⁻¹, (M, B, D, D).
    """

    z: Tensor
    height: Tensor
    factor: Tensor
    kept: Tensor


def regular_grid(low: Tensor, high: Tensor, count: int) -> Tensor:
    """A regular grid over each box, (count^D, B, D), of corners (B, D)."""
    axis = torch.linspace(0, 1, count, dtype=low.dtype, device=low.device)
    grid = torch.stack(torch.meshgrid(*[axis] * low.shape[-1], indexing="ij"), -1)
    return low + grid.reshape(-1, 1, low.shape[-1]) * (high - low)


def survey(target: LogDensity, log_joint: Callable[[LogDensity, Tensor], Tensor]) -> Survey:
    """Look over seven standard deviations of the prior to both sides of its mean."""
    drawn = target.sample_prior(512)
    centre, spread = drawn.mean(0), drawn.std(0)
    spread = torch.where(spread > 0, spread, torch.ones_like(spread))
    low, high = centre - _DEVIATIONS * spread, centre + _DEVIATIONS * spread
    count = _SURVEYED[target.dim]
    z = regular_grid(low, high, count)
    log_cell = ((high - low) / (count - 1)).log().sum(-1)
    return Survey(z, log_joint(target, z), spread, log_cell)


def find_modes(target: LogDensity, seen: Survey) -> Modes:
    """Climb from the survey's highest local maxima, the prior's mean and the pair's own guide.

    Levenberg and Marquardt's damped Newton steps, with the absolute values of the eigenvalues of
    the curvature (Dauphin et al. 2014), whose columns are differences of gradients. Every climb is
    on its own; a step that does not go up is not taken.
    """
    z = torch.cat([_peaks(target, seen), *_guessed(target, seen)])
    z, height, curvature = _climb(target, z, seen.spread)
    values, vectors = torch.linalg.eigh(curvature)
    widest = (3 * seen.spread.amax(-1, keepdim=True)).square()
    factor = vectors * torch.maximum(values.abs(), 1 / widest).rsqrt().unsqueeze(-2)
    return _without_repeats(z, height, factor)


def _peaks(target: LogDensity, seen: Survey) -> Tensor:
    """The highest local maxima of the survey, (S, B, D)."""
    count, dim = _SURVEYED[target.dim], target.dim
    shaped = seen.height.T.reshape(-1, 1, *[count] * dim)
    pool = max_pool1d if dim == 1 else max_pool2d
    around = pool(shaped, 3, stride=1, padding=1).flatten(1).T
    heights = torch.where(seen.height >= around, seen.height, -math.inf)
    # where there are fewer, the highest nodes whatever they are
    order = (heights.isfinite().to(heights) * 1e30 + seen.height.nan_to_num(neginf=-1e29)).topk(
        min(_HIGHEST, len(heights)), 0
    )
    return seen.z.gather(0, order.indices.unsqueeze(-1).expand(-1, -1, dim))


def _guessed(target: LogDensity, seen: Survey) -> list[Tensor]:
    """The prior's mean, and mean and one draw of the pair's own guide if it has these sites."""
    middle = seen.z[len(seen.z) // 2].unsqueeze(0)
    try:
        drawn = replace(target, guide=target.pair.guide, _recordings={}).sample_start(64)
    except KeyError:
        return [middle]
    guesses = torch.stack([drawn.mean(0), drawn[0]])
    return [middle, torch.where(guesses.isfinite(), guesses, middle)]


def _climb(target: LogDensity, z: Tensor, spread: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where each climb ends, (S, B, D), its height, (S, B), and curvature, (S, B, D, D)."""
    prior = torch.diag_embed(spread.square().reciprocal()).expand(*z.shape, z.shape[-1])
    height, gradient, H = _curvature(target, z, prior, spread)
    damping = torch.zeros_like(height)
    longest = 10 * spread
    floor = (10 * spread.amax(-1, keepdim=True)).square().reciprocal()
    for _ in range(_ROUNDS):
        values, vectors = torch.linalg.eigh(H)
        size = torch.maximum(values.abs(), floor) * (1 + damping.unsqueeze(-1))
        along = (vectors.mT @ gradient.unsqueeze(-1)).squeeze(-1)
        step = (vectors @ (along / size).unsqueeze(-1)).squeeze(-1)
        left = (along.square() / size).sum(-1)  # nats that the step promises, twice
        if bool((left < 1e-9).all() | (damping > 1e7).all()):
            break
        tried = z + torch.maximum(torch.minimum(step, longest), -longest)
        found, slope, curved = _curvature(target, tried, H, spread)
        higher = found > height
        damping = torch.where(higher, damping / 10, 8 * damping + 0.1)
        rows = higher.unsqueeze(-1)
        z, height = torch.where(rows, tried, z), torch.where(higher, found, height)
        gradient = torch.where(rows, slope, gradient)
        H = torch.where(rows.unsqueeze(-1), curved, H)
    return z, height, H


def _curvature(
    target: LogDensity, z: Tensor, near: Tensor, spread: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Height, gradient and curvature at z; differences over a twentieth of the scale of ``near``.

    Where something is not finite the height is −∞, and the curvature that of ``near``.
    """
    dim = z.shape[-1]
    scale = near.diagonal(dim1=-2, dim2=-1).abs().rsqrt()
    least = 64 * torch.finfo(z.dtype).eps * torch.maximum(z.abs(), spread)
    width = torch.maximum(0.05 * torch.minimum(scale, spread), least)
    moved = [z + axis * width for axis in torch.eye(dim, dtype=z.dtype, device=z.device)]
    at = target.at(torch.cat([z, *moved]))
    gradients = at.joint_gradient.chunk(1 + dim)
    height, gradient = at.joint[: len(z)], gradients[0]
    columns = [
        (gradient - gradients[1 + d]) / (moved[d][..., d] - z[..., d]).unsqueeze(-1)
        for d in range(dim)
    ]
    H = torch.stack(columns, -1)
    H = 0.5 * (H + H.mT)
    H = torch.where(H.isfinite().all(-1, keepdim=True).all(-2, keepdim=True), H, near)
    fine = height.isfinite() & gradient.isfinite().all(-1)
    gradient = torch.where(fine.unsqueeze(-1), gradient, torch.zeros_like(gradient))
    return torch.where(fine, height, -math.inf), gradient, H


def _without_repeats(z: Tensor, height: Tensor, factor: Tensor) -> Modes:
    """Modes in the order of their evidence by Laplace, and which of them stand for themselves.

    One that lies within four standard deviations of a better one, and is not far narrower, is left
    to the other's grid.
    """
    volume = torch.linalg.slogdet(factor).logabsdet
    evidence = (height + volume).nan_to_num(nan=-math.inf, neginf=-math.inf)
    order = evidence.argsort(0, descending=True)
    z, height, volume, evidence, factor = (
        value.gather(0, order.reshape(*order.shape, *(1,) * (value.dim() - 2)).expand_as(value))
        for value in (z, height, volume, evidence, factor)
    )
    inverse = torch.linalg.inv(factor)
    kept = evidence > evidence[0] - _NEGLIGIBLE
    kept[0] = evidence[0].isfinite()
    for i in range(1, len(z)):
        apart = (inverse[:i] @ (z[i] - z[:i]).unsqueeze(-1)).squeeze(-1).square().sum(-1)
        covered = kept[:i] & (apart < 16) & (volume[i] > volume[:i] - 3)
        kept[i] &= ~covered.any(0)
    return Modes(z, height, factor, kept)
