"""Which point a result is of: one that was asked for, perhaps with fewer digits, or a new one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gp_bo.optimize.space import Point
from gp_bo.optimize.state import State

__all__ = ["ROUNDED", "observed_before", "observed_point"]

ROUNDED = 1e-3
"""How far a known point may be rounded, as a part of the width of a continuous input."""

_CLEARLY = 2.0  # times as far as the nearest is every other point, or which one is meant is open


def observed_point(state: State, given: Any) -> Point:
    """The point that a result counts for, of what a person or a program writes.

    A point that is equal to a pending one is that one; so is one that was evaluated, or is a
    candidate, exactly as it is written. Else it is the nearest pending point, if all continuous
    inputs are within a thousandth of their widths, whole numbers and categories are equal, and
    every other pending point is at least twice as far. Else it is a new point, and fits the space.

    >>> from gp_bo.optimize.space import space_from
    >>> state = State(space_from([(0, 10_000)]), pending=((4876.0,), (4879.0,), (17.25,)))
    >>> [observed_point(state, x) for x in (4879, 17.3, 4877.5)]
    [(4879.0,), (17.25,), (4877.5,)]
    """
    space = state.space
    apart = [space.distance(given, point) for point in state.pending]
    if 0.0 in apart:
        return state.pending[apart.index(0.0)]
    for evaluation in state.evaluations:
        if space.distance(given, evaluation.point) == 0.0:
            return evaluation.point
    nearest = None if space.is_candidate(given) else _nearest(apart)
    return space.check(given) if nearest is None else state.pending[nearest]


def _nearest(apart: Sequence[float]) -> int | None:
    """The index of the least distance, if it is small enough and clearly the least.

    Equal ones are of the same point.
    """
    least = min(apart, default=ROUNDED + 1)
    clear = all(d >= _CLEARLY * least for d in apart if d != least)
    return apart.index(least) if least <= ROUNDED and clear else None


def observed_before(
    state: State, given: Sequence[Any], values: Sequence[float | None]
) -> list[bool]:
    """Which rows of a table, points as they are written and values, are evaluations already.

    A row is one if the value is equal and the point is, or is within a thousandth of it. Each
    evaluation is one row: nearest rows first. A row that is equal to a pending point is none.
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
