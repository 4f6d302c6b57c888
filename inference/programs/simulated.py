"""A program as a pair of as many data as data sets were simulated from it, all inferred at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from inference.programs.pair import SITE, ProgramPair
from inference.programs.program import Program
from inference.programs.sites import LogTerms
from pyro_models.observed import Observed
from pyro_models.pair import data_plate
from pyro_models.seeds import seeded, stream

__all__ = ["SimulatedPair"]

_STEPS = 25  # of Newton's method at most
_LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01)  # of which the best is taken
_DRAWS = 16  # for the ELBO of the Normal at a step
_STARTS = 100  # draws from the prior, the best of which is where one way up begins
_WAYS = 4  # others: from the median of the prior, and from draws
_FLATTEST = 1e-6  # least curvature, in units of the prior


class SimulatedPair(ProgramPair):
    """A program as a pair with B data sets of its observed sites, each with units of its own.

    A datum x, (N + 2 D,), is the N values of all observed sites, and m and s of
    :class:`inference.programs.pair.ProgramPair` for these data.

    Parameters
    ----------
    program
        Whose data have the shapes that the simulated ones have.
    """

    def __init__(self, program: Program) -> None:
        super().__init__(program, chain_start=_Wide(program.dim))
        self.size = sum(value.numel() for value in program.observed.values())
        self.data_shape = (self.size + 2 * program.dim,)
        self.likelihood.num_parameters = max(1, math.prod(program.discrete.values()))

    def observe(self, data: Mapping[str, Tensor], *, seed: int) -> Observed:
        """B data sets, by site (B, \\*shape), with the units of the posterior of each."""
        values = [data[name].flatten(1).to(self.loc) for name in self.program.observed]
        rows = {name: data[name] for name in self.program.observed}
        with seeded(stream(seed, "units"), self.loc.device):
            units = _units(self.program, rows)
        return Observed.unchecked(torch.cat([*values, *units], -1))

    def data_of(self, x: Tensor) -> dict[str, Tensor]:
        """Data sets by site, (B, \\*shape), of x."""
        sites = self.program.observed
        parts = x[..., : self.size].split([value.numel() for value in sites.values()], -1)
        named = zip(sites.items(), parts, strict=True)
        return {n: part.reshape(-1, *v.shape).to(v.dtype) for (n, v), part in named}

    def reals(self, u: Tensor, x: Tensor | None = None) -> Tensor:
        """Unconstrained reals of the program, (\\*batch, B, D), of u in the units of x."""
        loc, scale = self._units_of(x)
        return loc + scale * u

    def standard(self, reals: Tensor, x: Tensor | None = None) -> Tensor:
        """u in the units of x, (\\*batch, B, D), of unconstrained reals of the program."""
        loc, scale = self._units_of(x)
        return (reals - loc) / scale

    def log_terms(self, u: Tensor, x: Tensor | None = None) -> LogTerms:
        """log p(u) and log p(x | u), each (\\*batch, B), nats."""
        assert x is not None
        _, scale = self._units_of(x)
        batch = u.shape[:-1]
        data = {n: v.expand(*batch, *v.shape[1:]) for n, v in self.data_of(x).items()}
        terms = self.program.log_terms(self.reals(u, x), data=data)
        return LogTerms(terms.prior + scale.log().sum(-1), terms.likelihood)

    def _units_of(self, x: Tensor | None) -> tuple[Tensor, Tensor]:
        if x is None:
            return self.loc, self.scale
        loc, scale = x[..., self.size :].split(self.program.dim, -1)
        return loc, scale


class _Wide(nn.Module):
    """Where chains begin: half as wide again as the Normal that gives the units."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, x: Tensor, *, n: int | None = None, **_: Any) -> None:
        """Sample u."""
        with data_plate(x, n, x):
            pyro.sample(SITE, dist.Normal(x.new_zeros(self.dim), 1.5).to_event(1))


@torch.no_grad()
def _units(program: Program, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and standard deviations of a Normal near each posterior, (B, D) each.

    All data sets climb log p(x, u) at once by Newton's method, from the best draw of the prior,
    its median and other draws, and of the Normals at the points on all ways, with the inverse
    Hessian as covariance, the one with the highest ELBO is taken, as Pathfinder does: the best draw
    may lie in the neck of a funnel. Units are no part of what is inferred: in them fits take fewer
    steps.
    """
    B, D = len(next(iter(data.values()))), program.dim
    drawn = program.draw_prior(_STARTS)
    low, middle, high = drawn.quantile(drawn.new_tensor([0.25, 0.5, 0.75]), 0)
    wide = ((high - low) / 1.35).clamp_min(1e-3)
    noise = torch.randn(_DRAWS // 2, 1, D, dtype=drawn.dtype, device=drawn.device)
    noise = torch.cat([noise, -noise])  # so that the best point of a Normal is its mode
    candidates = torch.cat([middle.unsqueeze(0), drawn]).unsqueeze(1).expand(-1, B, D)
    _, which = _joint(program, data, candidates).max(0)
    starts = [candidates[which, torch.arange(B, device=drawn.device)], *candidates[:_WAYS]]
    best, loc, scale = _climb(program, data, starts[0], wide, noise)
    for start in starts[1:]:
        elbo, at, width = _climb(program, data, start, wide, noise)
        better = (elbo > best).unsqueeze(-1)
        best = torch.maximum(best, elbo)
        loc, scale = torch.where(better, at, loc), torch.where(better, width, scale)
    return loc, scale


def _joint(program: Program, data: Mapping[str, Tensor], u: Tensor) -> Tensor:
    """log p(x, u), (\\*batch, B), of u (\\*batch, B, D); −∞ where it is undefined."""
    rows = {n: v.expand(*u.shape[:-1], *v.shape[1:]) for n, v in data.items()}
    found = program.log_terms(u, data=rows).joint
    return found.nan_to_num(nan=-math.inf, posinf=-math.inf)


def _climb(
    program: Program, data: Mapping[str, Tensor], u: Tensor, wide: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Of the Normals on one way up from u, (B, D): the highest ELBO, (B,), its mean and widths."""
    height = _joint(program, data, u)
    loc, scale = u.clone(), wide.expand_as(u).clone()
    best = torch.full_like(height, -math.inf)
    for _ in range(_STEPS):
        gradient, hessian = program.slopes(u, data=data)
        curved = -hessian * wide * wide.unsqueeze(-1)  # in units of the prior
        curved = curved.nan_to_num(0.0, 0.0, 0.0)
        values, vectors = torch.linalg.eigh((curved + curved.mT) / 2)
        values = values.abs().clamp_min(_FLATTEST)
        root = wide.unsqueeze(-1) * vectors / values.sqrt().unsqueeze(-2)  # root rootᵀ = −H⁻¹
        step = (root @ (root.mT @ gradient.nan_to_num(0.0, 0.0, 0.0).unsqueeze(-1))).squeeze(-1)
        normal = u + (root @ noise.unsqueeze(-1)).squeeze(-1)
        elbo = _joint(program, data, normal).mean(0) - 0.5 * values.log().sum(-1)
        better = (elbo > best).unsqueeze(-1)
        best = torch.maximum(best, elbo)
        loc = torch.where(better, u, loc)
        scale = torch.where(better, root.square().sum(-1).sqrt(), scale)
        lengths = torch.tensor(_LENGTHS, dtype=u.dtype, device=u.device).reshape(-1, 1, 1)
        heights, which = _joint(program, data, u + lengths * step).max(0)
        moved = heights > height + 1e-6
        if not bool(moved.any()):
            break
        chosen = lengths[which, 0]
        u = torch.where(moved.unsqueeze(-1), u + chosen * step, u)
        height = torch.where(moved, heights, height)
    return best, loc, scale
