"""The next point of a search, from the design or the acquisition; and which to take in the end."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gp_bo.optimize.acquisition import Acquisition
from gp_bo.optimize.designs import LISTED, all_points, design_points
from gp_bo.optimize.region import Region
from gp_bo.optimize.space import Point, Space
from gp_bo.optimize.state import State
from gp_bo.optimize.surrogate import Surrogate
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.seeds import seeded, stream

__all__ = ["Recommendation", "by_acquisition", "from_design", "recommended"]


def from_design(state: State, *, initial: int) -> Point | None:
    """The next point of the design, or ``None`` once it has given enough values.

    Enough are ``initial``, among which points that are pending count. When every point of the space
    was tried, and fewer than two have a value, there is no next one.

    >>> from gp_bo.optimize.space import space_from
    >>> levels = space_from({"level": ["low", "high"]})
    >>> from_design(State(levels, settings={"design": "sobol"}), initial=5)
    ('low',)
    """
    enough_for_a_model = len(state.successes) > 1
    if enough_for_a_model and len(state.successes) + len(state.pending) >= initial:
        return None
    tried = set(state.tried)
    count = state.asked + len(tried) + 1
    design = state.settings["design"]
    points = design_points(state.space, count, seed=state.seed, design=design)[state.asked :]
    point = next((point for point in points if point not in tried), None)
    if point is None and not enough_for_a_model:
        raise UsageError("every point of the space was tried, and fewer than two have a value")
    return point


def by_acquisition(state: State, surrogate: Surrogate, acquire: Acquisition) -> Point:
    """The best point under an acquisition function, which draws from a stream of its own.

    Where a point is pending, the surrogate believes its own mean. Where every point of a finite
    space was tried, and none may be again, that is refused.
    """
    space, avoided = state.space, state.tried
    if state.settings["repeats"]:  # only those that failed are not asked for again
        avoided = tuple(e.point for e in state.evaluations if e.value is None)
    pending = space.encode(state.pending).to(surrogate.device)
    if len(pending):
        surrogate = surrogate.believing(pending)
    allowed: Tensor | None = None  # but for a small finite space
    if space.candidates is not None or space.size <= LISTED:
        out = set(avoided)
        left = [point for point in all_points(space) if point not in out]
        if not left:
            raise UsageError("every point of the space was tried")
        allowed = space.encode(left)
    tried, best = space.encode(avoided), surrogate.best_points(5)
    region = Region(space, tried=tried, best=best, allowed=allowed)
    seed = stream(state.seed, f"acquisition {state.asked}")
    with seeded(seed, surrogate.device):
        unit = acquire(surrogate, region, seed=seed)
    [point] = space.decode(unit[None])
    return point


@dataclass(frozen=True)
class Recommendation(Brief):
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
