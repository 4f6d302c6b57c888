"""Several estimates of the same log p(x), each with its error: the better one of every datum."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from inference.evaluation.evidence import Evidence

__all__ = ["LowerBound", "counted", "tightest"]

_SURPASSED = 3.0

LowerBound = tuple[str, Tensor, Tensor, Tensor | None]
"""Name, values (B,), their errors (B,) and effective sample sizes (B,)."""


def tightest(found: Evidence, bounds: list[LowerBound]) -> Evidence:
    """The evidence with the better of all estimates at hand, datum by datum.

    All are lower bounds in expectation of the same log p(x), and each is the closer to it the
    smaller its own error is. So that with the smallest error is taken; unless another is above it
    by more than three errors of both: it has then missed a part of the posterior that the other
    has found, since Pr(p̂ > a p) ≤ 1/a (Markov). Evidence that is no lower bound stays as it is.

    Parameters
    ----------
    found
        Evidence by annealing, importance sampling, or a grid with annealing for some data.
    bounds
        Others, such as the L_K of guides.
    """
    if not bounds or not found.is_sampled:
        return found
    like = found.value.double()
    value, error = like, found.standard_error.to(like)
    size = found.effective_sample_size
    size = torch.full_like(like, float("nan")) if size is None else size.to(like)
    sampled = found.sampled_rows.to(like.device)
    candidates = [(value, error, size)]
    for _, of, its_error, its_size in bounds:
        sizes = torch.full_like(like, float("nan")) if its_size is None else its_size.to(like)
        candidates.append((of.to(like), its_error.to(like), sizes))
    values, errors, sizes = (torch.stack(part) for part in zip(*candidates, strict=True))
    errors = torch.where(values.isfinite() & ~errors.isnan(), errors, torch.inf)
    values = torch.where(values.isfinite(), values, -torch.inf)
    order = errors.argsort(dim=0, stable=True)
    rows = torch.arange(len(like), device=like.device)
    which = order[0]
    for other in order[1:]:
        noise = (errors[which, rows].square() + errors[other, rows].square()).sqrt()
        above = values[other, rows] - values[which, rows] > _SURPASSED * noise
        which = torch.where(above, other, which)
    which = torch.where(sampled, which, 0)
    if not bool(which.any()):
        return found
    names = [found.method, *(name for name, *_ in bounds)]
    own = found.sources or (found.method,) * len(found)
    sources = tuple(own[i] if w == 0 else names[w] for i, w in enumerate(which.tolist()))
    return replace(
        found,
        value=values[which, rows].to(found.value),
        standard_error=torch.where(which > 0, errors[which, rows], error).to(found.standard_error),
        effective_sample_size=sizes[which, rows],
        sources=sources,
    )


def filled(
    found: Evidence,
    rows: Tensor,
    value: Tensor,
    error: Tensor,
    size: Tensor | None,
    *,
    settings: Mapping[str, float | str],
) -> Evidence:
    """Evidence by a grid, with annealing in the place of the data that it could not resolve."""
    values, errors = found.value.clone(), found.standard_error.clone()
    sizes = torch.full_like(values, torch.nan)
    values[rows], errors[rows] = value.to(values), error.to(errors)
    if size is not None:
        sizes[rows] = size.to(sizes)
    annealed = set(rows.tolist())
    return replace(
        found,
        value=values,
        standard_error=errors,
        effective_sample_size=sizes,
        kind="objective only" if found.kind == "objective only" else "lower bound",
        settings={**found.settings, **settings},
        sources=tuple("annealing" if i in annealed else found.method for i in range(len(found))),
    )


def counted(sources: tuple[str, ...]) -> str:
    """How many data each source is behind: ``annealing 4, L_1000 of normal 2``."""
    return ", ".join(f"{name} {count}" for name, count in Counter(sources).items())
