"""What model and guide think of latents that are given: log p(x, z) and log q(z | x) at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor

from inference.particles import Particles, draw
from inference.sites import (
    density_sites,
    enumeration,
    is_enumerated,
    joint_of,
    log_prob_of,
    summed_out,
    traced,
)
from pyro_models.observed import Observed
from pyro_models.pair import DATA_PLATE
from pyro_models.seeds import alone

__all__ = ["log_density", "weigh"]


def weigh(model: Callable[..., Any], data: Observed, latents: Mapping[str, Tensor]) -> Particles:
    """The particles of given values of the continuous latents; log q is 0.

    The values are by site, (K, B, \\*event_shape), and gradients flow to them. Discrete sites that
    are not among them are summed out.

    Examples
    --------
    >>> import torch
    >>> from pyro_models import PPCA
    >>> model, data = PPCA((5,), latent_dim=2).model, Observed(torch.zeros(3, 5))
    >>> at = weigh(model, data, {"z": torch.zeros(4, 3, 2)})
    >>> at.log_prior.shape, float(at.log_q.abs().max())
    (torch.Size([4, 3]), 0.0)
    """
    (first, *_) = latents.values()
    return draw(model, _certain_of(latents), data, num_particles=len(first))


def log_density(guide: Callable[..., Any], data: Observed, latents: Mapping[str, Tensor]) -> Tensor:
    """log q(z | x) of a guide at given values, (K, B), its enumerated sites summed out."""
    (first, *_) = latents.values()
    # where Pyro's AutoNormal has its density: the real line is transformed to itself
    unconstrained = {f"{name}_unconstrained": value for name, value in latents.items()}
    with alone():
        values = traced(_certain_of({**unconstrained, **latents}), data, len(first))
        replayed = traced(poutine.replay(guide, trace=values), data, len(first), enum=enumeration())
    terms = [log_prob_of(site) for site in density_sites(replayed).values()]
    plain = [term for term in terms if not is_enumerated(term)]
    return joint_of(plain + summed_out(terms), first.new_zeros(()), (len(first), len(data)))


def _certain_of(latents: Mapping[str, Tensor]) -> Callable[..., None]:
    """A guide that is certain of the latents."""

    def guide(x: Tensor, **_: Any) -> None:
        with pyro.plate(DATA_PLATE, len(x), dim=-1, device=x.device):
            for name, value in latents.items():
                pyro.sample(name, Delta(value, event_dim=value.dim() - 2))

    return guide
