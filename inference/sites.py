"""The sites of a trace as log densities, per particle and datum; enumerated ones are summed out."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pyro
from pyro import poutine
from pyro.distributions import TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_models import UsageError
from pyro_models.data import Observed
from pyro_models.pair import DATA_PLATE

__all__ = [
    "Site",
    "check_same_sites",
    "density_sites",
    "enumeration",
    "is_enumerated",
    "joint_of",
    "log_prob_of",
    "may_be_enumerated",
    "summed_out",
    "traced",
]

_PARTICLE_DIM = -2
_ENUMERATION_DIM = -3

Site = dict[str, Any]


def enumeration() -> EnumMessenger:
    """Runs a model with its enumerated sites in dimensions left of the particles'."""
    return poutine.enum(first_available_dim=_ENUMERATION_DIM)


def traced(
    program: Callable[..., Any],
    data: Observed,
    num_particles: int,
    *,
    enum: EnumMessenger | None = None,
) -> poutine.Trace:
    """A run of a model or guide on data, K times for each, in a plate left of that over data."""
    plate = pyro.plate("_particles", num_particles, dim=_PARTICLE_DIM, device=data.x.device)
    with plate, enum or nullcontext():
        return poutine.trace(program).get_trace(data.x, **data.conditions)


def density_sites(trace: poutine.Trace) -> dict[str, Site]:
    """Sample sites with a density; every one must lie inside the data plate."""
    sites = {}
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site):
            continue
        if site["infer"].get("_deterministic"):
            continue
        if all(frame.name != DATA_PLATE for frame in site["cond_indep_stack"]):
            raise UsageError(
                f"site {name!r} is outside the plate {DATA_PLATE!r}, so no weight per "
                f"datum exists; sample it inside pyro.plate({DATA_PLATE!r}, len(x), dim=-1)"
            )
        sites[name] = site
    return sites


def check_same_sites(guide: poutine.Trace, model: poutine.Trace) -> None:
    """Refuse a latent that the guide does not sample, and one that the model has not, by name.

    The first would be drawn from the prior and weighed as if it were not, the second the other way
    round. Enumerated sites may be left to the model, and auxiliary ones to the guide. The traces
    are of the same data.
    """
    for name, site in model.nodes.items():
        if name not in guide.nodes and _is_latent(site) and not site["infer"].get("enumerate"):
            raise UsageError(
                f"the guide does not sample the latent {name!r} of the model: sample it there, too"
            )
    for name, site in guide.nodes.items():
        own = name not in model.nodes and _is_latent(site)
        if own and not site["infer"].get("is_auxiliary"):
            raise UsageError(
                f"the guide samples {name!r}, and the model has no such site: sample it there, "
                'too, or mark it infer={"is_auxiliary": True}'
            )


def _is_latent(site: Site) -> bool:
    if site["type"] != "sample" or site["is_observed"] or site_is_subsample(site):
        return False
    return not site["infer"].get("_deterministic")


def log_prob_of(site: Site) -> Tensor:
    """log density of a site, (…, K, B): masked, not scaled."""
    fn: TorchDistribution = site["fn"]
    return scale_and_mask(fn.log_prob(site["value"]), 1.0, site["mask"])


def may_be_enumerated(site: Site) -> bool:
    """Whether a latent site is marked to be summed out, if the guide does not sample it."""
    return not site["is_observed"] and site["infer"].get("enumerate") == "parallel"


def is_enumerated(log_prob: Tensor) -> bool:
    """Whether a log density varies along a dimension left of the particles'."""
    return log_prob.dim() > 2 and math.prod(log_prob.shape[:-2]) > 1


def summed_out(terms: list[Tensor]) -> list[Tensor]:
    """log Σ over the enumerated sites of the terms that depend on them: one term, or none."""
    enumerated = [term for term in terms if is_enumerated(term)]
    if not enumerated:
        return []
    joint = sum(enumerated[1:], enumerated[0])
    return [joint.logsumexp(tuple(range(joint.dim() - 2)))]


def joint_of(terms: list[Tensor], zero: Tensor, shape: tuple[int, int]) -> Tensor:
    """Sum of log densities, broadcast to (K, B)."""
    total = sum(terms[1:], terms[0]) if terms else zero
    return total.reshape(total.shape[-2:]).expand(shape)
