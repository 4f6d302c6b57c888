"""What may be varied: boxes, whole numbers, categories, or a finite set of candidates."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gp_bo.optimize.inputs import Categorical, Continuous, Input, input_from
from pyro_models import UsageError
from pyro_models.brief import Brief

__all__ = ["Point", "Space", "space_from"]

Point: TypeAlias = tuple[Any, ...]
"""Values of the inputs in their order: float, int, or a category's text."""

SAME = 1e-6  # of the width of an input: two points this near are one


@dataclass(frozen=True)
class Space(Brief):
    """The inputs of a function, and their map to the unit cube that the GP works in.

    A continuous input and an integer take one column, scaled to [0, 1]; a categorical input takes
    one column for each category, one of them 1 (one-hot).

    Attributes
    ----------
    inputs
        By name, in order.
    candidates
        If given, the only points there are.

    Examples
    --------
    >>> from gp_bo.optimize.inputs import Continuous, Integer
    >>> space = Space({"heat": Continuous(20, 80), "cups": Integer(1, 3)})
    >>> space.encode([(50.0, 2)])
    tensor([[0.5000, 0.5000]], dtype=torch.float64)
    >>> space.decode(torch.tensor([[0.25, 0.9]]))
    [(35.0, 3)]
    """

    inputs: Mapping[str, Input]
    candidates: tuple[Point, ...] | None = None

    def __post_init__(self) -> None:
        if not self.inputs:
            raise UsageError("a space needs at least one input")
        if self.candidates is not None:
            if not self.candidates:
                raise UsageError("a finite set of candidates needs at least one point")
            checked = tuple(dict.fromkeys(self._plain(point) for point in self.candidates))
            object.__setattr__(self, "candidates", checked)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs."""
        return tuple(self.inputs)

    @property
    def columns(self) -> int:
        """D, columns of the unit cube."""
        return sum(each.columns for each in self.inputs.values())

    @property
    def is_numeric(self) -> bool:
        """Whether every input is a number."""
        return not any(isinstance(each, Categorical) for each in self.inputs.values())

    @property
    def free(self) -> Tensor:
        """(D,) bool: columns that move continuously."""
        listed = self.candidates is not None
        flags = [
            isinstance(each, Continuous) and not listed
            for each in self.inputs.values()
            for _ in range(each.columns)
        ]
        return torch.tensor(flags)

    @property
    def size(self) -> float:
        """Number of points; infinite with a continuous input and no set of candidates."""
        if self.candidates is not None:
            return float(len(self.candidates))
        return math.prod(each.count for each in self.inputs.values())

    def check(self, point: Any) -> Point:
        """A point as a tuple of plain values.

        It may be a mapping of names to values, a sequence of values, or one number if there is one
        input.

        Raises
        ------
        UsageError
            If it does not fit the inputs, or is none of the candidates.
        """
        checked = self._plain(point)
        if self.candidates is None or checked in self.candidates:
            return checked
        # written with fewer digits, say, than the candidate has
        [nearest] = self.decode(self.encode([checked]))
        if (self.encode([nearest]) - self.encode([checked])).abs().max() > SAME:
            raise UsageError(f"{self.describe_point(checked)} is none of the candidates")
        return nearest

    def distance(self, given: Any, point: Point) -> float:
        """How far what is written is from a point of this space: the largest over the inputs.

        0 if it is that point; of a continuous input the difference over its width (of logarithms,
        where it is logarithmic); infinite where a whole number or a category differs. What is
        ``given`` is as :meth:`check` takes it, but numbers may lie outside their bounds.

        Examples
        --------
        >>> space = space_from({"heat": (20, 80), "solvent": ["water", "oil"]})
        >>> rows = (65, "oil"), (50, "oil"), (50, "water")
        >>> [space.distance(row, (50.0, "oil")) for row in rows]
        [0.25, 0.0, inf]
        """
        inputs = zip(self.inputs.items(), self._row(given), point, strict=True)
        return max(each.distance(value, own, name=name) for (name, each), value, own in inputs)

    def is_candidate(self, given: Any) -> bool:
        """Whether what is written is one of the candidates, digit for digit."""
        return any(self.distance(given, point) == 0.0 for point in self.candidates or ())

    def encode(self, points: Sequence[Point]) -> Tensor:
        """Points in the unit cube: (n, D), float64."""
        rows = [
            [c for each, value in zip(self.inputs.values(), p, strict=True) for c in each.to(value)]
            for p in points
        ]
        return torch.tensor(rows, dtype=torch.float64).reshape(len(rows), self.columns)

    def decode(self, unit: Tensor) -> list[Point]:
        """The points nearest to rows of the unit cube (n, D)."""
        if self.candidates is not None:
            nearest = torch.cdist(unit.cpu().double(), self.encode(self.candidates)).argmin(1)
            return [self.candidates[i] for i in nearest.tolist()]
        widths = [each.columns for each in self.inputs.values()]
        parts = [part.tolist() for part in unit.split(widths, dim=1)]
        return [
            tuple(each.back(own) for each, own in zip(self.inputs.values(), row, strict=True))
            for row in zip(*parts, strict=True)
        ]

    def snap(self, unit: Tensor) -> Tensor:
        """Rows moved to whole numbers, single categories and candidates, on their device."""
        if self.candidates is None and bool(self.free.all()):
            return unit.clamp(0.0, 1.0)
        return self.encode(self.decode(unit)).to(unit.device)

    def as_array(self, points: Sequence[Point]) -> np.ndarray:
        """(n, d) float64; of a space with categories, (n, d) objects."""
        kind: Any = np.float64 if self.is_numeric else object
        return np.array(points, dtype=kind).reshape(len(points), len(self.inputs))

    def describe_point(self, point: Point) -> str:
        """A point in a line."""
        words = (f"{v:.6g}" if isinstance(v, float) else str(v) for v in point)
        return ", ".join(f"{name} = {word}" for name, word in zip(self.names, words, strict=True))

    def config(self) -> dict[str, Any]:
        """What JSON can hold and :func:`space_from` builds again."""
        inputs = {name: each.config() for name, each in self.inputs.items()}
        if self.candidates is None:
            return {"inputs": inputs}
        return {"inputs": inputs, "candidates": [list(point) for point in self.candidates]}

    def _plain(self, point: Any) -> Point:
        pairs = zip(self.inputs.items(), self._row(point), strict=True)
        return tuple(each.check(value, name=name) for (name, each), value in pairs)

    def _row(self, point: Any) -> tuple[Any, ...]:
        """One value for each input, as they are written."""
        names = ", ".join(self.names)
        if isinstance(point, Mapping):
            missing = [name for name in self.inputs if name not in point]
            unknown = [str(name) for name in point if name not in self.inputs]
            if missing or unknown:
                wrong = f"{', '.join(missing)} missing" if missing else f"no {', '.join(unknown)}"
                raise UsageError(f"the inputs are {names}; {wrong}")
            return tuple(point[name] for name in self.inputs)
        if isinstance(point, str | numbers.Number):
            point = (point,)
        elif isinstance(point, np.ndarray | Tensor):
            point = np.asarray(point).reshape(-1).tolist()
        elif not isinstance(point, Iterable):
            raise UsageError(f"a point is {names}; got {point!r}")
        values, count = tuple(point), len(self.inputs)
        if len(values) != count:
            raise UsageError(f"a point has {count} values ({names}); got {len(values)}: {values}")
        return values


def space_from(given: Any, *, candidates: Any = None) -> Space:
    """A space from how people write one.

    Parameters
    ----------
    given
        A :class:`Space`; its ``config()``; a sequence of (lower, upper), inputs then named x1, x2 …
        (x, if there is one); or a mapping of names to (lower, upper), to a list of categories, or
        to an input. One pair of numbers is the bounds of one input. ``None`` with ``candidates``:
        the box around them.
    candidates
        (M, d), the only points there are; or (M,) for one input.

    Raises
    ------
    UsageError
        If bounds are reversed, equal or not finite, or nothing of this was given.

    Examples
    --------
    >>> space_from([(-5, 10), (0, 15)]).names
    ('x1', 'x2')
    >>> space_from({"acid": (0.1, 10.0), "solvent": ["water", "ethanol"]}).columns
    3
    """
    if isinstance(given, Space):
        given = {"inputs": given.inputs, "candidates": given.candidates}
    if isinstance(given, Mapping) and isinstance(given.get("inputs"), Mapping):
        candidates = given.get("candidates") if candidates is None else candidates
        given = given["inputs"]
    if isinstance(given, Mapping):
        inputs = {str(name): input_from(each, name=str(name)) for name, each in given.items()}
    elif given is None and candidates is not None:
        inputs = _box_around(candidates)
    else:
        inputs = _from_rows(given)
    if candidates is None:
        return Space(inputs)
    if not isinstance(candidates, Iterable) or isinstance(candidates, str):
        raise UsageError(f"candidates are a list of points; got {candidates!r}")
    if isinstance(candidates, np.ndarray | Tensor):
        candidates = np.asarray(candidates).tolist()
    rows = [
        tuple(c) if isinstance(c, Sequence) and not isinstance(c, str) else (c,) for c in candidates
    ]
    return Space(inputs, candidates=tuple(rows))


def _named(count: int) -> list[str]:
    return ["x"] if count == 1 else [f"x{i + 1}" for i in range(count)]


def _from_rows(given: Any) -> dict[str, Input]:
    rows = given.tolist() if isinstance(given, np.ndarray | Tensor) else given
    if isinstance(rows, str) or not isinstance(rows, Sequence) or not rows:
        raise UsageError(f"bounds are pairs (lower, upper), one for each input; got {given!r}")
    if len(rows) == 2 and all(isinstance(v, numbers.Real) for v in rows):
        rows = [rows]
    pairs = zip(_named(len(rows)), rows, strict=True)
    return {name: input_from(row, name=name) for name, row in pairs}


def _box_around(candidates: Any) -> dict[str, Input]:
    """A box that just holds the candidates; an input that does not vary gets a width of one."""
    rows = np.asarray(candidates, dtype=np.float64)
    if rows.size == 0 or not np.isfinite(rows).all():
        raise UsageError("candidates are finite numbers, (M, d) with M at least 1")
    rows = rows.reshape(len(rows), -1)
    low, high = rows.min(0), rows.max(0)
    high = np.where(high > low, high, low + 1.0)
    bounds = zip(_named(rows.shape[1]), low.tolist(), high.tolist(), strict=True)
    return {name: Continuous(a, b) for name, a, b in bounds}
