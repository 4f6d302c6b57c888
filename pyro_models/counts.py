"""Whole numbers that a user gives: how many chains, draws, steps or points."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from pyro_models.errors import UsageError

__all__ = ["check_counts"]


def check_counts(*, least: int = 1, **counts: Any) -> None:
    """Refuse counts, by the names of their arguments, that are no whole numbers or below ``least``.

    >>> check_counts(num_chains=4, num_draws=2.5)
    Traceback (most recent call last):
    pyro_models.errors.UsageError: num_draws must be at least 1, a whole number; got 2.5
    """
    for name, count in counts.items():
        if not isinstance(count, Integral) or isinstance(count, bool) or count < least:
            raise UsageError(f"{name} must be at least {least}, a whole number; got {count!r}")
