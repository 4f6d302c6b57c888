"""p(z): priors of latents, each a module whose call returns a distribution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.counts import is_count
from pyro_models.errors import UsageError, in_one_line
from pyro_models.registry import Registry

__all__ = ["PRIORS", "StandardNormal", "prior_for"]


class StandardNormal(nn.Module):
    """p(z) = N(0, I), batch shape (), event shape (latent_dim,)."""

    zeros: Tensor
    ones: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        if not is_count(latent_dim):
            raise UsageError(f"the latent dimension must be at least 1; got {latent_dim}")
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def forward(self) -> TorchDistribution:
        """The distribution."""
        return dist.Normal(self.zeros, self.ones).to_event(1)


PRIORS: Registry[Callable[..., nn.Module]] = Registry(
    "prior",
    {"standard": StandardNormal},
    hint="give a module whose call returns a distribution over z",
)


def prior_for(
    prior: str | Mapping[str, Any] | Callable[..., nn.Module], latent_dim: int
) -> nn.Module:
    """A prior by its name, its class or a function of ``latent_dim``, or as it is.

    Parameters
    ----------
    prior
        A name of ``PRIORS``, a class of a Python file (``"mine.py:Mixture"``), either with its
        options as ``{class_path: NAME, init_args: {OPTION: VALUE}}``, a class, a function, or a
        module whose call returns a distribution of event shape (latent_dim,).
    latent_dim
        Dimension of z.

    Examples
    --------
    >>> prior_for("standard", 3)().event_shape
    torch.Size([3])

    Raises
    ------
    UsageError
        If the name is unknown, or no module is made.
    """
    prior, options = PRIORS.named(prior, {})
    if isinstance(prior, nn.Module):
        return prior
    make = PRIORS[prior] if isinstance(prior, str) else prior
    if not callable(make):
        raise UsageError(f"a prior is a name, a class or a module; got {prior!r}")
    with in_one_line(f"the prior {getattr(make, '__name__', make)}"):
        made = make(latent_dim, **options)
    if not isinstance(made, nn.Module):
        raise UsageError(f"the prior {prior} is made as {made!r}: return an nn.Module")
    return made
