"""Moments of q(z | x) and its KL from the prior, by latent dimension, from the particles' draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, kl_divergence

from inference.chunks import chunk_size
from inference.particles import Particles, draw
from pyro_models import Pair, UsageError
from pyro_models.observed import Observed

__all__ = ["LatentMoments", "weighed_with_moments"]


@dataclass(frozen=True)
class LatentMoments:
    """Moments of q(z | x) over the d dimensions of all continuous sites, (B, d).

    Attributes
    ----------
    mean, variance
        E[z | x] and Var[z | x].
    noise
        Squared standard error of the mean.
    kl
        KL(q ‖ p) by dimension, nats; ``None`` where q or the prior does not factorise.
    """

    mean: Tensor
    noise: Tensor
    variance: Tensor
    kl: Tensor | None


def weighed_with_moments(
    pair: Pair, x: Tensor, *, num_particles: int, max_elements: int, y: Tensor | None = None
) -> tuple[Tensor, LatentMoments]:
    """log w, (K, B), of a pair's own guide, and the moments of that guide, from the same draws.

    Latents above one another have no moments in closed form: E[z] = E[E[z | above]] and
    Var[z] = E[Var[z | above]] + Var[E[z | above]] are averages over the particles.

    Parameters
    ----------
    pair, x, num_particles, y
        As for :func:`inference.particles.particles`.
    max_elements
        Numbers that the reconstructions of one chunk of particles may hold.

    Raises
    ------
    UsageError
        If the guide samples no continuous latent.

    Examples
    --------
    >>> import torch
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> _, found = weighed_with_moments(ppca, x, num_particles=3, max_elements=10**6)
    >>> bool((found.mean - ppca.exact_posterior(x).mean).abs().max() < 1e-3)
    True
    """
    chunk = chunk_size(pair, each=len(x), max_elements=max_elements)
    log_w, sums = [], []
    near: Tensor | None = None  # of the means: squares far from it would cancel
    for i in range(0, num_particles, chunk):
        count = min(chunk, num_particles - i)
        drawn = draw(pair.model, pair.guide, Observed.unchecked(x, y), num_particles=count)
        log_w.append(drawn.log_weight)
        of_chunk = _means(drawn)
        near = of_chunk[0] if near is None else near
        sums.append(_sums(drawn, of_chunk - near))
    assert near is not None
    kls = [s.kl for s in sums if s.kl is not None]
    mean = torch.stack([s.mean for s in sums]).sum(0) / num_particles
    square = torch.stack([s.square for s in sums]).sum(0) / num_particles
    variance = torch.stack([s.variance for s in sums]).sum(0) / num_particles
    # what the latents above move the mean of those below: 0 where one site is all there is
    moved = (square - mean.square()).clamp_min(0) / max(1, num_particles - 1)
    return torch.cat(log_w), LatentMoments(
        mean=near + mean,
        noise=moved,
        variance=variance + moved * num_particles,
        kl=torch.stack(kls).sum(0) / num_particles if len(kls) == len(sums) else None,
    )


@dataclass(frozen=True)
class _Sums:
    """Over particles, (B, d): of mean, squared mean and variance given the sites above, and KL.

    Means are relative to a fixed point.
    """

    mean: Tensor
    square: Tensor
    variance: Tensor
    kl: Tensor | None


def _continuous(drawn: Particles) -> dict[str, Any]:
    sites = {
        name: site
        for name, site in drawn.guide_sites.items()
        if not site["fn"].has_enumerate_support
    }
    if not sites:
        raise UsageError(
            "there is no continuous latent that the guide samples: nothing to diagnose"
        )
    return sites


def _means(drawn: Particles) -> Tensor:
    """E[z | sites above], (K or 1, B, d)."""
    means = [s["fn"].mean.double().flatten(2) for s in _continuous(drawn).values()]
    return torch.cat(means, -1)


def _sums(drawn: Particles, means: Tensor) -> _Sums:
    sites = _continuous(drawn)
    variances = torch.cat([s["fn"].variance.double().flatten(2) for s in sites.values()], -1)
    kls = [_kl_by_dimension(drawn, name) for name in sites]
    known = [kl for kl in kls if kl is not None]
    return _Sums(
        mean=means.sum(0),
        square=means.square().sum(0),
        variance=variances.sum(0),
        kl=torch.cat(known, -1).sum(0) if len(known) == len(kls) else None,
    )


def _kl_by_dimension(drawn: Particles, name: str) -> Tensor | None:
    """KL of one site given those above it, (K, B, d), if it factorises.

    Sampled, log q(z_d) − log p(z_d), where the guide goes in another order than the model: a
    conditional KL is then no term of the joint one, and these still add up to it.
    """
    q, p = drawn.guide_sites[name]["fn"], drawn.model_sites[name]["fn"]
    if not (isinstance(q, Independent) and isinstance(p, Independent)):
        return None
    if [n for n in drawn.model_sites if n not in drawn.observed] == list(drawn.guide_sites):
        kl = kl_divergence(q.base_dist, p.base_dist)
    else:
        z = drawn.guide_sites[name]["value"]
        kl = q.base_dist.log_prob(z) - p.base_dist.log_prob(z)
    return kl.double().flatten(2)
