"""Whether a bound that seems to stand still would rise further along the way it came.

A slow learning rate moves little in a window, so little is gained in it, and a rule that looks at
gains alone calls that convergence. Going on in the same direction many times as far does not hang
on the rate: where that gains more than the tolerance, the fit was on its way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from inference.posterior.paired import surely_higher

__all__ = ["FARTHER", "rising"]

FARTHER = (1.0, 4.0, 16.0, 64.0, 256.0)
"""How many times as far as it came a fit is moved on."""

Values = Mapping[str, Tensor]


def rising(
    bounds: Callable[[Values], Tensor], now: Values, before: Values, *, tolerance: float
) -> tuple[Tensor, dict[str, Tensor]]:
    """Try points beyond ``now`` on the line from ``before``.

    Parameters
    ----------
    bounds
        Samples of the bound of every row at parameters, (K, B), from the same noise each time.
    now, before
        Parameters by name, each with a row for each of the B fits.
    tolerance
        Nats.

    Returns
    -------
    rows, parameters
        Where a point's bound is higher than that of ``now`` by more than the tolerance and three
        standard errors of the paired difference, (B,), and the best parameters, ``now`` elsewhere.
    """
    here = bounds(now)
    best, last = torch.zeros_like(here[0]).double(), torch.zeros_like(here[0]).double()
    climbing = torch.ones_like(best, dtype=torch.bool)
    found = {name: value.clone() for name, value in now.items()}
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
        for name, value in tried.items():
            rows = better.reshape(-1, *(1,) * (value.dim() - 1))
            found[name] = torch.where(rows, value, found[name])
    return best > 0, found
