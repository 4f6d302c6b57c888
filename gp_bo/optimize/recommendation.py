"""Which point to take in the end: the best under the model, not the luckiest value."""

from __future__ import annotations

from dataclasses import dataclass

from gp_bo.optimize.space import Point, Space
from gp_bo.optimize.state import State
from gp_bo.optimize.surrogate import Surrogate

__all__ = ["Recommendation", "recommended"]


@dataclass(frozen=True)
class Recommendation:
    """A point, values of the inputs in order, and what the model believes of the function there.

    Moments are of the function without noise, in the unit of the values, mixed over the draws of θ.
    """

    x: Point
    mean: float
    standard_deviation: float

    def described(self, space: Space) -> str:
        """What it is, in a line."""
        found = f"{self.mean:.6g} ± {self.standard_deviation:.2g}: {space.describe_point(self.x)}"
        return f"recommended, by the posterior mean {found}"


def recommended(state: State, surrogate: Surrogate) -> Recommendation:
    """The evaluated point with the best posterior mean m = mean_s m_s, under the state's GP."""
    points = [e.point for e in state.successes]
    mean, variance = surrogate.mixture(state.space.encode(points))
    best = int(mean.argmin())
    spread = float(variance[best].clamp_min(0.0).sqrt())
    shift, scale = state.standardization
    return Recommendation(points[best], shift + scale * float(mean[best]), abs(scale) * spread)
