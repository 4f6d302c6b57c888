"""Values of latent sites that a user hands in, checked before they are decoded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_models.data.arrays import tensor_of
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.pair import LatentSite

__all__ = ["latent_value"]


def latent_value(latents: Any, name: str, site: LatentSite, like: Tensor) -> Tensor:
    """The value of one site among latents by name, where ``like``, a tensor of the model, is.

    It may be a tensor or an array (\\*batch, \\*event_shape). It is refused if it is missing, of
    another shape, or none of the values of a discrete site.

    >>> latent_value({"z": [[0.5, 1.0]]}, "z", LatentSite((2,)), torch.zeros(()))
    tensor([[0.5000, 1.0000]])
    """
    if not isinstance(latents, Mapping) or name not in latents:
        found = ", ".join(map(str, latents)) if isinstance(latents, Mapping) else "no mapping"
        raise UsageError(f"latents are values by site, {{{name!r}: …}}; got {found or 'nothing'}")
    what, value = f"latents[{name!r}]", latents[name]
    value = tensor_of(value, what)
    if site.num_values is not None:
        whole, count = not value.is_floating_point() and value.dtype != torch.bool, site.num_values
        if not whole or (value.numel() and not 0 <= int(value.min()) <= int(value.max()) < count):
            values = f"{int(value.min())} to {int(value.max())}" if whole else str(value.dtype)
            raise UsageError(f"{what} is of whole numbers in 0…{count - 1}; got {values}")
        return value.to(like.device).long()
    event = tuple(site.event_shape)
    if tuple(value.shape[value.dim() - len(event) :]) != event:
        shape = ", ".join(map(str, ("…", *event)))
        raise UsageError(f"{what} is of shape ({shape}); got {tuple(value.shape)}")
    return placed(value if value.is_floating_point() else value.to(like.dtype), like)
