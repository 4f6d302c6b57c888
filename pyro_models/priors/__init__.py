"""p(z): priors of latents, each a module whose call returns a distribution.

One that is made of the pair's guide has a method ``attach(guide, num_classes=…)``, and one that
starts from data a ``start_from(u, seed=…)``, as :class:`VampPrior` does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

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
        If the name is unknown, or no module is made.
    """
    return module_for(PRIORS, prior, latent_dim)


def is_of_guide(model: nn.Module) -> bool:
    """Whether p(x, z) is a function of the guide's weights too."""
    return any(hasattr(part, "attach") for part in model.modules())
