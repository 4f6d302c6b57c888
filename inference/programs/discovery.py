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
from torch.distributions import biject_to, constraints

from inference.programs.apart import said
from inference.programs.densities import counted, innermost, is_flat, log_prob_of, shown
from inference.programs.sites import Latent, Plate, is_latent
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
    fn, value = site["fn"], site["value"]
    counts, wrong = counted(site), ~value.isfinite()
    wrong = wrong if counts is None else wrong & counts
    if bool(wrong.any()):
        raise UsageError(
            f"the data of the site {name!r} hold {int(wrong.sum())} values that are NaN or "
            "infinite: leave them out, or mask them by pyro.poutine.mask"
        )
    kind = type(innermost(fn)).__name__
    try:
        found = log_prob_of(site)
    except Exception as error:  # of whatever kind the distribution makes of it
        raise UsageError(
            f"the data of the site {name!r} have the shape {tuple(value.shape)}, and its "
            f"distribution ({kind}) is of {tuple(fn.shape())}: {type(error).__name__}: "
            f"{said(error)}"
        ) from error
    whole = torch.broadcast_shapes(value.shape, fn.shape())
    if whole not in (value.shape, fn.shape()):
        raise UsageError(
            f"the data of the site {name!r} have the shape {tuple(value.shape)}, and its "
            f"distribution ({kind}) is of {tuple(fn.shape())}: together they would be of "
            f"{tuple(whole)}, every one with every other; give both the same shape"
        )
    _check_plates(name, site, found.shape)
    _check_support(name, site, kind)
    return value.detach()


def _check_plates(name: str, site: Mapping[str, Any], shape: torch.Size) -> None:
    """Refuse a site in plates with a dimension that is of none of them, as Pyro does."""
    plates = {f.dim: f for f in site["cond_indep_stack"] if f.vectorized}
    extra = [d for d in range(-len(shape), 0) if shape[d] > 1 and d not in plates]
    if plates and extra:
        named = ", ".join(f"{f.name} ({f.size}, dim={dim})" for dim, f in plates.items())
        raise UsageError(
            f"the site {name!r} has log densities of shape {tuple(shape)}, and stands in the "
            f"plates {named}: dim {extra[-1]} is in no plate; look at its shapes, or give that "
            "dimension a pyro.plate or to_event"
        )


def _check_support(name: str, site: Mapping[str, Any], kind: str) -> None:
    """Refuse data that no value of the latents makes possible.

    Between 0 and 1 a Bernoulli has the cross entropy, which some take for its density. Where the
    support hangs on latents, impossible data have the density 0.
    """
    fn = site["fn"]
    support = type(innermost(fn)).support
    counts = isinstance(innermost(fn), dist.Binomial | dist.Categorical | dist.BetaBinomial)
    if counts:
        support = innermost(fn).support
    if constraints.is_dependent(support) or support.event_dim:
        return
    support = constraints.unit_interval if support is constraints.boolean else support
    value = shown(site)
    wrong = ~support.check(value)
    if bool(wrong.any()):
        first = float(value.expand(wrong.shape)[wrong][0])
        raise UsageError(
            f"the data of the site {name!r} hold {int(wrong.sum())} values that {kind} cannot "
            f"have, such as {first:.4g}: look at their scale, or take another distribution"
        )


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
    _check_plates(name, site, fn.batch_shape)
    frames = {f.name: f.dim for f in site["cond_indep_stack"] if f.vectorized}
    proper = not is_flat(site)
    latent = Latent(value.shape, reals.shape, value.dtype, value.device, frames, proper)
    found.latents[name] = latent
