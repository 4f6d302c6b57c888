"""Per-datum estimates of log p(x) from many particles, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor

from inference.blocks import HERE, Blocks, computed
from inference.chunks import MAX_ELEMENTS, chunk_size
from inference.cuda_graph import Launched, launcher_of
from inference.particles import checked_count, particles
from inference.pieces import for_rows, log_weights_of
from pyro_models import Pair
from pyro_models.brief import Brief
from pyro_models.contract import check_pair
from pyro_models.likelihoods.likelihood import widened
from pyro_models.observed import Observed, observed
from pyro_models.pair import Exact
from pyro_models.seeds import alone

__all__ = ["LogWeights", "exact_log_prob", "log_weights"]


@dataclass(frozen=True)
class LogWeights(Brief):
    """What K log-weights of each datum come to, (B,) each, nats.

    Attributes
    ----------
    elbo, elbo_error
        Mean of log w, an unbiased estimate of the ELBO, and its standard error; NaN for K = 1.
    bound, bound_error
        L_K = log (1/K) Σ w, a lower bound on log p(x) in expectation, and its standard error by the
        delta method, sqrt(Var w / K) / mean w, or what it loses without its heaviest weight,
        whichever is larger; NaN for K = 1.
    effective_sample_size, num_particles
        (Σ w)² / Σ w², 0 where every weight is 0; and K.
    """

    elbo: Tensor
    elbo_error: Tensor
    bound: Tensor
    bound_error: Tensor
    effective_sample_size: Tensor
    num_particles: int


@torch.no_grad()
def log_weights(
    pair: Pair,
    x: Tensor,
    *,
    num_particles: int,
    y: Tensor | None = None,
    mask: Tensor | None = None,
    guide: Callable[..., Any] | None = None,
    seed: int | None = None,
    max_elements: int = MAX_ELEMENTS,
    progress: Callable[[int], object] | None = None,
    blocks: Blocks = HERE,
) -> LogWeights:
    """Weigh K particles of every datum, in blocks of data and particles.

    Parameters
    ----------
    pair, x, num_particles, y, mask, guide
        As for :func:`inference.particles.particles`. A guide with parameters of each datum is asked
        for those of a chunk by ``guide.select(rows)``.
    seed
        Random seed of all draws, each block's its own, with the pair in evaluation mode; torch's
        generators go on as they are unless given.
    max_elements, progress, blocks
        Numbers that may be decoded at once, which bounds memory whatever K is; called with 1 for
        each datum that is done; and who computes.

    Raises
    ------
    UsageError
        If K < 1, or a seen pixel is not what the likelihood is of.
    """
    check_pair(pair)
    num_particles = checked_count(num_particles)
    data = observed(pair, x, mask=mask, y=y)
    size = chunk_size(pair, each=min(num_particles, 64))

    def part(rows: slice | Tensor) -> tuple[Observed, Callable[..., Any] | None]:
        return data[rows], for_rows(guide, rows)

    def weigh(of: tuple[Observed, Callable[..., Any] | None]) -> tuple[Tensor, ...]:
        return _weigh(pair, *of, num_particles, max_elements=max_elements)

    parts = computed(
        weigh,
        part,
        pair=pair,
        count=len(data),
        size=size,
        seed=seed,
        purpose="particles",
        blocks=blocks,
        progress=progress,
    )
    total, inverse, rest, elbo, spread, certain = (torch.cat(p) for p in zip(*parts, strict=True))
    kind, K = data.x.dtype, num_particles
    if bool(certain.all()):
        elbo = elbo.to(kind)
        zero = torch.zeros_like(elbo)
        size_k = torch.full_like(elbo, float(K))
        return LogWeights(elbo, zero, elbo, zero, size_k, K)
    relative = (inverse * K - 1).clamp_min(0)  # Var w / (mean w)²; NaN where every weight is 0
    unknown = torch.full_like(elbo, math.nan)
    without = total - rest + math.log((K - 1) / K) if K > 1 else unknown
    error = torch.maximum((relative / (K - 1)).sqrt(), without) if K > 1 else unknown
    return LogWeights(
        elbo=elbo.to(kind),
        elbo_error=((spread / (K - 1)).sqrt() if K > 1 else unknown).to(kind),
        bound=(total - math.log(K)).to(kind),
        bound_error=error.to(kind),
        effective_sample_size=(1 / inverse).nan_to_num(nan=0.0).clamp_max(K).to(kind),
        num_particles=K,
    )


def _weigh(
    pair: Pair,
    data: Observed,
    guide: Callable[..., Any] | None,
    num_particles: int,
    *,
    max_elements: int,
) -> tuple[Tensor, ...]:
    """log Σ w, Σ w² / (Σ w)², log Σ w without the heaviest; mean, variance of log w; each (B,).

    And whether nothing was drawn, so that every particle is the same: one is then taken.
    """
    one = data[:1]
    own = for_rows(guide, slice(0, 1))
    probe = particles(pair, own, one.x, num_particles=1, y=one.y, mask=one.mask)
    certain = not probe.latents
    num_particles = 1 if certain else num_particles
    first = widened(data.x.new_full((len(data),), -math.inf))
    second, rest, heaviest = first.clone(), first.clone(), first.clone()
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    near = torch.zeros_like(first)  # about the mean: squares far from it would cancel
    chunk = chunk_size(pair, each=len(data))

    def weigh(count: int) -> tuple[Tensor]:
        how = {"num_particles": count, "max_elements": max_elements}
        return (widened(log_weights_of(pair, guide, data, **how)),)

    launched = Launched(weigh, launcher_of(data.x.device), what="particles")
    for i in range(0, num_particles, chunk):
        count = min(chunk, num_particles - i)
        # all data and one particle were checked before
        with alone(), pyro.validation_enabled(False):
            (log_w,) = launched(count)
        if i == 0:
            near = log_w.mean(0).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        log_w = log_w - near
        first = torch.logaddexp(first, log_w.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_w).logsumexp(0))
        two = torch.cat([heaviest[None], log_w]).sort(0, descending=True).values
        heaviest, rest = two[0], torch.logaddexp(rest, two[1:].logsumexp(0))
        total = total + log_w.sum(0)
        squares = squares + log_w.square().sum(0)
    shift = total / num_particles
    spread = (squares / num_particles - shift.square()).clamp_min(0)
    found = near + first, (second - 2 * first).exp(), near + rest, near + shift, spread
    return *found, torch.full_like(first, certain, dtype=torch.bool)


@torch.no_grad()
def exact_log_prob(
    pair: Exact, x: Tensor, *, mask: Tensor | None = None, max_elements: int = MAX_ELEMENTS
) -> Tensor:
    """log p(x_seen) of a pair that knows it, (B,), nats, in chunks over data."""
    check_pair(pair)
    data = observed(pair, x, mask=mask)
    chunk = chunk_size(pair, each=1, max_elements=max_elements)
    return torch.cat([pair.exact_log_prob(part.x, part.mask) for part in data.chunks(chunk)])
