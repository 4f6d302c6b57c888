"""One input of a function: continuous, integer or categorical, and its place in the unit cube."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from pyro_models import UsageError

__all__ = ["Categorical", "Continuous", "Input", "Integer", "input_from"]

ROUNDING = 1e-9  # of the width: how far outside its bounds a number may be written


class _Input:
    """What all inputs share."""

    def config(self) -> dict[str, Any]:
        """As JSON holds it."""
        options = dataclasses.asdict(self)  # type: ignore[call-overload]
        plain = {name: list(v) if isinstance(v, tuple) else v for name, v in options.items()}
        return {"kind": type(self).__name__.lower(), **plain}


@dataclass(frozen=True)
class Continuous(_Input):
    """A real number in [low, high], both allowed.

    With ``log`` the logarithm is scaled, for a positive input that spans orders of magnitude.
    """

    low: float
    high: float
    log: bool = False
    columns = 1
    count = math.inf

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        _check_log(self.log, self.low)
        object.__setattr__(self, "low", float(self.low))
        object.__setattr__(self, "high", float(self.high))

    def check(self, value: Any, *, name: str) -> float:
        """The value as a float inside the bounds."""
        number = _number(value, name=name)
        slack = ROUNDING * (self.high - self.low)
        if not self.low - slack <= number <= self.high + slack:
            raise UsageError(f"{name} = {number:g} is outside [{self.low:g}, {self.high:g}]")
        return min(max(number, self.low), self.high)

    def distance(self, value: Any, other: float, *, name: str) -> float:
        """How far a number, perhaps just outside the bounds, is from another, of the width."""
        number = _number(value, name=name)
        if number == other:
            return 0.0
        if self.log and number <= 0:
            return math.inf
        return max(abs(self.to(number)[0] - self.to(other)[0]), math.ulp(0.0))

    def to(self, value: float) -> list[float]:
        """Place in [0, 1]."""
        if self.log:
            return [math.log(value / self.low) / math.log(self.high / self.low)]
        return [(value - self.low) / (self.high - self.low)]

    def back(self, unit: Sequence[float]) -> float:
        """The value at a place in [0, 1]."""
        u = min(max(unit[0], 0.0), 1.0)
        if self.log:
            value = self.low * (self.high / self.low) ** u
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)


@dataclass(frozen=True)
class Integer(_Input):
    """A whole number in {low, …, high}.

    With ``log`` the logarithm is scaled, for a positive number that spans orders of magnitude.
    """

    low: int
    high: int
    log: bool = False
    columns = 1

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        _check_log(self.log, self.low)
        if self.low != int(self.low) or self.high != int(self.high):
            got = f"({self.low}, {self.high})"
            raise UsageError(f"bounds of an integer are whole numbers; got {got}")
        object.__setattr__(self, "low", int(self.low))
        object.__setattr__(self, "high", int(self.high))

    @property
    def count(self) -> float:
        """Number of values."""
        return self.high - self.low + 1

    def check(self, value: Any, *, name: str) -> int:
        """The value as an int inside the bounds."""
        number = _number(value, name=name)
        if number != round(number):
            raise UsageError(f"{name} is a whole number; got {number:g}")
        if not self.low <= number <= self.high:
            raise UsageError(f"{name} = {number:g} is outside {{{self.low}, …, {self.high}}}")
        return int(number)

    def distance(self, value: Any, other: int, *, name: str) -> float:
        """0 if they are equal, else infinite."""
        return 0.0 if _number(value, name=name) == other else math.inf

    def to(self, value: int) -> list[float]:
        """Place in [0, 1]."""
        if self.log:
            return [math.log(value / self.low) / math.log(self.high / self.low)]
        return [(value - self.low) / (self.high - self.low)]

    def back(self, unit: Sequence[float]) -> int:
        """The whole number nearest to a place in [0, 1]."""
        u = min(max(unit[0], 0.0), 1.0)
        if self.log:
            value = self.low * (self.high / self.low) ** u
            return min(max(math.floor(value + 0.5), self.low), self.high)
        return self.low + math.floor(u * (self.high - self.low) + 0.5)


@dataclass(frozen=True)
class Categorical(_Input):
    """One of two or more different names, without order; one column of the cube for each."""

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Iterable):
            raise UsageError(f"categories are a list of names; got {self.values!r}")
        names = tuple(str(value) for value in self.values)
        if len(names) < 2 or len(set(names)) < len(names):
            raise UsageError(f"a categorical input needs two or more different values; got {names}")
        object.__setattr__(self, "values", names)

    @property
    def count(self) -> int:
        """Number of values."""
        return len(self.values)

    columns = count

    def check(self, value: Any, *, name: str) -> str:
        """The value as one of the names."""
        if str(value) not in self.values:
            raise UsageError(f"{name} is one of {', '.join(self.values)}; got {value}")
        return str(value)

    def distance(self, value: Any, other: str, *, name: str) -> float:
        """0 if they are equal, else infinite."""
        return 0.0 if self.check(value, name=name) == other else math.inf

    def to(self, value: str) -> list[float]:
        """One-hot."""
        return [float(value == each) for each in self.values]

    def back(self, unit: Sequence[float]) -> str:
        """The category with the largest entry."""
        return self.values[max(range(len(self.values)), key=lambda i: unit[i])]


Input: TypeAlias = Continuous | Integer | Categorical


def input_from(given: Any, *, name: str) -> Input:
    """An input from how people write one: an input, its ``config()``, bounds, or categories."""
    if isinstance(given, Input):
        return given
    try:
        if isinstance(given, Mapping):
            return _from_config(given)
        values = list(given) if not isinstance(given, str) else []
        if values and all(isinstance(value, str) for value in values):
            return Categorical(tuple(values))
        if len(values) == 2 and all(isinstance(value, numbers.Real) for value in values):
            return Continuous(*values)
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from None
    except TypeError:
        pass
    raise UsageError(
        f"{name} needs bounds (lower, upper), a list of categories, or one of Continuous, Integer "
        f"and Categorical; got {given!r}"
    )


def _from_config(config: Mapping[str, Any]) -> Input:
    options = dict(config)
    kind = options.pop("kind", "categorical" if "values" in options else "continuous")
    kinds: dict[str, Any] = {k.__name__.lower(): k for k in (Continuous, Integer, Categorical)}
    if kind not in kinds:
        raise UsageError(f"kind is one of {', '.join(kinds)}; got {kind}")
    try:
        made: Input = kinds[kind](**options)
    except TypeError:
        raise UsageError(f"{kind} does not take {', '.join(options) or 'nothing'}") from None
    return made


def _check_bounds(low: Any, high: Any) -> None:
    got = f"got ({low}, {high})"
    if isinstance(low, bool) or isinstance(high, bool):
        raise UsageError(
            f"bounds are finite numbers; {got}: names that YAML reads as true or false, yes and "
            'no, say, need quotes: ["yes", "no"]'
        )
    numeric = all(isinstance(v, numbers.Real) for v in (low, high))
    if not numeric or not (math.isfinite(low) and math.isfinite(high)):
        raise UsageError(f"bounds are finite numbers; {got}")
    if not math.isfinite(float(high) - float(low)):
        raise UsageError(f"bounds lie too far apart for float64; {got}")
    if low >= high:
        raise UsageError(f"the lower bound must be below the upper; {got}")


def _check_log(log: Any, low: Any) -> None:
    if not isinstance(log, bool):
        raise UsageError(f"log is true or false; got {log!r}")
    if log and low <= 0:
        raise UsageError(f"a logarithmic input needs a positive lower bound; got {low}")


def _number(value: Any, *, name: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise UsageError(f"{name} is a number; got {value!r}") from None
    if not math.isfinite(number):
        raise UsageError(f"{name} is a finite number; got {value}")
    return number
