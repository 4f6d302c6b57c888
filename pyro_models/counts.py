"""Whole numbers that a user gives: how many chains, draws, steps or points."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from pyro_models.errors import UsageError

__all__ = ["check_counts", "is_count", "layer_sizes"]


def is_count(value: object, *, least: int = 1) -> bool:
    """Whether it is a whole number, no truth value, and not too small.

    >>> is_count(3), is_count(True), is_count(2.0), is_count(0)
    (True, False, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def check_counts(*, least: int = 1, **counts: Any) -> None:
    """Refuse counts, by the names of their arguments, that are no whole numbers or below ``least``.

    >>> check_counts(num_chains=4, num_draws=2.5)
    Traceback (most recent call last):
    pyro_models.errors.UsageError: num_draws must be at least 1, a whole number; got 2.5
    """
    for name, count in counts.items():
        if not is_count(count, least=least):
            raise UsageError(f"{name} must be at least {least}, a whole number; got {count!r}")


def layer_sizes(sizes: object, *, name: str = "hidden", least: int = 1) -> tuple[int, ...]:
    """Sizes of layers, or numbers of channels, if they are at least so many positive whole numbers.

    >>> layer_sizes([400, 100])
    (400, 100)
    >>> layer_sizes(5)
    Traceback (most recent call last):
    pyro_models.errors.UsageError: hidden is a list of layer sizes, such as [400, 100]; got 5
    """
    if isinstance(sizes, str) or not isinstance(sizes, Iterable):
        raise UsageError(f"{name} is a list of layer sizes, such as [400, 100]; got {sizes!r}")
    found = tuple(sizes)
    if len(found) < least or not all(map(is_count, found)):
        some = "at least one positive layer size" if least else "positive layer sizes"
        raise UsageError(f"{name} needs {some}; got {list(found)}")
    return found
