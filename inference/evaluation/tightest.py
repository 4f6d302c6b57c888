"""Several estimates of the same log p(x), each with its error: the better one of every datum."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inference.evaluation.evidence import Evidence

__all__ = ["LowerBound", "filled", "tightest"]

_SURPASSED = 3.0

LowerBound = tuple[str, Tensor, Tensor, Tensor | None]
"""Name, values (B,), their errors (B,) and effective sample sizes (B,)."""


def tightest(found: Evidence, bounds: list[LowerBound]) -> Evidence:
    """The evidence with the better of it and others, such as the L_K of guides, datum by datum.

    All are lower bounds in expectation of the same log p(x), and each is the closer to it the
    smaller its own error is. So that with the smallest error is taken; unless another is above it
    by more than three errors of both: it has then missed a part of the posterior that the other has
    found, since Pr(p̂ > a p) ≤ 1/a (Markov). Evidence that is no lower bound stays as it is.
    """
    if not bounds or not found.is_sampled:
        return found
    like = found.value.double()
    own = ("", found.value, found.standard_error, found.effective_sample_size)
    values, errors, sizes = (
        torch.stack([torch.full_like(like, torch.nan) if v is None else v.to(like) for v in part])
        for part in list(zip(own, *bounds, strict=True))[1:]
    )
    known = errors[0]
    errors = torch.where(values.isfinite() & ~errors.isnan(), errors, torch.inf)
    values = torch.where(values.isfinite(), values, -torch.inf)
    order = errors.argsort(dim=0, stable=True)
    rows = torch.arange(len(like), device=like.device)
    which = order[0]
    for other in order[1:]:
        noise = (errors[which, rows].square() + errors[other, rows].square()).sqrt()
        above = values[other, rows] - values[which, rows] > _SURPASSED * noise
        which = torch.where(above, other, which)
    which = torch.where(found.sampled_rows.to(like.device), which, 0)
    if not bool(which.any()):
        return found
    before = found.sources or (found.method,) * len(found)
    return replace(
        found,
        value=values[which, rows].to(found.value),
        standard_error=torch.where(which > 0, errors[which, rows], known).to(found.standard_error),
        effective_sample_size=sizes[which, rows],
        sources=tuple(bounds[w - 1][0] if w else before[i] for i, w in enumerate(which.tolist())),
    )


def filled(grid: Evidence, rows: Tensor, chains: Evidence) -> Evidence:
    """Evidence by a grid, with annealing in the place of the data that it could not resolve."""
    value, error = grid.value.clone(), grid.standard_error.clone()
    size = chains.effective_sample_size
    sizes = torch.full_like(value, torch.nan)
    value[rows], error[rows] = chains.value.to(value), chains.standard_error.to(error)
    if size is not None:
        sizes[rows] = size.to(sizes)
    sources = [grid.method] * len(grid)
    for row in rows.tolist():
        sources[row] = chains.method
    return replace(
        grid,
        value=value,
        standard_error=error,
        effective_sample_size=sizes,
        kind=chains.kind,
        settings={**grid.settings, "annealing chains": chains.num_particles, **chains.settings},
        sources=tuple(sources),
    )
