"""Whether a bound that seems to stand still would rise further along the way it came.

A slow learning rate moves little in a window, so little is gained in it, and a rule that looks at
gains alone calls that convergence. Going on in the same direction many times as far does not hang
on the rate: where that gains more than the tolerance, the fit was on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from inference.posterior.guides.per_datum import where_rows
from inference.posterior.paired import surely_higher

__all__ = ["FARTHER", "Values", "rising"]

FARTHER = (1.0, 4.0, 16.0, 64.0, 256.0)
"""How many times as far as it came a fit is moved on."""

Values = Mapping[str, Tensor]


def rising(
    bounds: Callable[[Values], Tensor], now: Values, before: Values, *, tolerance: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Try points beyond ``now`` on the line from ``before``.

    Of parameters by name, each with a row for each of the B fits, ``bounds`` are samples of every
    row's bound, (K, B), from the same noise each time. Returned is where a point's bound is higher
    than that of ``now`` by more than the tolerance and three standard errors of the paired
    difference, (B,), and the best parameters, ``now`` elsewhere.
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
