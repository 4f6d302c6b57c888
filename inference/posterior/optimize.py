"""Ψ* = argmax E_q[log p(x_seen | z)] − KL(q ‖ p) of every image, all images at once.

No fit is worse than where it began, nor than that of a family that its own contains.
"""

from __future__ import annotations

from collections.abc import Callable

import pyro
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
from inference.posterior.paired import paired_bounds
from inference.posterior.separate_fits import Record, SeparateFits
from inference.posterior.shared_fit import SharedFit
from inference.progress import bar
from pyro_models.seeds import same_generators

__all__ = ["at_least_the_contained", "optimize"]

MORE = (16, 256, 4096)
"""Draws of each look, for the images only that the one before left open."""


def optimize(target: LogDensity, guide: nn.Module, settings: Fitting) -> Outcome:
    """Fit a guide in place, at most ``settings.chunk`` images at a time.

    Images whose bound has stopped rising leave the batch; those that remain go on in a smaller one,
    with their rows of the optimiser's state. They are put back to where they began if that was
    better than where they ended; those that left the numbers stay where they were last finite.
    Where a guide's weights are shared by the images (amortised) no image can leave alone: all are
    fitted until their mean bound has stopped rising.
    """
    size, chunk = len(target), settings.chunk
    outcome = Outcome(torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long))
    separate, began = is_per_datum(guide, size), for_data(guide, ..., size)
    by_step = not separate or size == 1  # of one, how far it is at most; it may end before
    unit = "steps" if by_step else "images" if target.x.dim() == 4 else "data"
    total = settings.max_steps if by_step else size
    shown = bar(total, unit=unit, what="fitting", shown=settings.progress)
    with shown as done, torch.enable_grad(), pyro.validation_enabled(False):
        if not separate:
            SharedFit(target, guide, settings).run(outcome, stepped=done.update)
            return outcome
        for i in range(0, size, chunk):
            rows = torch.arange(i, min(i + chunk, size), device=target.x.device)
            part, record = for_data(guide, rows, size), Record(guide, outcome, rows, done, by_step)
            SeparateFits(target.select(rows), part, settings, record=record).run()
    if settings.density and settings.objective != "log_joint":
        finite = (outcome.reason != REASONS.index(NON_FINITE)).to(target.x.device)
        rows = _better(target, guide, began, finite.nonzero().flatten(), settings)
        copy_parameters(parameters_of(began, rows), guide, rows)
    return outcome


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
        again = for_data(embedded, rows, len(target))
        found = optimize(target.select(rows), again, settings)
    copy_parameters(parameters_of(again), guide, rows)
    reason, steps = outcome.reason.clone(), outcome.steps.clone()
    reason[rows.cpu()], steps[rows.cpu()] = found.reason, found.steps  # of the fit that is kept
    return Outcome(reason, steps)


def _better(
    target: LogDensity, guide: nn.Module, other: nn.Module, rows: Tensor, settings: Fitting
) -> Tensor:
    """Those of some images whose bound is higher at another guide's, in more and more draws."""
    at_once = settings.chunk * settings.num_particles
    for draws in MORE:
        if not len(rows):
            break
        part, own = target.select(rows), for_data(guide, rows, len(target))
        bounds = paired_bounds(part, own, objective="path", at_once=at_once, draws=draws)
        there, here = bounds(parameters_of(other, rows)), bounds(parameters_of(guide, rows))
        rows = rows[(there.double() - here.double()).mean(0) > settings.rule.min_improvement]
    return rows
