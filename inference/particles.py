"""The one primitive: K samples from a guide, and what model and guide think of each, per datum.

Every bound, estimate and diagnostic of this package is a few lines over :class:`Particles`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_models import Pair, UsageError
from pyro_models.pair import DATA_PLATE

__all__ = ["Particles", "particles"]

_PARTICLE_DIM = -2
_ENUMERATION_DIM = -3


@dataclass(frozen=True)
class Particles:
    """K samples z_k ~ q(z | x) for each of B data; log densities in nats.

    Attributes
    ----------
    log_prior
        log p(z_k), (K, B).
    log_likelihood
        log p(x | z_k), (K, B). Enumerated sites are summed out: with a discrete k it is
        log Σ_k p(k) p(x | z, k), together with every other term that depends on k.
    log_q
        log q(z_k | x), (K, B); 0 where the guide is empty.
    latents
        Sampled sites by name, (K, B, \\*event_shape).
    """

    log_prior: Tensor
    log_likelihood: Tensor
    log_q: Tensor
    latents: dict[str, Tensor]

    @property
    def log_weight(self) -> Tensor:
        """log w_k = log p(x, z_k) − log q(z_k | x), (K, B)."""
        return self.log_prior + self.log_likelihood - self.log_q

    def elbo(self) -> Tensor:
        """Average of log w_k: an unbiased estimate of the ELBO, (B,)."""
        return self.log_weight.mean(0)

    def importance_bound(self) -> Tensor:
        """L_K = log (1/K) Σ_k w_k, (B,): below log p(x) on average (Burda et al. 2016)."""
        return self.log_weight.logsumexp(0) - math.log(len(self.log_weight))

    def effective_sample_size(self) -> Tensor:
        """(Σ w)² / Σ w², (B,), between 1 and K."""
        log_w = self.log_weight
        return (2 * log_w.logsumexp(0) - (2 * log_w).logsumexp(0)).exp()


def particles(
    pair_or_model: Pair | Callable[..., Any],
    guide: Callable[..., Any] | None,
    x: Tensor,
    *,
    num_particles: int,
    mask: Tensor | None = None,
    y: Tensor | None = None,
) -> Particles:
    """Draw K particles per datum from a guide and weigh them, in one vectorised pass.

    Discrete sites marked ``infer={"enumerate": "parallel"}`` that the guide does not sample are
    summed out before anything is averaged over K. Scales (minibatch, β) are left out: they belong
    outside the average over particles. Gradients flow to model and guide.

    Parameters
    ----------
    pair_or_model
        A pair, or any Pyro model called as ``model(x, y=y, mask=mask)`` with its sites inside one
        plate ``"data"`` at dim −1.
    guide
        Called like the model; ``None`` for the pair's own.
    x
        Prepared data, (B, \\*data_shape).
    num_particles
        K.
    mask
        True = seen.
    y
        Labels (B,).

    Raises
    ------
    UsageError
        If K < 1, or a site lies outside the data plate: no per-datum weight exists then.

    Examples
    --------
    >>> import torch
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> drawn = particles(ppca, None, x, num_particles=3)
    >>> bool((drawn.importance_bound() - ppca.exact_log_prob(x)).abs().max() < 1e-3)
    True
    """
    if num_particles < 1:
        raise UsageError(f"num_particles (K) must be at least 1; got {num_particles}")
    model = pair_or_model.model if isinstance(pair_or_model, Pair) else pair_or_model
    if guide is None:
        if not isinstance(pair_or_model, Pair):
            raise UsageError("give a guide: a bare model has none of its own")
        guide = pair_or_model.guide
    conditions = {"y": y, "mask": mask}
    plate = pyro.plate("_particles", num_particles, dim=_PARTICLE_DIM, device=x.device)
    with plate:
        guide_trace = poutine.trace(guide).get_trace(x, **conditions)
    replayed = poutine.replay(model, trace=guide_trace)
    with plate, poutine.enum(first_available_dim=_ENUMERATION_DIM):
        model_trace = poutine.trace(replayed).get_trace(x, **conditions)

    shape = (num_particles, x.shape[0])
    log_q = _sum([_log_prob(site) for site in _sites(guide_trace)], shape, x)
    latents = {
        site["name"]: site["value"]
        for site in _sites(guide_trace)
        if not site["infer"].get("is_auxiliary")
    }
    prior: list[Tensor] = []
    likelihood: list[Tensor] = []
    enumerated: list[Tensor] = []
    for site in _sites(model_trace):
        log_prob = _log_prob(site)
        if log_prob.dim() > 2 and math.prod(log_prob.shape[:-2]) > 1:
            enumerated.append(log_prob)
        else:
            (likelihood if site["is_observed"] else prior).append(log_prob)
    if enumerated:
        joint = sum(enumerated[1:], enumerated[0])
        likelihood.append(joint.logsumexp(tuple(range(joint.dim() - 2))))
    return Particles(_sum(prior, shape, x), _sum(likelihood, shape, x), log_q, latents)


def _sites(trace: poutine.Trace) -> list[dict[str, Any]]:
    """Sample sites with a density; every one must lie inside the data plate."""
    sites = []
    for site in trace.nodes.values():
        if site["type"] != "sample" or site_is_subsample(site):
            continue
        if site["infer"].get("_deterministic"):
            continue
        if DATA_PLATE not in {frame.name for frame in site["cond_indep_stack"]}:
            raise UsageError(
                f"site {site['name']!r} is outside the plate {DATA_PLATE!r}, so no weight per "
                f"datum exists; sample it inside pyro.plate({DATA_PLATE!r}, len(x), dim=-1)"
            )
        sites.append(site)
    return sites


def _log_prob(site: dict[str, Any]) -> Tensor:
    """log density of a site, (…, K, B): masked, not scaled."""
    log_prob: Tensor = scale_and_mask(site["fn"].log_prob(site["value"]), 1.0, site["mask"])
    return log_prob


def _sum(terms: list[Tensor], shape: tuple[int, int], x: Tensor) -> Tensor:
    """Sum of log densities, broadcast to (K, B)."""
    total = sum(terms[1:], terms[0]) if terms else x.new_zeros(())
    return total.reshape(total.shape[-2:]).expand(shape)
