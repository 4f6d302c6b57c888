"""Whole numbers that a user gives: how many chains, draws, steps or points."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from pyro_models.errors import UsageError

__all__ = ["check_counts", "is_count"]


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
