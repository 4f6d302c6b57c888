"""Which point a result is of: one that was asked for, perhaps with fewer digits, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gp_bo.optimize.space import Point
from gp_bo.optimize.state import State

__all__ = ["ROUNDED", "nearest_known", "observed_before", "observed_point"]

ROUNDED = 1e-3
"""How far a known point may be rounded, as a part of the width of a continuous input."""

_CLEARLY = 2.0  # times as far as the nearest is every other point, or which one is meant is open


def observed_point(state: State, given: Any) -> Point:
    """The point that a result counts for.

    A point that is equal to a pending one is that one; so is one that was evaluated, or is a
    candidate, exactly as it is written. Else it is the nearest pending point, if all continuous
    inputs are within a thousandth of their widths, whole numbers and categories are equal, and
    every other pending point is at least twice as far. Else it is a new point.

    Parameters
    ----------
    state
        What is pending, and what was evaluated.
    given
        A point, as a person or a program writes it.

    Raises
    ------
    UsageError
        If it does not fit the space.

    Examples
    --------
    >>> from gp_bo.optimize.space import space_from
    >>> state = State(space_from([(0, 10_000)]), pending=((4876.0,), (4879.0,), (17.25,)))
    >>> [observed_point(state, x) for x in (4879, 17.3, 4877.5)]
    [(4879.0,), (17.25,), (4877.5,)]
    """
    space = state.space
    apart = [space.distance(given, point) for point in state.pending]
    if 0.0 in apart:
        return state.pending[apart.index(0.0)]
    known = [e.point for e in state.evaluations]
    as_written = next((p for p in known if space.distance(given, p) == 0.0), None)
    if as_written is None and not space.is_candidate(given):
        found = nearest_known(apart)
        if found is not None:
            return state.pending[found]
    return space.check(given) if as_written is None else as_written


def nearest_known(apart: Sequence[float]) -> int | None:
    """The index of the nearest of some points, if it is near enough and clearly the nearest.

    Parameters
    ----------
    apart
        Distances to the points, of :meth:`gp_bo.optimize.Space.distance`. Equal ones are of the
        same point.
    """
    if not apart or min(apart) > ROUNDED:
        return None
    least = min(apart)
    others = [d for d in apart if d != least]
    return apart.index(least) if all(d >= _CLEARLY * least for d in others) else None


def observed_before(
    state: State, given: Sequence[Any], values: Sequence[float | None]
) -> list[bool]:
    """Which rows of a table that may be told again are evaluations already.

    A row is one if the value is equal and the point is, or is within a thousandth of it. Each
    evaluation is one row: nearest rows first. A row that is equal to a pending point is none.

    Parameters
    ----------
    state
        What was evaluated.
    given
        Points, as they are written.
    values
        Theirs; ``None`` for a failure.
    """
    space, pairs = state.space, []
    for i, (row, value) in enumerate(zip(given, values, strict=True)):
        if any(space.distance(row, point) == 0.0 for point in state.pending):
            continue
        for j, evaluation in enumerate(state.evaluations):
            if evaluation.value == value:
                apart = space.distance(row, evaluation.point)
                if apart < ROUNDED:
                    pairs.append((apart, i, j))
    rows: set[int] = set()
    used: set[int] = set()
    for _, i, j in sorted(pairs):
        if i not in rows and j not in used:
            rows.add(i)
            used.add(j)
    return [i in rows for i in range(len(given))]
