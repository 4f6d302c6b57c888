"""Which point to take in the end: the best under the model, not the luckiest value."""

from __future__ import annotations

from dataclasses import dataclass

from gp_bo.optimize.space import Point
from gp_bo.optimize.state import State
from gp_bo.optimize.surrogate import Surrogate

__all__ = ["Recommendation", "recommended"]


@dataclass(frozen=True)
class Recommendation:
    """A point, and what the model believes of the function there.

    Attributes
    ----------
    x
        Values of the inputs, in order.
    mean, standard_deviation
        Moments of the function without noise, in the unit of the values: the mixture over the draws
        of θ.
    """

    x: Point
    mean: float
    standard_deviation: float


def recommended(state: State, surrogate: Surrogate, shift: float, scale: float) -> Recommendation:
    """The evaluated point with the best posterior mean m = mean_s m_s.

    Parameters
    ----------
    state
        What was observed.
    surrogate
        The GP for it, of standardised values that are to be minimised.
    shift, scale
        value = shift + scale · standardised value.
    """
    points = [e.point for e in state.successes]
    means, variances = surrogate.moments(state.space.encode(points))
    mean = means.mean(0)
    variance = (variances + means.square()).mean(0) - mean.square()
    best = int(mean.argmin())
    spread = float(variance[best].clamp_min(0.0).sqrt())
    return Recommendation(points[best], shift + scale * float(mean[best]), abs(scale) * spread)
