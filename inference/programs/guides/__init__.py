"""Families of guides for programs, by name: the ones of pairs, and those for any Pyro model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pyro.infer.autoguide import AutoDelta, AutoGuide, AutoLaplaceApproximation
from torch import nn

from inference.posterior.guides import GUIDES, Family, guide_family
from inference.posterior.guides.laplace import LAPLACE
from inference.posterior.guides.point import POINT
from inference.programs.guides.auto import AUTOGUIDES, autoguide_family, blocks
from inference.programs.guides.auto import POINT as OF_POINTS
from inference.programs.guides.gaussian import DENSE, EXACT, PATHFINDER
from inference.programs.guides.named_flow import named_flow_family
from inference.programs.guides.of_sites import SiteGuide, pair_of
from inference.programs.guides.references import PYRO_NUTS, QUADRATURE
from pyro_models import UsageError
from pyro_models.flows.named import FLOWS
from pyro_models.registry import Registry, check_choice

__all__ = ["PROGRAM_GUIDES", "program_family"]

_OF_PAIRS = ("prior", "auto_normal", "normal", "full_covariance", "low_rank", "laplace", "point")

PROGRAM_GUIDES: Registry[Family] = Registry(
    "guide",
    {
        **{name: GUIDES[name] for name in (*_OF_PAIRS, "flow", "hmc", "nuts")},
        "full_covariance": DENSE,
        **{name: autoguide_family(name) for name in AUTOGUIDES},
        "AutoLaplaceApproximation": LAPLACE,
        "AutoDelta": POINT,
        "pathfinder": PATHFINDER,
        "exact": EXACT,
        "quadrature": QUADRATURE,
        "pyro_nuts": PYRO_NUTS,
        **{name: named_flow_family(name) for name in FLOWS if name not in ("conv", "multiscale")},
    },
    hint="give a Pyro guide, or [(NAME, [SITE, …]), …]",
)
"""Names of guides for any Pyro model."""


def program_family(guide: Any, options: Mapping[str, Any]) -> tuple[str, Family, Mapping[str, Any]]:
    """Name, family and options of whatever stands for a guide of a program.

    A name of :data:`PROGRAM_GUIDES`, one of Pyro's autoguide classes, a list of names with the
    sites that each is for, a :class:`Family`, or a Pyro guide: a function or a module that is
    called like the model.
    """
    guide, options = PROGRAM_GUIDES.named(guide, options)
    if isinstance(guide, type) and issubclass(guide, AutoGuide):
        guide = guide.__name__
    if isinstance(guide, AutoDelta | AutoLaplaceApproximation):  # nothing of them is to be kept
        guide = type(guide).__name__
    if guide == "AutoDiscreteParallel":
        raise UsageError(
            "discrete latents are summed out exactly, so AutoDiscreteParallel has nothing to do: "
            "name a guide of the continuous ones"
        )
    if isinstance(guide, str):
        if guide in GUIDES and guide not in PROGRAM_GUIDES and guide in _ENCODERS:
            raise UsageError(f"the guide {guide} is of an encoder, and a Pyro model has none")
        if guide in GUIDES and guide not in PROGRAM_GUIDES:
            return guide, guide_family(guide)[1], options
        family = PROGRAM_GUIDES[guide]
        return (
            (guide, family, options) if guide in PROGRAM_GUIDES else program_family(family, options)
        )  # of a file
    if isinstance(guide, Family):
        return (*guide_family(guide), options)
    if isinstance(guide, Sequence):
        return "AutoGuideList", blocks(_checked_blocks(guide)), options
    if not callable(guide):
        raise UsageError(f"a guide is a name, a list of blocks or a Pyro guide; got {guide!r}")
    name = getattr(guide, "__name__", type(guide).__name__)
    learns = (
        not isinstance(guide, nn.Module)
        or isinstance(guide, AutoGuide)
        or any(p.requires_grad for p in guide.parameters())
    )

    def make(target: Any) -> SiteGuide:
        return SiteGuide(pair_of(target), guide, name=name)

    return name, Family(make, fitted=learns, objective="kl", lr=0.03), options


_ENCODERS = ("encoder", "refined", "amortised_flow")


def _checked_blocks(parts: Sequence[Any]) -> list[tuple[str, Sequence[str]]]:
    made: list[tuple[str, Sequence[str]]] = []
    for part in parts:
        if not isinstance(part, Sequence) or isinstance(part, str) or len(part) != 2:
            raise UsageError(f"a block is (NAME, [SITE, …]); got {part!r}")
        name, sites = part
        name = name.__name__ if isinstance(name, type) else name
        check_choice("autoguide", name, (*AUTOGUIDES, OF_POINTS))
        made.append((name, [sites] if isinstance(sites, str) else list(sites)))
    return made
