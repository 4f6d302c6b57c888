"""A guide of a family, fitted to the data of a pair, as a posterior."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from inference.chunks import chunk_size
from inference.denormals import denormals_flushed
from inference.isolated import evaluating
from inference.posterior.continuous import check_free, needs_continuous
from inference.posterior.guides import Family
from inference.posterior.guides.encoder import PRIOR
from inference.posterior.guides.per_datum import detached, for_data, is_per_datum
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import Fitting, Optimization, Outcome
from inference.posterior.optimize import at_least_the_contained, optimize
from inference.posterior.posterior import Posterior
from inference.posterior.start import with_initial_values, with_prior
from inference.progress import showing
from inference.sites import traced
from pyro_models import Pair, UsageError
from pyro_models.device import device_of
from pyro_models.observed import Observed
from pyro_models.seeds import seeded, stream

__all__ = ["NOT_FITTED", "frozen", "posterior_of"]

NOT_FITTED = "not fitted"


def posterior_of(
    pair: Pair,
    observe: Callable[[], Observed],
    family: Family,
    given: Optimization,
    *,
    name: str,
    options: Mapping[str, Any],
) -> Posterior:
    """A guide of the family, with options of its own, for the data that ``observe`` returns."""
    began = time.perf_counter()
    chunk = chunk_size(pair, each=given.num_particles)  # whatever memory there is: the same noise
    settings = Fitting(**vars(given), chunk=chunk)
    noise = seeded(stream(given.seed, "infer"), device_of(pair))
    with evaluating(pair), frozen(pair), noise, denormals_flushed(), showing(given.progress):
        needs_continuous(pair)
        if family.fitted or not family.density or family is PRIOR:
            check_free(pair)
        images = with_prior(pair, observe())
        if family.fitted:
            images = with_initial_values(images, given)
        module, outcome = _fitted(images, family, settings, name=name, options=options)
        module = detached(module)
    return Posterior(
        target=images,
        guide=module,
        name=name,
        density=family.density,
        stopped=outcome.reasons if outcome else (NOT_FITTED,) * len(images),
        steps=outcome.steps if outcome else torch.zeros(len(images), dtype=torch.long),
        seconds=time.perf_counter() - began,
        num_parameters=sum(p.numel() for p in module.parameters()) / len(images),
        seed=given.seed,
        max_elements=given.max_elements,
    )


def _fitted(
    images: LogDensity,
    family: Family,
    settings: Fitting,
    *,
    name: str,
    options: Mapping[str, Any],
) -> tuple[nn.Module, Outcome | None]:
    """A guide of the family, and how its fit ended if it was one."""

    def of(other: Family) -> tuple[nn.Module, Outcome | None]:
        return _fitted(images, other, replace(settings, lr=None), name=name, options={})

    start, before = (None, None) if family.begins_with is None else of(family.begins_with)
    guide = family(images, options, name=name, start=start)
    _check_sites(images, guide, name)
    outcome = None
    if family.fitted:
        own = settings.of_family(family)
        outcome = optimize(images, guide, own)
        if before is not None:
            outcome = Outcome(outcome.reason, outcome.steps + before.steps)
        smaller = family.contains
        if smaller is not None and is_per_datum(guide, len(images)):
            outcome = at_least_the_contained(
                images, guide, outcome, own, family=family, contained=lambda: of(smaller)[0]
            )
    return guide if family.finish is None else family.finish(images, guide), outcome


@contextmanager
def frozen(pair: Pair) -> Iterator[None]:
    """No gradient to any parameter of the pair inside; as before afterwards."""
    learned = [p for p in pair.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)


@torch.no_grad()
def _check_sites(target: LogDensity, guide: nn.Module, name: str) -> None:
    """Run a guide on the first image, and refuse one that leaves out a continuous site."""
    own_rows = is_per_datum(guide, len(target)) or getattr(guide, "shared", False)
    first = target.select(slice(0, 1)) if own_rows else target  # some weights shared, some not
    part = for_data(guide, slice(0, 1), len(target)) if own_rows else guide
    trace = traced(part, first.data, 2)
    missing = [site for site in target.prior if site not in trace.nodes]
    if missing:
        raise UsageError(f"the guide {name} does not sample the latent {', '.join(missing)}")
