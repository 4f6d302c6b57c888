"""Moments of q(z | x) and its KL from the prior, by latent dimension, from the particles' draws."""

from __future__ import annotations

from dataclasses import dataclass

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

    Mean E[z | x], variance Var[z | x], ``noise``, the squared standard error of the mean, and
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

    Latents above one another have no moments in closed form: E[z] = E[E[z | above]] and Var[z] =
    E[Var[z | above]] + Var[E[z | above]] are averages over the particles. The reconstructions of
    one chunk of particles hold at most ``max_elements`` numbers. A ``UsageError`` is raised if the
    guide samples no continuous latent.

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
    log_w, sums, kls = [], [], []
    near: Tensor | None = None  # of the means: squares far from it would cancel
    for i in range(0, num_particles, chunk):
        count = min(chunk, num_particles - i)
        drawn = draw(pair.model, pair.guide, Observed.unchecked(x, y), num_particles=count)
        log_w.append(drawn.log_weight)
        sites = [n for n, s in drawn.guide_sites.items() if not s["fn"].has_enumerate_support]
        if not sites:
            raise UsageError(
                "there is no continuous latent that the guide samples: nothing to diagnose"
            )
        q = [drawn.guide_sites[name]["fn"] for name in sites]  # given the sites above, (K or 1, B)
        means, variances = (
            torch.cat([v.double().flatten(2) for v in values], -1)
            for values in ([of.mean for of in q], [of.variance for of in q])
        )
        near = means[0] if near is None else near
        away = means - near
        sums.append((away.sum(0), away.square().sum(0), variances.sum(0)))
        kls.append(_kl_by_dimension(drawn, sites))
    assert near is not None
    mean, square, variance = (
        torch.stack(part).sum(0) / num_particles for part in zip(*sums, strict=True)
    )
    # what the latents above move the mean of those below: 0 where one site is all there is
    noise = (square - mean.square()).clamp_min(0) / max(1, num_particles - 1)
    known = [kl for kl in kls if kl is not None]
    return torch.cat(log_w), LatentMoments(
        mean=near + mean,
        noise=noise,
        variance=variance + noise * num_particles,
        kl=torch.stack(known).sum(0) / num_particles if len(known) == len(kls) else None,
    )


def _kl_by_dimension(drawn: Particles, sites: list[str]) -> Tensor | None:
    """KL of each site given those above it, summed over particles, (B, d), if all factorise.

    Sampled, log q(z_d) − log p(z_d), where the guide goes in another order than the model: a
    conditional KL is then no term of the joint one, and these still add up to it.
    """
    latent = [name for name in drawn.model_sites if name not in drawn.observed]
    kls = []
    for name in sites:
        q, p = drawn.guide_sites[name]["fn"], drawn.model_sites[name]["fn"]
        if not (isinstance(q, Independent) and isinstance(p, Independent)):
            return None
        if latent == list(drawn.guide_sites):
            kl = kl_divergence(q.base_dist, p.base_dist)
        else:
            z = drawn.guide_sites[name]["value"]
            kl = q.base_dist.log_prob(z) - p.base_dist.log_prob(z)
        kls.append(kl.double().flatten(2))
    return torch.cat(kls, -1).sum(0)
