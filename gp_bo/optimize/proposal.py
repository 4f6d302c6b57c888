"""The next point of a search: from the design, then where the acquisition is best."""

from __future__ import annotations

from torch import Tensor

from gp_bo.optimize.acquisition import Acquisition
from gp_bo.optimize.designs import LISTED, all_points, design_points
from gp_bo.optimize.region import Region
from gp_bo.optimize.space import Point
from gp_bo.optimize.state import State
from gp_bo.optimize.surrogate import Surrogate
from pyro_models import UsageError
from pyro_models.seeds import seeded, stream

__all__ = ["by_acquisition", "from_design"]


def from_design(state: State, *, initial: int) -> Point | None:
    """The next point of the design, or ``None`` once it has given enough values.

    Parameters
    ----------
    state
        What was tried, and the name of the design.
    initial
        Number of values that the design is to give; points that are pending count as such.

    Raises
    ------
    UsageError
        If every point of the space was tried, and fewer than two have a value.

    Examples
    --------
    >>> from gp_bo.optimize.space import space_from
    >>> levels = space_from({"level": ["low", "high"]})
    >>> from_design(State(levels, settings={"design": "sobol"}), initial=5)
    ('low',)
    """
    enough_for_a_model = len(state.successes) > 1
    if enough_for_a_model and len(state.successes) + len(state.pending) >= initial:
        return None
    tried = set(state.tried)
    design = state.settings["design"]
    count = state.asked + len(tried) + 1
    points = design_points(state.space, count, seed=state.seed, design=design)
    for point in points[state.asked :]:
        if point not in tried:
            return point
    if enough_for_a_model:
        return None
    raise UsageError("every point of the space was tried, and fewer than two have a value")


def by_acquisition(state: State, surrogate: Surrogate, acquire: Acquisition) -> Point:
    """The best point under an acquisition function, which draws from a stream of its own.

    Parameters
    ----------
    state
        What was tried. Where a point is pending, the surrogate believes its own mean.
    surrogate
        The GP for what was told.
    acquire
        The acquisition function.

    Raises
    ------
    UsageError
        If every point of a finite space was tried, and none may be again.
    """
    space = state.space
    pending = space.encode(state.pending).to(surrogate.device)
    if len(pending):
        surrogate = surrogate.believing(pending)
    region = Region(
        space,
        tried=space.encode(_avoided(state)),
        best=surrogate.best_points(5),
        allowed=_allowed(state),
    )
    seed = stream(state.seed, f"acquisition {state.asked}")
    with seeded(seed, surrogate.device):
        unit = acquire(surrogate, region, seed=seed)
    [point] = space.decode(unit[None])
    return point


def _avoided(state: State) -> tuple[Point, ...]:
    """Points not to be asked for again: all that were tried or, with repeats, those that failed."""
    if not state.settings["repeats"]:
        return state.tried
    return tuple(e.point for e in state.evaluations if e.value is None)


def _allowed(state: State) -> Tensor | None:
    """Points of a small finite space that may still be asked for; else ``None``."""
    space = state.space
    if space.candidates is None and space.size > LISTED:
        return None
    avoided = set(_avoided(state))
    left = [point for point in all_points(space) if point not in avoided]
    if not left:
        raise UsageError("every point of the space was tried")
    return space.encode(left)
