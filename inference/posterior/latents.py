"""Draws of all latents from a guide, those that it leaves out among them, and their density."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from torch import Tensor, nn

from inference.densities import log_density as density_of
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError
from pyro_models.device import placed
from pyro_models.seeds import alone

__all__ = ["draw_latents", "given_continuous", "log_density", "mean_of"]

_PARTICLE_DIM = -2
_ENUMERATION_DIM = -3


@alone()
def draw_latents(target: LogDensity, guide: nn.Module, n: int) -> dict[str, Tensor]:
    """site → (n, B, \\*event_shape); a discrete site from p(k | z, x_seen) if the guide has none.

    Raises
    ------
    UsageError
        If several discrete sites are left out.
    """
    sites = target.pair.latent_sites
    with pyro.plate("_particles", n, dim=_PARTICLE_DIM, device=target.x.device):
        drawn = poutine.trace(guide).get_trace(target.x, **target.conditions)
    values = {name: drawn.nodes[name]["value"] for name in sites if name in drawn.nodes}
    left_out = [name for name in sites if name not in values]
    if len(left_out) > 1:
        raise UsageError(f"several discrete sites are left out by the guide: {left_out}")
    if left_out:
        values[left_out[0]] = _draw_discrete(target, values, left_out[0], n)
    return {
        name: value.expand(n, len(target), *sites[name].event_shape)
        for name, value in values.items()
    }


@alone()
def mean_of(target: LogDensity, guide: nn.Module, n: int) -> dict[str, Tensor]:
    """E_q of the continuous sites, (B, \\*event_shape): n draws of what each is conditioned on."""
    with pyro.plate("_particles", n, dim=_PARTICLE_DIM, device=target.x.device):
        drawn = poutine.trace(guide).get_trace(target.x, **target.conditions)
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

    Parameters
    ----------
    target
        The pair and its data.
    values
        z: values of all other sites, (n, B, \\*event_shape), or (B, \\*event_shape) if n is 1.
    name
        The site, which the model enumerates.
    n
        Number of values of z for each datum.

    Returns
    -------
    values, logits
        (K,), and (n, B, K); K = 1 if the model does not enumerate the site, but draws it.
    """
    model = poutine.condition(target.pair.model, data=dict(values))
    plate = pyro.plate("_particles", n, dim=_PARTICLE_DIM, device=target.x.device)
    with plate, poutine.enum(first_available_dim=_ENUMERATION_DIM):
        trace = poutine.trace(model).get_trace(target.x, **target.conditions)
    value: Tensor = trace.nodes[name]["value"]
    if value.dim() < 3:  # it was not enumerated, so it was drawn as it should be
        return value, value.new_zeros((n, len(target), 1), dtype=target.x.dtype)
    joint: Any = 0.0
    for other in trace.nodes.values():
        if other["type"] == "sample" and other["name"] not in ("data", "_particles"):
            log_prob = other["fn"].log_prob(other["value"])
            joint = joint + scale_and_mask(log_prob, 1.0, other["mask"])
    support = value.flatten()
    return support, joint.expand(len(support), n, len(target)).movedim(0, -1)


def _draw_discrete(target: LogDensity, values: Mapping[str, Tensor], name: str, n: int) -> Tensor:
    """k ~ p(k | z, x_seen)."""
    support, logits = given_continuous(target, values, name, n)
    if logits.shape[-1] == 1:
        return support
    return support[torch.distributions.Categorical(logits=logits).sample()]


def log_density(target: LogDensity, guide: nn.Module, latents: Mapping[str, Tensor]) -> Tensor:
    """log q of continuous latents (\\*batch, B, \\*event_shape): (\\*batch, B), nats.

    Raises
    ------
    UsageError
        If a site is missing, or has another shape.
    """
    flat: dict[str, Tensor] = {}
    batch: torch.Size | None = None
    for name in target.prior:
        event = target.pair.latent_sites[name].event_shape
        value = placed(latents.get(name), target.x)
        if value is None or value.shape[value.dim() - 1 - len(event) :] != (len(target), *event):
            shape = ", ".join(map(str, ("…", len(target), *event)))
            raise UsageError(f"log_prob needs the site {name!r} of shape ({shape})")
        batch = value.shape[: value.dim() - 1 - len(event)]
        flat[name] = value.reshape(-1, len(target), *event)
    assert batch is not None
    total = density_of(guide, target.data, flat)
    return total.reshape(*batch, len(target))
