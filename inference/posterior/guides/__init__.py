"""Families of guides for posterior inference, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from inference.posterior.guides.amortised_flow import AMORTISED_FLOW
from inference.posterior.guides.auto_normal import AUTO_NORMAL
from inference.posterior.guides.encoder import ENCODER, PRIOR, REFINED
from inference.posterior.guides.family import Family
from inference.posterior.guides.flow import FLOW
from inference.posterior.guides.full_covariance import FULL_COVARIANCE
from inference.posterior.guides.hmc import HMC, NUTS_GUIDE
from inference.posterior.guides.laplace import LAPLACE
from inference.posterior.guides.low_rank import LOW_RANK
from inference.posterior.guides.normal import NORMAL
from inference.posterior.guides.point import POINT
from pyro_models import UsageError
from pyro_models.registry import Registry

__all__ = ["GUIDES", "Family", "guide_family", "register_guide"]

GUIDES: Registry[Family] = Registry(
    "guide",
    {
        "prior": PRIOR,
        "encoder": ENCODER,
        "refined": REFINED,
        "auto_normal": AUTO_NORMAL,
        "normal": NORMAL,
        "full_covariance": FULL_COVARIANCE,
        "low_rank": LOW_RANK,
        "laplace": LAPLACE,
        "point": POINT,
        "flow": FLOW,
        "amortised_flow": AMORTISED_FLOW,
        "hmc": HMC,
        "nuts": NUTS_GUIDE,
    },
)


def register_guide(name: str, make: Callable[..., nn.Module] | Family) -> None:
    """Let a family of guides be asked for by name.

    Parameters
    ----------
    name
        Not one of :data:`GUIDES`.
    make
        ``make(target, **options)``, see :class:`Family`; or a family that is not fitted, or has no
        density.

    Raises
    ------
    UsageError
        If the name is taken.
    """
    GUIDES.register(name, _family_of(make))


def _family_of(make: Callable[..., nn.Module] | Family) -> Family:
    return make if isinstance(make, Family) else Family(make)


def guide_family(
    guide: str | Mapping[str, Any] | Family | nn.Module | Callable[..., nn.Module],
) -> tuple[str, Family]:
    """Name and family of whatever stands for a guide: a name, ``"mine.py:make"``, or an object."""
    guide, _ = GUIDES.named(guide, {})
    if isinstance(guide, str):
        return guide, _family_of(GUIDES[guide])  # that of a file may be a function
    if isinstance(guide, Family):
        return getattr(guide.make, "__name__", "own"), guide
    if isinstance(guide, nn.Module):
        learns = any(parameter.requires_grad for parameter in guide.parameters())
        return type(guide).__name__, Family(lambda given: guide, fitted=learns)
    if callable(guide):
        return getattr(guide, "__name__", type(guide).__name__), Family(guide)
    raise UsageError(f"a guide is a name, a module or a function that makes one; got {guide!r}")
