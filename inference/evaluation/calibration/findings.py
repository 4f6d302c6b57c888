"""What ranks say of a posterior, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from inference.evaluation.calibration.ranks import Ranks
from inference.standard_error import with_error

__all__ = ["DENSITY", "LOG_LIKELIHOOD", "TARP", "adjusted", "found_in"]

LOG_LIKELIHOOD, DENSITY, TARP = "log_likelihood", "log_q", "tarp"

SURE = 2.58
"""Standard errors beyond which a shift or a width is named, once ranks are not uniform."""

_TOO_SMALL = "credible regions hold the truth less often than they say"
_TOO_LARGE = "credible regions hold the truth more often than they say"


def adjusted(p_values: list[float]) -> list[float]:
    """p-values of several tests, so that one in all is wrong with the level's chance (Holm 1979).

    >>> adjusted([0.01, 0.04, 0.5])
    [0.03, 0.08, 0.5]
    """
    order, m, largest = np.argsort(p_values, kind="stable"), len(p_values), 0.0
    found = [1.0] * m
    for i, j in enumerate(order):
        largest = max(largest, min(1.0, (m - i) * p_values[j]))
        found[j] = largest
    return found


def found_in(ranks: Ranks, *, uniform: bool, symmetric: bool) -> Iterator[str]:
    """What is wrong with the posterior of one quantity, given which of the tests ranks pass."""
    if uniform and symmetric:
        return
    shift, width = ranks.shift, ranks.width
    is_shifted = not symmetric or abs(shift[0]) > SURE * shift[1]
    is_other = not uniform and abs(ranks.log_width[0]) > SURE * ranks.log_width[1]
    if ranks.name == LOG_LIKELIHOOD:
        fit, place = ("better", "close to") if shift[0] > 0 else ("worse", "far from")
        yield f"draws fit the data {fit} than the truth does: they are too {place} the best fit"
    elif ranks.name == DENSITY:  # a truth of low density lies outside regions of high density
        yield _TOO_SMALL if shift[0] > 0 else _TOO_LARGE
    elif ranks.name == TARP:
        coverage = _TOO_SMALL if width[0] < 1 else _TOO_LARGE
        yield coverage if is_other else "draws are not where the truth is"
    else:
        if is_shifted:
            where = "upwards" if shift[0] > 0 else "downwards"
            by = with_error(abs(shift[0]), shift[1], digits=2)
            yield f"shifted {where} by {by} of its own standard deviations"
        if is_other:
            what = "narrow" if width[0] < 1 else "wide"
            of = with_error(*width, digits=2)
            yield f"standard deviations too {what}, {of} times what they should be"
            if symmetric and not is_shifted:
                yield "no bias found"
        if not is_shifted and not is_other:
            yield "of another shape than the posterior, though neither shifted nor of other width"
