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
from inference.particles import checked_count, particles
from inference.undisturbed import alone
from pyro_models import Pair
from pyro_models.pair import Exact, pixel_mask

__all__ = [
    "LogWeights",
    "exact_log_prob",
    "log_weights",
]


@dataclass(frozen=True)
class LogWeights:
    """What K log-weights of each datum come to, (B,) each, nats.

    Attributes
    ----------
    elbo
        Mean of log w: an unbiased estimate of the ELBO.
    elbo_error
        Its standard error; NaN for K = 1.
    bound
        L_K = log (1/K) Σ w: a lower bound on log p(x) in expectation.
    bound_error
        Its standard error by the delta method, sqrt(Var w / K) / mean w; NaN for K = 1.
    effective_sample_size
        (Σ w)² / Σ w².
    num_particles
        K.
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
    max_elements
        Numbers that one chunk's decoder outputs may hold; bounds memory whatever K is.
    progress
        Called with the number of data after each chunk of data.

    Raises
    ------
    UsageError
        If K < 1, or a seen pixel is not what the likelihood is of.

    Notes
    -----
    log Σ w and log Σ w² are accumulated as running log-sum-exps.
    """
    num_particles = checked_count(num_particles)
    size = numbers_per_particle(pair)
    mask = pixel_mask(mask, pair.data_shape, x)
    pair.likelihood.check(x, mask)
    one = slice(0, 1)
    labels = None if y is None else y[one]
    probe = particles(
        pair, _for_rows(guide, one), x[one], num_particles=1, y=labels, mask=_of_rows(mask, one)
    )
    K = num_particles if probe.latents else 1  # all enumerated: every particle is the same
    data_chunk = max(1, min(len(x), max_elements // (size * min(K, 64))))
    particle_chunk = max(1, min(K, max_elements // (size * data_chunk)))
    parts = []
    for i in range(0, len(x), data_chunk):
        rows = slice(i, i + data_chunk)
        parts.append(
            _weigh(
                pair,
                x[rows],
                K,
                particle_chunk,
                y=None if y is None else y[rows],
                mask=_of_rows(mask, rows),
                guide=_for_rows(guide, rows),
            )
        )
        if progress is not None:
            progress(len(x[rows]))
    first, second, elbo, spread = (torch.cat(p) for p in zip(*parts, strict=True))
    if not probe.latents:
        zero = torch.zeros_like(elbo)
        size_k = torch.full_like(elbo, float(num_particles))
        return LogWeights(elbo, zero, elbo, zero, size_k, num_particles)
    relative = ((second - 2 * first).exp() * K - 1).clamp_min(0)  # Var w / (mean w)²
    unknown = torch.full_like(elbo, math.nan)
    return LogWeights(
        elbo=elbo,
        elbo_error=(spread / (K - 1)).sqrt() if K > 1 else unknown,
        bound=first - math.log(K),
        bound_error=(relative / (K - 1)).sqrt() if K > 1 else unknown,
        effective_sample_size=(2 * first - second).exp(),
        num_particles=num_particles,
    )


def _weigh(
    pair: Pair, x: Tensor, num_particles: int, chunk: int, **conditions: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """log Σ w, log Σ w², and mean and variance of log w, of some data, each (B,)."""
    first = x.new_full((len(x),), -math.inf)
    second, total, squares = first.clone(), torch.zeros_like(first), torch.zeros_like(first)
    near: Tensor | float = 0.0  # about the mean: squares far from it would cancel in float32
    guide = conditions.pop("guide")
    for i in range(0, num_particles, chunk):
        count = min(chunk, num_particles - i)
        with (
            alone(),
            pyro.validation_enabled(False),
        ):  # all data and one particle were checked before
            log_w = particles(pair, guide, x, num_particles=count, **conditions).log_weight
        first = torch.logaddexp(first, log_w.logsumexp(0))
        second = torch.logaddexp(second, (2 * log_w).logsumexp(0))
        near = log_w.mean(0) if i == 0 else near
        total = total + (log_w - near).sum(0)
        squares = squares + (log_w - near).square().sum(0)
    shift = total / num_particles
    return first, second, near + shift, (squares / num_particles - shift.square()).clamp_min(0)


def _of_rows(mask: Tensor | None, rows: slice) -> Tensor | None:
    """The part of a mask (B or 1, \\*data_shape) that goes with some data."""
    return mask if mask is None or len(mask) == 1 else mask[rows]


def _for_rows(guide: Callable[..., Any] | None, rows: slice) -> Callable[..., Any] | None:
    """A guide for some data: one with parameters of each datum gives their part."""
    select = getattr(guide, "select", None)
    return guide if select is None else select(rows)


@torch.no_grad()
def exact_log_prob(
    pair: Exact, x: Tensor, *, mask: Tensor | None = None, max_elements: int = MAX_ELEMENTS
) -> Tensor:
    """log p(x_seen) of a pair that knows it, (B,), nats, in chunks over data."""
    assert isinstance(pair, Pair)
    mask = pixel_mask(mask, pair.data_shape, x)
    chunk = chunk_size(pair, each=1, max_elements=max_elements)
    parts = []
    for i in range(0, len(x), chunk):
        rows = slice(i, i + chunk)
        parts.append(pair.exact_log_prob(x[rows], _of_rows(mask, rows)))
    return torch.cat(parts)
