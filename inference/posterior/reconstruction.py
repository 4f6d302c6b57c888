"""Latents of given data, and the data decoded from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from pyro import poutine
from pyro.distributions import TorchDistribution
from torch import Tensor

from inference.undisturbed import undisturbed
from pyro_models import Pair, UsageError
from pyro_models.pair import Exact

__all__ = ["Draw", "check_draw", "latent_means", "posterior_sites", "reconstruct"]

Draw = Literal["mean", "sample"]


def check_draw(name: str, draw: str) -> None:
    """Refuse what is neither ``"mean"`` nor ``"sample"``.

    Raises
    ------
    UsageError
        With the option's name.
    """
    if draw not in ("mean", "sample"):
        raise UsageError(f"{name} is 'mean' or 'sample'; got {draw!r}")


@torch.no_grad()
def posterior_sites(
    pair: Pair,
    x: Tensor,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
    guide: Callable[..., Any] | None = None,
) -> dict[str, TorchDistribution]:
    """q(site | x) of every latent site, batch shape (B,).

    From the guide (the pair's own unless given); sites that the guide leaves to enumeration come
    from the pair's exact posterior.

    Raises
    ------
    UsageError
        If a site is in neither.
    """
    with undisturbed(pair):  # a guide samples where only its distributions are wanted
        trace = poutine.trace(guide or pair.guide).get_trace(x, y=y, mask=mask)
    sites: dict[str, TorchDistribution] = {}
    for name in pair.latent_sites:
        if name in trace.nodes:
            sites[name] = trace.nodes[name]["fn"]
        elif len(pair.latent_sites) == 1 and isinstance(pair, Exact):
            sites[name] = pair.exact_posterior(x, mask)
        else:
            raise UsageError(f"the guide has no site {name!r}, and no exact posterior is known")
    return sites


@torch.no_grad()
def latent_means(
    pair: Pair, x: Tensor, *, y: Tensor | None = None, mask: Tensor | None = None
) -> Tensor:
    """E_q[z | x] of all continuous sites side by side, (B, total latent dimension).

    Raises
    ------
    UsageError
        If the pair has no continuous latent.
    """
    sites = posterior_sites(pair, x, y=y, mask=mask)
    means = [
        sites[name].mean.flatten(1) for name, site in pair.latent_sites.items() if not site.discrete
    ]
    if not means:
        raise UsageError(f"{type(pair).__name__} has no continuous latent to show")
    return torch.cat(means, dim=1)


@torch.no_grad()
def reconstruct(
    pair: Pair,
    x: Tensor,
    *,
    y: Tensor | None = None,
    mask: Tensor | None = None,
    latents: Draw = "sample",
    pixels: Draw = "mean",
    guide: Callable[..., Any] | None = None,
) -> Tensor:
    """Data decoded from the latents of x, (B, \\*data_shape), on the scale of the prepared data.

    Parameters
    ----------
    pair
        Whose model decodes.
    x
        Prepared data, (B, \\*data_shape).
    y, mask
        Labels (B,); True = seen.
    latents
        ``"sample"``: z ~ q(z | x). ``"mean"``: E_q[z | x]; for a discrete site the mean image is
        averaged under q.
    pixels
        ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z).
    guide
        Another guide than the pair's own.

    Notes
    -----
    Samples come from torch's global generator.

    Raises
    ------
    UsageError
        If ``latents`` or ``pixels`` is neither word.
    """
    check_draw("latents", latents)
    check_draw("pixels", pixels)
    sites = posterior_sites(pair, x, y=y, mask=mask, guide=guide)
    discrete = [name for name, site in pair.latent_sites.items() if site.discrete]
    if latents == "mean" and discrete:
        if pixels == "mean":
            return _mean_over_values(pair, sites, discrete, y)
        latents = "sample"  # of a mixture: a component, then its pixels
    values = {
        name: site.mean if latents == "mean" else site.sample() for name, site in sites.items()
    }
    p_x = pair.decode(values, y=y)["x"]
    return p_x.mean if pixels == "mean" else p_x.sample()


def _mean_over_values(
    pair: Pair, sites: dict[str, TorchDistribution], discrete: list[str], y: Tensor | None
) -> Tensor:
    """Σ_k q(k | x) E[x | k], other sites at their means, (B, \\*data_shape)."""
    if len(discrete) > 1:
        raise UsageError("the mean over several discrete sites is not defined; sample them instead")
    (name,) = discrete
    probs = sites[name].probs
    values = {n: site.mean for n, site in sites.items() if n != name}
    k = torch.arange(probs.shape[-1], device=probs.device).unsqueeze(-1)
    means = pair.decode({**values, name: k}, y=y)["x"].mean.flatten(2).expand(-1, len(probs), -1)
    return torch.einsum("bk,kbd->bd", probs, means).unflatten(-1, pair.data_shape)
