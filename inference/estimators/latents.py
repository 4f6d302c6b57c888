"""E[latents | x] as columns, and E[x | latents] back."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pyro import poutine
from torch import Tensor

from inference.estimators.densities import Draws
from inference.isolated import isolated
from inference.posterior import latent_means
from inference.posterior.reconstruction import posterior_sites
from pyro_models import Observed, Pair
from pyro_models.contract import fulfills
from pyro_models.device import like_of
from pyro_models.observed import observed
from pyro_models.pair import MadeOfNoise

__all__ = ["decoded", "encoded", "probabilities", "seen_by", "shapes_of"]

_AT_ONCE = 10_000


def shapes_of(pair: Pair) -> dict[str, tuple[int, ...]]:
    """The latents that stand for a datum, and the shape of each.

    They are the noise of a flow, the probabilities of the components of a mixture, or else all
    continuous sites.
    """
    if fulfills(pair, MadeOfNoise):
        return {"z": tuple(pair.data_shape)}
    sites = pair.latent_sites.items()
    found: dict[str, tuple[int, ...]] = {n: s.event_shape for n, s in sites if not s.discrete}
    return found or {n: (s.num_values or 1,) for n, s in sites}


@torch.no_grad()
def encoded(pair: Pair, data: Observed, draws: Draws) -> Tensor:
    """Expected latents given x, (B, L), all of :func:`shapes_of` side by side.

    Where a site's distribution hangs on another site, its mean is averaged over the draws.
    """
    sites = pair.latent_sites.values()
    if fulfills(pair, MadeOfNoise):
        return torch.cat([pair.noise(part.x).flatten(1) for part in data.chunks(_AT_ONCE)])
    if all(site.discrete for site in sites):
        return torch.cat([probabilities(pair, part) for part in data.chunks(_AT_ONCE)])
    posterior = draws.posterior(pair, data)
    if posterior is not None:
        return torch.cat([posterior.mean[name].flatten(1) for name in shapes_of(pair)], 1)
    K = draws.num_particles if sum(not site.discrete for site in sites) > 1 else 1
    return torch.cat([latent_means(pair, part, num_draws=K) for part in data.chunks(_AT_ONCE)])


@torch.no_grad()
def probabilities(pair: Pair, data: Observed) -> Tensor:
    """p(k | x) of the one discrete latent, (B, K)."""
    (site,) = posterior_sites(pair, data).values()
    found: Tensor = site.probs
    return found


@torch.no_grad()
def decoded(pair: Pair, latents: Tensor, log_prior: Tensor | None, y: Tensor | None) -> Tensor:
    """E[x | latents], (B, \\*data_shape), of (B, L).

    Labels that are not known are summed out, whether they are a site of the pair or, with the
    logarithms of their probabilities (C,), what it is given: E[x | z] = Σ_y p(y | z) E[x | z, y]
    with p(y | z) ∝ p(y) p(z | y). So are components, of which ``latents`` are the probabilities.
    """
    latents = latents.to(like_of(pair))
    if fulfills(pair, MadeOfNoise):
        with isolated(pair):
            return pair.of_noise(latents.unflatten(1, pair.data_shape))
    shapes = shapes_of(pair)
    parts = latents.split([math.prod(shape) for shape in shapes.values()], 1)
    values = {n: p.unflatten(1, s) if s else p[:, 0] for (n, s), p in zip(shapes.items(), parts,
                                                                         strict=True)}  # fmt: skip
    discrete = [name for name, site in pair.latent_sites.items() if site.discrete]
    if len(discrete) == len(pair.latent_sites):
        (name,) = discrete
        k = torch.arange(latents.shape[1], device=latents.device)
        with isolated(pair):
            means = pair.decode({name: k})["x"].mean
        return torch.einsum("bk,k...->b...", latents, means)
    given = [name for name in discrete if pair.num_classes is not None]
    with isolated(pair):
        if not given and pair.num_classes is None:
            return _mean(pair, values, None)
        if y is not None:
            return _mean(pair, {**values, **dict.fromkeys(given, y)}, None if given else y)
        return _summed(pair, values, given, log_prior)


def _mean(pair: Pair, values: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
    found: Tensor = pair.decode(values, y=y)["x"].mean
    return found


def _summed(
    pair: Pair, values: Mapping[str, Tensor], given: list[str], log_prior: Tensor | None
) -> Tensor:
    """Σ_c p(y = c | z) E[x | z, y = c]."""
    assert pair.num_classes is not None
    first = next(iter(values.values()))
    log_joint, means = [], []
    for c in range(pair.num_classes):
        y = torch.full((len(first),), c, device=first.device)
        at_c = {**values, **dict.fromkeys(given, y)}
        label = None if given else y
        own = 0.0 if log_prior is None or given else log_prior[c].to(first)
        log_joint.append(_log_prior_at(pair, at_c, label, len(first)) + own)
        means.append(_mean(pair, at_c, label))
    weights = torch.stack(log_joint).softmax(0)
    return torch.einsum("cb,cb...->b...", weights, torch.stack(means))


def _log_prior_at(pair: Pair, values: Mapping[str, Tensor], y: Tensor | None, n: int) -> Tensor:
    """log p(latents | y), (B,)."""
    conditioned = poutine.condition(pair.model, data=dict(values))
    trace = poutine.trace(conditioned).get_trace(n=n, y=y)
    trace.compute_log_prob(lambda name, _: name in values)
    total: Tensor = torch.stack([trace.nodes[name]["log_prob"] for name in values]).sum(0)
    return total


def seen_by(pair: Pair, data: Observed, y: int | None = None) -> Observed:
    """Data checked against a pair and moved to it; labels are those said here alone."""
    return observed(pair, Observed.unchecked(data.x, None, data.mask), y=y)
