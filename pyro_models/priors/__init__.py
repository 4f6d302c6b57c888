"""p(z): priors of latents, each a module whose call returns a distribution.

One that is made of the pair's guide has a method ``attach(guide, num_classes=…)``, and one that
starts from data a ``start_from(u, seed=…)``, as :class:`VampPrior` does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from pyro_models.errors import UsageError, in_one_line
from pyro_models.modules import module_for
from pyro_models.priors.flow import FlowPrior
from pyro_models.priors.mixture import MixturePrior
from pyro_models.priors.standard import StandardNormal
from pyro_models.priors.vamp import VampPrior
from pyro_models.registry import Registry

__all__ = [
    "PRIORS",
    "FlowPrior",
    "MixturePrior",
    "StandardNormal",
    "VampPrior",
    "is_of_guide",
    "prior_for",
]

PRIORS: Registry[Callable[..., nn.Module]] = Registry(
    "prior",
    {"standard": StandardNormal, "mixture": MixturePrior, "vamp": VampPrior, "flow": FlowPrior},
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
        If the name is unknown, no module is made, or its call returns no density of such z.
    """
    made = module_for(PRIORS, prior, latent_dim)
    if not hasattr(made, "attach"):  # what is made of a guide has a density once it has that
        _check_density(made, latent_dim)
    return made


def _check_density(prior: nn.Module, latent_dim: int) -> None:
    name = f"the prior {PRIORS.name_of(type(prior)) or type(prior).__name__}"
    with torch.no_grad(), in_one_line(name):
        p_z = prior()
    if not all(hasattr(p_z, has) for has in ("log_prob", "event_shape", "batch_shape")):
        raise UsageError(f"{name} returns a {type(p_z).__name__}: return a distribution over z")
    event, batch = tuple(p_z.event_shape), tuple(p_z.batch_shape)
    if event != (latent_dim,) or math.prod(batch) != 1:
        raise UsageError(
            f"a prior of z of {latent_dim} dimensions has event shape ({latent_dim},) and batch "
            f"shape (); {name} has {event} and {batch}: use to_event(1), or give it latent_dim"
        )
    if p_z.support.is_discrete:
        raise UsageError(f"z is continuous, and {name} is of discrete values")


def is_of_guide(model: nn.Module) -> bool:
    """Whether p(x, z) is a function of the guide's weights too."""
    return any(hasattr(part, "attach") for part in model.modules())
