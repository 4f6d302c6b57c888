"""What runs of a Pyro model show: its latents, its data, its plates; and what cannot be handled."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to

from inference.programs.sites import Latent, Plate, is_improper, is_latent
from pyro_models import UsageError

__all__ = ["Sites", "check_arguments", "name_of_model", "note_subsamples", "sites_of"]


@dataclass(frozen=True)
class Sites:
    """The sites of a program by name: see :class:`inference.programs.program.Program`."""

    latents: dict[str, Latent] = field(default_factory=dict)
    discrete: dict[str, int] = field(default_factory=dict)
    observed: dict[str, Tensor] = field(default_factory=dict)
    plates: dict[str, Plate] = field(default_factory=dict)
    dims: dict[str, list[str]] = field(default_factory=dict)
    factors: list[str] = field(default_factory=list)


def name_of_model(model: Any) -> str:
    """What a model is called, within Pyro's handlers, which are partials of what they handle."""
    while isinstance(model, partial):
        model = next((a for a in reversed(model.args) if callable(a)), model.func)
    return str(getattr(model, "__name__", type(model).__name__))


def check_arguments(model: Callable[..., Any], args: Any, kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that are not those of the model, whose signature is said."""
    try:
        signature = inspect.signature(getattr(model, "forward", model))
    except (TypeError, ValueError):  # of something that Python cannot look into
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        raise UsageError(
            f"the model is called as {name_of_model(model)}{signature}, and {error}: give its data "
            "after the model"
        ) from error


def sites_of(trace: Trace, name_of: str) -> Sites:
    """All sites of a run of the model of that name."""
    found = Sites()
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site):
            continue
        for frame in site["cond_indep_stack"]:
            size = frame.full_size or frame.size
            found.plates[frame.name] = Plate(size, size, frame.dim)
        found.dims[name] = _dims(name, site)
        if is_latent(site):
            _note_latent(found, name, site)
        elif site["is_observed"] and not site["infer"].get("_deterministic"):
            if isinstance(site["fn"], dist.Unit):
                found.factors.append(name)
            else:
                found.observed[name] = _observed(name, site)
    if not found.latents:
        what = "only discrete latents, which are summed out" if found.discrete else "no latent"
        raise UsageError(
            f"the model {name_of} has {what}: there is nothing to infer; a latent is a pyro.sample "
            "without obs="
        )
    if not found.observed and not found.factors:
        raise UsageError(
            f"the model {name_of} observes nothing: give data to a pyro.sample by obs=, or use "
            "pyro.poutine.condition"
        )
    return found


def note_subsamples(sites: Sites, drawn: Trace) -> None:
    """How many data each plate draws, from a run in which plates draw."""
    for site in drawn.nodes.values():
        for frame in site.get("cond_indep_stack", ()):
            if frame.name in sites.plates and frame.vectorized:
                known = sites.plates[frame.name]
                sites.plates[frame.name] = Plate(known.size, frame.size, known.dim)


def _dims(name: str, site: Mapping[str, Any]) -> list[str]:
    shape = torch.as_tensor(site["value"]).shape
    batch = len(shape) - site["fn"].event_dim
    plates = {batch + f.dim: f for f in site["cond_indep_stack"] if f.vectorized}
    return [
        plates[i].name if i in plates and plates[i].size == size else f"{name}_dim_{i}"
        for i, size in enumerate(shape)
    ]


def _observed(name: str, site: Mapping[str, Any]) -> Tensor:
    value = torch.as_tensor(site["value"])
    wrong = ~value.isfinite()
    if site["mask"] is None and _is_masked(site["fn"]) is False and bool(wrong.any()):
        raise UsageError(
            f"the data of the site {name!r} hold {int(wrong.sum())} values that are NaN or "
            "infinite: leave them out, or mask them by pyro.poutine.mask"
        )
    return value.detach()


def _is_masked(fn: Any) -> bool:
    while isinstance(fn, dist.Independent):
        fn = fn.base_dist
    return isinstance(fn, dist.MaskedDistribution)


def _note_latent(found: Sites, name: str, site: Mapping[str, Any]) -> None:
    fn, value = site["fn"], site["value"]
    kind = type(fn).__name__
    if fn.support.is_discrete:
        if not fn.has_enumerate_support:
            raise UsageError(
                f"the latent {name!r} is discrete and has no finite number of values ({kind}), so "
                "it cannot be summed out: sum it out in the model"
            )
        found.discrete[name] = len(fn.enumerate_support(expand=False))
        return
    try:
        reals = biject_to(fn.support).inv(value)
    except NotImplementedError as error:
        raise UsageError(
            f"the latent {name!r} ({kind}) has a support that is no image of unconstrained reals: "
            "parametrise it otherwise"
        ) from error
    frames = {f.name: f.dim for f in site["cond_indep_stack"] if f.vectorized}
    proper = not is_improper(fn)
    latent = Latent(value.shape, reals.shape, value.dtype, value.device, frames, proper)
    found.latents[name] = latent
