"""Draws of all latents from a guide, those that it leaves out among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from inference.particles import Particles
from inference.posterior.log_density import LogDensity
from inference.sites import enumeration, log_prob_of, traced
from pyro_models import UsageError
from pyro_models.seeds import alone

__all__ = ["draw_latents", "given_continuous", "mean_of", "resampled_latents"]


@alone()
def draw_latents(target: LogDensity, guide: Callable[..., Any], n: int) -> dict[str, Tensor]:
    """Draws by site, (n, B, \\*event_shape); of a discrete one left out from p(k | z, x_seen)."""
    sites = target.pair.latent_sites
    drawn = traced(guide, target.data, n)
    values = {name: drawn.nodes[name]["value"] for name in sites if name in drawn.nodes}
    left_out = [name for name in sites if name not in values]
    if len(left_out) > 1:
        raise UsageError(f"several discrete sites are left out by the guide: {left_out}")
    for name in left_out:
        support, logits = given_continuous(target, values, name, n)
        if logits.shape[-1] > 1:
            support = support[torch.distributions.Categorical(logits=logits).sample()]
        values[name] = support
    return {
        name: value.expand(n, len(target), *sites[name].event_shape)
        for name, value in values.items()
    }


@alone()
def mean_of(target: LogDensity, guide: Callable[..., Any], n: int) -> dict[str, Tensor]:
    """E_q of the continuous sites, (B, \\*event_shape): n draws of what each is conditioned on."""
    drawn = traced(guide, target.data, n)
    means = {}
    for name, prior in target.prior.items():
        site = drawn.nodes[name]
        try:
            mean = site["fn"].mean
        except NotImplementedError:
            mean = site["value"]
        means[name] = mean.expand(n, *prior.mean.shape).mean(0)
    return means


@alone()
def given_continuous(
    target: LogDensity, values: Mapping[str, Tensor], name: str, n: int = 1
) -> tuple[Tensor, Tensor]:
    """Values (K,) of a discrete site k, and p(k | z, x_seen) ∝ p(k) p(z | k) p(x_seen | z, k).

    z are values of all other sites, (n, B, \\*event_shape), or (B, \\*event_shape) if n is 1; the
    logits are (n, B, K). K = 1 if the model does not enumerate the site, but draws it.
    """
    model = poutine.condition(target.pair.model, data=dict(values))
    sites = traced(model, target.data, n, enum=enumeration()).nodes
    value: Tensor = sites[name]["value"]
    if value.dim() < 3:  # it was not enumerated, so it was drawn as it should be
        return value, value.new_zeros((n, len(target), 1), dtype=target.x.dtype)
    sampled = (s for s in sites.values() if s["type"] == "sample" and not site_is_subsample(s))
    joint = torch.as_tensor(sum(log_prob_of(site) for site in sampled))
    support = value.flatten()
    return support, joint.expand(len(support), n, len(target)).movedim(0, -1)


def resampled_latents(drawn: Particles) -> dict[str, Tensor]:
    """Particles redrawn by their weights with replacement, (K, B, …) (Rubin 1988)."""
    log_w = drawn.log_weight.double()
    lost = ~(log_w.amax(0).isfinite())
    if bool(lost.any()):
        raise UsageError(
            f"for {int(lost.sum())} of {len(lost)} data no particle has a finite weight above 0: "
            "there is nothing to redraw; take more particles, or another guide"
        )
    weights = log_w.softmax(0)
    chosen = torch.multinomial(weights.T, len(weights), replacement=True).T  # (K, B)
    rows = torch.arange(weights.shape[1], device=weights.device)
    return {
        name: value.expand(*weights.shape, *value.shape[2:])[chosen, rows]
        for name, value in drawn.latents.items()
    }
