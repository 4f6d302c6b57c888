"""Continuous latents: what posterior inference asks of them, and the moments of their priors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair

__all__ = [
    "Moments",
    "by_site",
    "check_free",
    "check_real",
    "check_vectors",
    "needs_continuous",
    "side_by_side",
]

Shapes = Mapping[str, tuple[int, ...]]
"""Event shapes of sites by name."""


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of one latent site, each (B, \\*event_shape)."""

    mean: Tensor
    scale: Tensor

    def __getitem__(self, index: Tensor | slice) -> Moments:
        """Those of some of the data."""
        return Moments(self.mean[index], self.scale[index])


def side_by_side(latents: Mapping[str, Tensor], shapes: Shapes) -> Tensor:
    """Values by site, (\\*batch, B, \\*event_shape), as one vector, (\\*batch, B, D)."""
    parts = [(latents[name], shape) for name, shape in shapes.items()]
    return torch.cat([z.flatten(z.dim() - len(s)) if s else z.unsqueeze(-1) for z, s in parts], -1)


def by_site(z: Tensor, shapes: Shapes) -> dict[str, Tensor]:
    """One vector, (\\*batch, B, D), as values by site."""
    parts = z.split([math.prod(shape) for shape in shapes.values()], -1)
    sites = zip(shapes.items(), parts, strict=True)
    return {name: part.reshape(*part.shape[:-1], *shape) for (name, shape), part in sites}


def needs_continuous(pair: Pair) -> None:
    """Refuse what is no pair, or has no continuous latent."""
    check_pair(pair)
    if all(site.discrete for site in pair.latent_sites.values()):
        raise UsageError(
            f"{type(pair).__name__} has no continuous latent to infer; its discrete ones are "
            "summed out exactly (exact_posterior)"
        )


def check_free(pair: Pair) -> None:
    """Refuse a pair with a latent that has no density on real vectors, in its own words."""
    for site in pair.latent_sites.values():
        if site.why_not_free:
            raise UsageError(site.why_not_free)


def check_real(name: str, distribution: Any) -> None:
    """Refuse a latent site whose values are not free on the real line."""
    support = distribution.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support is not constraints.real:
        raise UsageError(
            f"the latent {name!r} is constrained, not a real vector; transform it in the model to "
            "the real line"
        )


def check_vectors(guide: str, values: Mapping[str, Tensor]) -> None:
    """Refuse sites for a guide of vectors that are none, by their values (B, \\*event_shape)."""
    several = [name for name, value in values.items() if value.dim() != 2]
    if several:
        raise UsageError(f"the guide {guide} is of vectors, and {several[0]} is none")
