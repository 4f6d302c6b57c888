"""What a search may choose from: ranges of numbers, and choices, by the names of settings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, TypeAlias

from inference.declared import kinds_of
from inference.learning.settings import Settings
from inference.selection.grid import PREPARATION, check_setting_name, check_types, word
from pyro_models import UsageError

__all__ = [
    "Choice",
    "Number",
    "Range",
    "Whole",
    "check_space",
    "corners_of",
    "flat",
    "is_range",
    "plain",
]

DIGITS = 4
"""A number is proposed with so many significant digits: a folder has it in its name."""

_KEYS = {"low", "high", "log", "kind", "choices"}
_KINDS = ("number", "integer")


def _check_bounds(low: Any, high: Any, log: Any) -> None:
    numbers = all(isinstance(v, Real) and not isinstance(v, bool) for v in (low, high))
    if not numbers or not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        raise UsageError(f"a range is a lower and a higher finite number; got [{low}, {high}]")
    if not isinstance(log, bool):
        raise UsageError(f"log is true or false; got {log!r}")
    if log and low <= 0:
        raise UsageError(f"a logarithmic range begins above 0; got [{low}, {high}]")


@dataclass(frozen=True)
class Number:
    """A number in [low, high], the logarithm of which is even where ``log``."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)

    def at(self, u: float) -> float:
        """The number at a place in [0, 1], with four significant digits.

        >>> Number(1e-4, 1e-1, log=True).at(0.5)
        0.003162
        """
        if self.log:
            return self.rounded(self.low * (self.high / self.low) ** u)
        return self.rounded(self.low + u * (self.high - self.low))

    def rounded(self, value: float) -> float:
        """A number of this range with four significant digits, or one of its ends."""
        return min(max(float(f"{value:.{DIGITS}g}"), float(self.low)), float(self.high))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are checked before anything is trained."""
        return float(self.low), float(self.high)


@dataclass(frozen=True)
class Whole:
    """A whole number in {low, …, high}, the logarithm of which is even where ``log``."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high, self.log)
        if not isinstance(self.low, Integral) or not isinstance(self.high, Integral):
            raise UsageError(
                f"a range of whole numbers has whole ends; got [{self.low}, {self.high}]"
            )

    def at(self, u: float) -> int:
        """The whole number at a place in [0, 1].

        >>> [Whole(1, 3).at(u) for u in (0.0, 0.5, 1.0)], Whole(1, 100, log=True).at(0.5)
        ([1, 2, 3], 7)
        """
        if self.log:
            low, high = self.low - 0.5, self.high + 0.5
            value = math.floor(low * (high / low) ** u + 0.5)
        else:
            value = self.low + math.floor(u * (self.high - self.low + 1))
        return min(max(value, int(self.low)), int(self.high))

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are checked before anything is trained."""
        return int(self.low), int(self.high)


@dataclass(frozen=True)
class Choice:
    """One of two or more different values, without order."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if isinstance(self.values, str) or not isinstance(self.values, Sequence):
            raise UsageError(f"choices are a list of values; got {self.values!r}")
        try:
            object.__setattr__(self, "values", tuple(json.loads(json.dumps([*self.values]))))
        except TypeError:
            raise UsageError(
                "choices are kept in JSON: give names and numbers, no objects"
            ) from None
        if len(self.values) < 2 or len(set(self.words)) < len(self.values):
            raise UsageError(f"choices are two or more different values; got {[*self.values]}")

    @property
    def words(self) -> tuple[str, ...]:
        """The values in a few characters each."""
        return tuple(word(value) for value in self.values)

    def at(self, u: float) -> Any:
        """The value at a place in [0, 1].

        >>> Choice(("relu", "tanh")).at(0.7)
        'tanh'
        """
        return self.values[min(int(u * len(self.values)), len(self.values) - 1)]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are checked before anything is trained."""
        return self.values


Range: TypeAlias = Number | Whole | Choice


def is_range(given: Any) -> bool:
    """Whether a value of a nested space is a range, and no mapping of further names."""
    return not isinstance(given, Mapping) or (bool(given) and set(given) <= _KEYS)


def flat(space: Mapping[str, Any], *, above: str = "") -> Iterator[tuple[str, Any]]:
    """The ranges of a space whose names stand one below the other, by their whole names.

    >>> dict(flat({"lr": [0.1, 1.0], "options": {"latent_dim": [2, 10]}}))
    {'lr': [0.1, 1.0], 'options.latent_dim': [2, 10]}
    """
    for name, given in space.items():
        if is_range(given):
            yield f"{above}{name}", given
        else:
            yield from flat(given, above=f"{above}{name}.")


def check_space(space: Mapping[str, Any]) -> dict[str, Range]:
    """The ranges by the names of settings; what is no setting, or no range, is refused.

    A range is written ``[1e-4, 1e-1]``, ``[1e-4, 1e-1, "log"]``, or as a mapping with ``low``,
    ``high``, ``log`` and ``kind`` (``number`` or ``integer``); both ends whole make whole numbers,
    unless the setting is a number. Choices are any other list, or ``{"choices": [32, 64]}``.

    >>> check_space({"lr": [1e-4, 1e-1, "log"], "options.latent_dim": [2, 10]})["lr"]
    Number(low=0.0001, high=0.1, log=True)
    """
    if not isinstance(space, Mapping) or not space:
        raise UsageError(f"a space has a range for each setting by its name; got {space!r}")
    checked: dict[str, Range] = {}
    for name, given in flat(space):
        check_setting_name(name, "the space")
        try:
            checked[name] = _range(name, given)
        except UsageError as error:
            raise UsageError(f"{name}: {error}") from None
        if name != PREPARATION and "." not in name:
            check_types(name, checked[name].ends, "the space")
    return checked


def corners_of(space: Mapping[str, Range]) -> list[dict[str, Any]]:
    """Settings in which each end and each choice stands once, to be checked before any is trained.

    >>> corners_of({"lr": Number(0.1, 1.0), "n": Whole(1, 2)})
    [{'lr': 0.1, 'n': 1}, {'lr': 1.0, 'n': 1}, {'lr': 0.1, 'n': 2}]
    """
    first = {name: own.ends[0] for name, own in space.items()}
    others = ({**first, name: end} for name, own in space.items() for end in own.ends[1:])
    return [first, *others]


def plain(space: Mapping[str, Range]) -> dict[str, Any]:
    """The ranges as JSON has them."""
    return {name: {"kind": type(own).__name__, **asdict(own)} for name, own in space.items()}


def _range(name: str, given: Any) -> Range:
    if isinstance(given, Number | Whole | Choice):
        return given
    if isinstance(given, Mapping):
        return _of_mapping(name, dict(given))
    if isinstance(given, str) or not isinstance(given, Sequence):
        raise UsageError(
            f'a range is written "[low, high]" or "[low, high, log]", choices "[relu, tanh]"; '
            f"got {given!r}"
        )
    values = list(given)
    numbers = [isinstance(v, Real) and not isinstance(v, bool) for v in values]
    if len(values) == 3 and numbers == [True, True, False] and values[2] == "log":
        return _of_bounds(name, values[0], values[1], True)
    if numbers == [True, True]:
        return _of_bounds(name, values[0], values[1], False)
    return Choice(tuple(values))


def _of_mapping(name: str, given: dict[str, Any]) -> Range:
    if "choices" in given:
        if len(given) > 1:
            raise UsageError("choices have neither ends nor log")
        return Choice(given["choices"])
    if not {"low", "high"} <= set(given) <= _KEYS:
        raise UsageError("a range has low and high, and may have log and kind; choices have none")
    kind = given.get("kind")
    if kind not in (None, *_KINDS):
        raise UsageError(f"kind is one of {', '.join(_KINDS)}; got {kind}")
    return _of_bounds(name, given["low"], given["high"], given.get("log", False), kind)


def _of_bounds(name: str, low: Any, high: Any, log: bool, kind: str | None = None) -> Range:
    if kind is None:
        whole = all(isinstance(v, Integral) for v in (low, high)) and not _is_number(name)
        kind = "integer" if whole else "number"
    return Whole(low, high, log) if kind == "integer" else Number(low, high, log)


def _is_number(name: str) -> bool:
    """Whether a setting of the training may have parts of a whole."""
    return "." not in name and hasattr(Settings, name) and float in kinds_of(Settings, name)
