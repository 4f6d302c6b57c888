"""A family that contains another is fitted no worse than that one is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from inference.posterior.guides.family import Family
from inference.posterior.guides.per_datum import (
    copy_parameters,
    for_data,
    is_per_datum,
    parameters_of,
)
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import NON_FINITE, REASONS, Fitting, Outcome
from inference.posterior.optimize import optimize
from inference.posterior.paired import paired_bounds
from pyro_models.seeds import same_generators

__all__ = ["at_least_the_contained", "at_least_the_start"]

MORE = (16, 256, 4096)
"""Draws of each look, for the images only that the one before left open."""


def at_least_the_contained(
    target: LogDensity,
    guide: nn.Module,
    outcome: Outcome,
    settings: Fitting,
    *,
    family: Family,
    contained: Callable[[], nn.Module],
) -> Outcome:
    """Fit images again, from the member of the contained family, where that one is better.

    An optimisation may end at a local optimum that a smaller family has no part in. Where the fit
    is better than the contained family's by no less than the tolerance and noise, nothing changes.
    The guide of the images, of the family, that was fitted with that outcome is changed in place;
    ``contained`` fits a guide of the contained family.
    """
    assert family.within is not None
    with same_generators(target.x.device):
        embedded = family.within(target, guide, contained())
        rows = torch.arange(len(target), device=target.x.device)
        rows = _better(target, guide, embedded, rows, settings)
        if not len(rows):
            return outcome
        part, again = target.select(rows), for_data(embedded, rows, len(target))
        found = optimize(part, again, settings)
        at_least_the_start(part, again, for_data(embedded, rows, len(target)), found, settings)
    copy_parameters(parameters_of(again), guide, rows)
    reason, steps = outcome.reason.clone(), outcome.steps.clone()
    reason[rows.cpu()], steps[rows.cpu()] = found.reason, found.steps  # of the fit that is kept
    return Outcome(reason, steps)


def at_least_the_start(
    target: LogDensity,
    guide: nn.Module,
    start: nn.Module,
    outcome: Outcome,
    settings: Fitting,
) -> None:
    """Put images back to where their fit began if that was better than where it ended.

    Those that left the numbers stay where they were last finite.
    """
    if not is_per_datum(guide, len(target)):
        return
    finite = (outcome.reason != REASONS.index(NON_FINITE)).to(target.x.device)
    rows = _better(target, guide, start, finite.nonzero().flatten(), settings)
    if len(rows):
        copy_parameters(parameters_of(start, rows), guide, rows)


def _better(
    target: LogDensity, guide: nn.Module, other: nn.Module, rows: Tensor, settings: Fitting
) -> Tensor:
    """Those of some images whose bound is higher at another guide's, in more and more draws."""
    at_once = settings.chunk * settings.num_particles
    for draws in MORE if len(rows) else ():
        part, own = target.select(rows), for_data(guide, rows, len(target))
        bounds = paired_bounds(part, own, objective="path", at_once=at_once, draws=draws)
        there, here = bounds(parameters_of(other, rows)), bounds(parameters_of(guide, rows))
        rows = rows[(there.double() - here.double()).mean(0) > settings.rule.tolerance]
        if not len(rows):
            break
    return rows
