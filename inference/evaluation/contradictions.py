"""Numbers that cannot both be right: a lower bound above what it bounds is said to be wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping

from inference.evaluation.scores import Score
from inference.standard_error import with_error

__all__ = ["beyond", "contradiction", "without_contradictions"]

_DIGITS = 3
_ERRORS = 3.0
_ROUNDING = 1e-5  # of the numbers themselves: some hundred times that of float32
_SAME = ("unit", "measure", "given", "preparation", "data", "split", "num_data")


def beyond(excess: float, *, error: float, of: float) -> bool:
    """Whether the excess of a lower bound above its upper, nats, is more than chance explains.

    That is three of its standard ``error``, NaN counting as none, and the rounding of a number
    ``of`` that size.
    """
    known = 0.0 if math.isnan(error) else error
    return excess > _ERRORS * known + _ROUNDING * max(1.0, abs(of))


def contradiction(
    lower: tuple[str, float], upper: tuple[str, float], *, error: float
) -> str | None:
    """Why two numbers, each with its name, cannot both be right; ``None`` if they can."""
    excess = lower[1] - upper[1]
    if not beyond(excess, error=error, of=upper[1]):
        return None
    by = with_error(excess, 0.0 if math.isnan(error) else error, digits=_DIGITS)
    return (
        f"{lower[0]} {_number(lower[1])} is above {upper[0]} {_number(upper[1])} by {by}, "
        "more than its error: one is wrong"
    )


def without_contradictions(
    scores: Mapping[str, Score], absent: Mapping[str, str]
) -> tuple[dict[str, Score], dict[str, str]]:
    """Scores without lower bounds that are above an exact log p(x), and reasons for these too."""
    kept, reasons = dict(scores), dict(absent)
    exact = scores.get("log_likelihood")
    if exact is None or exact.kind != "exact":
        return kept, reasons
    for name in ("elbo", "importance_bound"):
        bound = scores.get(name)
        if bound is None or bound.kind != "lower bound":
            continue
        if any(getattr(bound, field) != getattr(exact, field) for field in _SAME):
            continue
        of_exact = ("the exact log p(x)", exact.value)
        error = bound.monte_carlo_error or 0.0
        if why := contradiction((name, bound.value), of_exact, error=error):
            del kept[name]
            reasons[name] = why
    return kept, reasons


def _number(value: float) -> str:
    return with_error(value, digits=_DIGITS).replace("-", "−")
