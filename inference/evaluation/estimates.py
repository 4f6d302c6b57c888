"""Per-datum estimates of log p(x) from many particles, in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor

from inference.chunks import MAX_ELEMENTS, chunk_size, numbers_per_particle
from inference.cuda_graph import Launched, launcher_of
from inference.particles import checked_count, draw, particles
from pyro_models import Pair
from pyro_models.contract import check_pair
from pyro_models.likelihoods.likelihood import widened
from pyro_models.observed import Observed, observed
from pyro_models.pair import Exact
from pyro_models.seeds import alone

__all__ = ["LogWeights", "exact_log_prob", "log_weights"]


@dataclass(frozen=True)
class LogWeights:
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
    max_elements: int = MAX_ELEMENTS,
    progress: Callable[[int], object] | None = None,
) -> LogWeights:
    """Weigh K particles of every datum, in chunks over data and particles.

    Parameters
    ----------
    pair, x, num_particles, y, mask, guide
        As for :func:`inference.particles.particles`. A guide with parameters of each datum is asked
        for those of a chunk by ``guide.select(rows)``.
    max_elements, progress
        Numbers that one chunk's decoder outputs may hold, which bounds memory whatever K is; called
        with the number of data after each chunk of data.

    Raises
    ------
    UsageError
        If K < 1, or a seen pixel is not what the likelihood is of.
    """
    check_pair(pair)
    num_particles = checked_count(num_particles)
    size = numbers_per_particle(pair)
    data = observed(pair, x, mask=mask, y=y)
    one = data[:1]
    probe = particles(
        pair, _for_rows(guide, slice(0, 1)), one.x, num_particles=1, y=one.y, mask=one.mask
    )
    K = num_particles if probe.latents else 1  # all enumerated: every particle is the same
    data_chunk = max(1, min(len(data), max_elements // (size * min(K, 64))))
    particle_chunk = max(1, min(K, max_elements // (size * data_chunk)))
    parts = []
    for i in range(0, len(data), data_chunk):
        rows = slice(i, i + data_chunk)
        own = _for_rows(guide, rows)
        parts.append(_weigh(pair, data[rows], K, chunk=particle_chunk, guide=own))
        if progress is not None:
            progress(len(data[rows]))
    total, inverse, rest, elbo, spread = (torch.cat(p) for p in zip(*parts, strict=True))
    kind = data.x.dtype
    if not probe.latents:
        elbo = elbo.to(kind)
        zero = torch.zeros_like(elbo)
        size_k = torch.full_like(elbo, float(num_particles))
        return LogWeights(elbo, zero, elbo, zero, size_k, num_particles)
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
        num_particles=num_particles,
    )


def _weigh(
    pair: Pair,
    data: Observed,
    num_particles: int,
    *,
    chunk: int,
    guide: Callable[..., Any] | None,
) -> tuple[Tensor, ...]:
    """log Σ w, Σ w² / (Σ w)², log Σ w without the heaviest; mean, variance of log w; each (B,)."""
    first = widened(data.x.new_full((len(data),), -math.inf))
    second, rest, heaviest = first.clone(), first.clone(), first.clone()
    total, squares = torch.zeros_like(first), torch.zeros_like(first)
    near = torch.zeros_like(first)  # about the mean: squares far from it would cancel

    def weigh(count: int) -> tuple[Tensor]:
        drawn = draw(pair.model, guide or pair.guide, data, num_particles=count)
        return (widened(drawn.log_weight),)

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
    return near + first, (second - 2 * first).exp(), near + rest, near + shift, spread


def _for_rows(guide: Callable[..., Any] | None, rows: slice) -> Callable[..., Any] | None:
    """A guide for some data: one with parameters of each datum gives their part."""
    select = getattr(guide, "select", None)
    return guide if select is None else select(rows)


@torch.no_grad()
def exact_log_prob(
    pair: Exact, x: Tensor, *, mask: Tensor | None = None, max_elements: int = MAX_ELEMENTS
) -> Tensor:
    """log p(x_seen) of a pair that knows it, (B,), nats, in chunks over data."""
    check_pair(pair)
    data = observed(pair, x, mask=mask)
    chunk = chunk_size(pair, each=1, max_elements=max_elements)
    return torch.cat([pair.exact_log_prob(part.x, part.mask) for part in data.chunks(chunk)])
