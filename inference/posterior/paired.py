"""Bounds of the same guides at several parameters, from the same noise: differences are sharp."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro
import torch
from torch import Tensor, nn

from inference.posterior.batch_bound import bounds_of
from inference.posterior.guides.per_datum import copy_parameters, for_data, where_rows
from inference.posterior.log_density import LogDensity
from pyro_models.seeds import seeded

__all__ = ["DRAWS", "FARTHER", "FEW", "Values", "paired_bounds", "rising", "surely_higher"]

DRAWS = 64
"""Samples z ~ q of each image and guide."""

FEW = 8
"""Samples of a first look, after which most images are in no doubt."""

FARTHER = (1.0, 4.0, 16.0, 64.0, 256.0)
"""How many times as far as it came a fit is moved on."""

_ERRORS = 3.0

Values = Mapping[str, Tensor]


def paired_bounds(
    target: LogDensity, guide: nn.Module, *, objective: str, at_once: int, draws: int = DRAWS
) -> Callable[[Values], Tensor]:
    """A function of a guide's parameters: samples of each image's bound, (K, B), nats.

    The guide, with a row of parameters for each image, stays as it is. Of the K draws (1 for a
    guide without noise) so many are in memory that images times samples are at most ``at_once``.
    """
    copy = for_data(guide, ..., len(target))
    draws = 1 if objective == "log_joint" else draws
    piece = max(1, min(draws, at_once // len(target)))

    @torch.no_grad()
    def bounds(values: Values) -> Tensor:
        copy_parameters(values, copy)
        with seeded(0, target.x.device), pyro.validation_enabled(False):
            counts = [min(piece, draws - i) for i in range(0, draws, piece)]
            parts = [bounds_of(target, copy, count, objective) for count in counts]
        return torch.cat(parts)

    return bounds


def surely_higher(there: Tensor, here: Tensor, *, tolerance: float) -> tuple[Tensor, Tensor]:
    """Mean gain of each image, (B,), and by how much it is more than the tolerance and its noise.

    Three standard errors of the paired difference of samples (K, B); −∞ where one is not finite.
    """
    gain = there.double() - here.double()
    noise = gain.std(0) / len(gain) ** 0.5 if len(gain) > 1 else torch.zeros_like(gain[0])
    mean = gain.mean(0)
    return mean, (mean - tolerance - _ERRORS * noise).nan_to_num(nan=-torch.inf)


def rising(
    bounds: Callable[[Values], Tensor], now: Values, before: Values, *, tolerance: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Where fits that seem to stand still would rise further along the way they came.

    A slow learning rate moves little in a window, so little is gained in it, and a rule that looks
    at gains alone calls that convergence. Going on in the same direction many times as far does not
    hang on the rate: where that gains more than the tolerance, the fit was on its way.

    Of parameters by name, each with a row for each of the B fits, ``bounds`` are samples of every
    row's bound, (K, B), from the same noise each time. Returned is where the bound of a point
    beyond ``now``, on the line from ``before``, is surely higher than that of ``now``, (B,), and
    the best parameters, ``now`` elsewhere.
    """
    here = bounds(now)
    best, last = torch.zeros_like(here[0]).double(), torch.zeros_like(here[0]).double()
    climbing = torch.ones_like(best, dtype=torch.bool)
    found = {**now}
    for times in FARTHER:
        tried = {name: value + times * (value - before[name]) for name, value in now.items()}
        try:
            there = bounds(tried)
        except torch.linalg.LinAlgError:  # no covariance any more: too far
            break
        mean, surely = surely_higher(there, here, tolerance=tolerance)
        climbing = climbing & (mean > last)  # beyond the top the line is not followed
        if not bool(climbing.any()):
            break
        last = mean
        better = climbing & (surely > best)
        best = torch.where(better, surely, best)
        found = {name: where_rows(better, z, found[name]) for name, z in tried.items()}
    return best > 0, found
