"""Latents of given data, the data decoded from them, and new data from a pair's model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Categorical, TorchDistribution
from torch import Tensor

from inference.isolated import evaluating, isolated
from inference.posterior.decoding import Draw, check_draw, decoded_from
from inference.posterior.infer import infer
from inference.posterior.latents import draw_latents, given_continuous
from inference.posterior.log_density import LogDensity
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills, has_encoder
from pyro_models.counts import check_counts
from pyro_models.data.masks import Mask
from pyro_models.labels import labels_for
from pyro_models.observed import Data, Labels, Observed, observed
from pyro_models.pair import Exact
from pyro_models.seeds import check_seed

__all__ = [
    "generate",
    "latent_means",
    "posterior_draw",
    "posterior_sites",
    "reconstruct",
    "site_means",
]

NUM_DRAWS = 100
"""Draws that a mean is averaged over, where latents lie above one another."""

Guide = Callable[..., Any] | None
"""A guide; ``None`` for the pair's own."""


@torch.no_grad()
def posterior_sites(
    pair: Pair,
    x: Data,
    *,
    y: Labels | None = None,
    mask: Mask | None = None,
    guide: Guide = None,
) -> dict[str, TorchDistribution]:
    """q(site | x) of every latent site, batch shape (B,).

    From the guide (the pair's own unless given; of a pair without an encoder, the guide ``normal``
    fitted to x). Of latents above one another each is given one draw of those that the guide draws
    before it: z₁ of q(z₂ | x) q(z₁ | x, z₂) has q(z₁ | x, z₂). A discrete site that is alone and
    left to enumeration has its exact posterior.

    Raises
    ------
    UsageError
        If the guide leaves out a site beside others, so that it is known given these alone.
    """
    check_pair(pair)
    data = observed(pair, x, mask=mask, y=y)
    with isolated(pair):  # a guide samples where only its distributions are wanted
        trace = _run(pair, data, guide)
    sites: dict[str, TorchDistribution] = {}
    for name in pair.latent_sites:
        if name in trace.nodes:
            sites[name] = trace.nodes[name]["fn"]
        elif len(pair.latent_sites) == 1:
            sites[name] = _posterior_of(pair, data, name)
        else:
            raise _unknown(name)
    return sites


@torch.no_grad()
def latent_means(
    pair: Pair,
    x: Data,
    *,
    y: Labels | None = None,
    mask: Mask | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> Tensor:
    """E_q[z | x] of all continuous sites side by side, (B, total latent dimension).

    Of latents above one another, q(z₂ | x) q(z₁ | x, z₂), a site has no mean in closed form but
    that which the guide draws first: it is E[z₁ | x] = E_{q(z₂ | x)}[E[z₁ | x, z₂]], the average of
    its means over draws of those before it. One site, or sites that are drawn apart, cost one pass.

    Parameters
    ----------
    pair
        Whose guide infers; of a pair without an encoder, the guide ``normal`` is fitted to x.
    x, y, mask, fraction
        As of :func:`reconstruct`.
    seed
        Random seed of the mask ``random`` and of the draws; the caller's generators do not move.
    num_draws
        Number of draws that are averaged where latents lie above one another. The error of a mean
        is the standard deviation of E[z₁ | x, z₂] over z₂ divided by √num_draws.

    Raises
    ------
    UsageError
        If the pair has no continuous latent.

    Examples
    --------
    >>> from pyro_models import HVAE
    >>> pair = HVAE((1, 8, 8), latent_dims=[4, 2], hidden=[8], top_hidden=[8])
    >>> latent_means(pair, torch.ones(3, 1, 8, 8)).shape
    torch.Size([3, 6])
    """
    check_pair(pair)
    check_counts(num_draws=num_draws)
    continuous = [name for name, site in pair.latent_sites.items() if not site.discrete]
    if not continuous:
        raise UsageError(f"{type(pair).__name__} has no continuous latent to show")
    data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
    if len(continuous) < len(pair.latent_sites):  # E[z | x] = Σ_k q(k | x) E[z | x, k]
        _, probs, of_k = _sites_of_values(pair, data, guide=None)
        of_k = {name: mean.expand(probs.shape[-1], *mean.shape[-2:]) for name, mean in of_k.items()}
        means = {name: torch.einsum("bk,kbd->bd", probs, mean) for name, mean in of_k.items()}
    else:
        means = site_means(pair, data, guide=None, seed=seed, num_draws=num_draws)
    return torch.cat([means[name].flatten(1) for name in continuous], dim=1)


@torch.no_grad()
def reconstruct(
    pair: Pair,
    x: Data,
    *,
    y: Labels | None = None,
    mask: Mask | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    latents: Draw = "sample",
    pixels: Draw = "mean",
    guide: Guide = None,
) -> Tensor:
    """Data decoded from the latents of x, (B, \\*data_shape), on the scale of the prepared data.

    Samples come from torch's global generator.

    Parameters
    ----------
    pair
        Whose model decodes.
    x
        Prepared data, (B, \\*data_shape), of any kind that :func:`pyro_models.observed.observed`
        takes.
    y, mask, fraction, seed
        Labels (B,); what is seen, True or 1, or the name of a mask, and for the mask ``random`` the
        fraction of the pixels that it sees, and its seed.
    latents
        ``"sample"``: z ~ q(z | x). ``"mean"``: E_q[z | x], as of :func:`latent_means`; for a
        discrete site the mean image is averaged under q.
    pixels
        ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z).
    guide
        Another guide than the pair's own.

    Raises
    ------
    UsageError
        If ``latents`` or ``pixels`` is neither word.
    """
    check_pair(pair)
    check_draw("latents", latents)
    check_draw("pixels", pixels)
    data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
    discrete = [name for name, site in pair.latent_sites.items() if site.discrete]
    if latents == "mean" and pixels == "mean" and discrete:
        k, probs, means = _sites_of_values(pair, data, guide=guide)
        decoded = decoded_from(pair, {**means, discrete[0]: k}, data).mean
        decoded = decoded.flatten(2).expand(-1, len(data), -1)
        return torch.einsum("bk,kbd->bd", probs, decoded).unflatten(-1, pair.data_shape)
    if latents == "mean" and not discrete:
        values = site_means(pair, data, guide=guide, seed=seed, num_draws=NUM_DRAWS)
    else:  # of a mixture: a component, then its pixels
        values = posterior_draw(pair, data, guide=guide)
    p_x = decoded_from(pair, values, data)
    return p_x.mean if pixels == "mean" else p_x.sample()


def site_means(
    pair: Pair,
    data: Observed,
    *,
    guide: Guide = None,
    seed: int = 0,
    num_draws: int = NUM_DRAWS,
) -> dict[str, Tensor]:
    """E_q[z | x] of each of the sites, all continuous, (B, \\*event_shape)."""
    if guide is None and not has_encoder(pair):
        guide = infer(pair, data, guide="normal")  # once, and not for every draw
    with isolated(pair, seed=seed):
        total = _means_given_one_draw(pair, data, guide)
        if len(total) == 1:
            return total
        another = _means_given_one_draw(pair, data, guide)
        if all(torch.equal(total[name], another[name]) for name in total):
            return total  # none of them hangs on another
        for i in range(1, num_draws):
            found = another if i == 1 else _means_given_one_draw(pair, data, guide)
            total = {name: value + found[name] for name, value in total.items()}
    return {name: value / num_draws for name, value in total.items()}


def _means_given_one_draw(pair: Pair, data: Observed, guide: Guide) -> dict[str, Tensor]:
    """The mean of each site, given a draw of those that the guide draws before it."""
    trace = _run(pair, data, guide)
    left_out = next((name for name in pair.latent_sites if name not in trace.nodes), None)
    if left_out is not None:
        raise _unknown(left_out)
    return {name: trace.nodes[name]["fn"].mean for name in pair.latent_sites}


def _run(pair: Pair, data: Observed, guide: Guide) -> poutine.Trace:
    """The guide on data; in the place of one that knows nothing of them, one fitted to them."""
    if guide is None and not has_encoder(pair):
        guide = infer(pair, data, guide="normal")
    return poutine.trace(guide or pair.guide).get_trace(data.x, **data.conditions)


def _unknown(name: str) -> UsageError:
    return UsageError(f"the guide has no site {name!r}, and no exact posterior is known")


@torch.no_grad()
def posterior_draw(pair: Pair, data: Observed, *, guide: Guide = None) -> dict[str, Tensor]:
    """One joint draw of the latents: each site given those that were drawn before it.

    It comes from torch's global generator.
    """
    with evaluating(pair):
        trace = _run(pair, data, guide)
        drawn = {name: trace.nodes[name]["value"] for name in pair.latent_sites if name in trace}
        left_out = [name for name in pair.latent_sites if name not in drawn]
        if not left_out:
            return drawn
        if len(pair.latent_sites) == 1:
            return {name: _posterior_of(pair, data, name).sample() for name in left_out}
        for name in left_out:
            if not pair.latent_sites[name].discrete:
                raise _unknown(name)
        joint = draw_latents(LogDensity(pair, data), guide or pair.guide, 1)
    return {name: value[0] for name, value in joint.items()}


def _posterior_of(
    pair: Pair, data: Observed, name: str, values: Mapping[str, Tensor] | None = None
) -> TorchDistribution:
    """p(k | x_seen) of a discrete site, or p(k | z, x_seen) given values of all others."""
    if not values and fulfills(pair, Exact):
        return pair.exact_posterior(data.x, data.mask)
    if not pair.latent_sites[name].discrete:
        raise _unknown(name)
    with isolated(pair):
        _, logits = given_continuous(LogDensity(pair, data), values or {}, name)
    return Categorical(logits=logits[0])


def _sites_of_values(
    pair: Pair, data: Observed, *, guide: Guide
) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """The values of the one discrete site k, (K, 1), q(k | x), (B, K), and means of the others.

    E[z | x, k] is of shape (K, B, \\*event_shape), or broadcasts to it.
    """
    discrete = [name for name, site in pair.latent_sites.items() if site.discrete]
    if len(discrete) > 1:
        raise UsageError("the mean over several discrete sites is not defined; sample them instead")
    (name,) = discrete
    with isolated(pair):
        trace = _run(pair, data, guide)
    means: dict[str, Tensor] = {}
    if name not in trace and len(pair.latent_sites) > 1:  # it is drawn after the others: k | z̄
        means = {n: trace.nodes[n]["fn"].mean for n in pair.latent_sites if n != name}
        probs = _posterior_of(pair, data, name, means).probs
    else:
        probs = posterior_sites(pair, data, guide=guide)[name].probs
    k = torch.arange(probs.shape[-1], device=probs.device).unsqueeze(-1)
    if name in trace and len(pair.latent_sites) > 1:
        at_k = poutine.condition(guide or pair.guide, data={name: k})
        sites = posterior_sites(pair, data, guide=at_k)
        means = {n: site.mean for n, site in sites.items() if n != name}
    return k, probs, means


def generate(
    pair: Pair, *, n: int, y: Tensor | int | None = None, pixels: Draw = "mean", seed: int = 0
) -> Tensor:
    """Data of latents drawn from the prior, (n, \\*data_shape), where the pair is.

    The same seed gives the same latents, whichever of the two is asked for; the caller's generators
    do not move.

    Parameters
    ----------
    pair
        Whose model generates.
    n
        How many.
    y
        Labels (n,), or one for all, for a pair that conditions on them.
    pixels
        ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z).
    seed
        Random seed of the draws.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> generate(VAE((1, 8, 8), hidden=[16]), n=5).shape
    torch.Size([5, 1, 8, 8])

    Raises
    ------
    UsageError
        If n < 1, or labels do not fit.
    """
    check_pair(pair)
    check_draw("pixels", pixels)
    check_counts(n=n)
    check_seed(seed)
    with isolated(pair, seed=seed) as device:
        labels = labels_for(y, n, device)
        trace = poutine.trace(pair.model).get_trace(n=n, y=labels)
        found: Tensor = trace.nodes["x"]["value"]
        if pixels == "mean":
            latents = {n: trace.nodes[n]["value"] for n in pair.latent_sites if n in trace}
            found = pair.decode(latents, y=labels)["x"].mean
        return found
