"""What an evaluation gave: a number, or why there is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from numbers import Number
from typing import Any

import numpy as np
import torch

from pyro_models import UsageError

__all__ = ["is_single", "number_of", "value_of"]

LARGEST = 1e150  # a spread of larger values overflows


def number_of(given: Any) -> float:
    """A real number as a float: plain, of NumPy, or the one element of an array or a tensor.

    >>> number_of(np.array([[0.5]])), number_of(torch.tensor(2))
    (0.5, 2.0)
    """
    one = _only_element(given)
    try:
        if isinstance(one, complex | np.complexfloating | str | bytes):
            raise TypeError
        return float(one)
    except OverflowError:  # a whole number, or a fraction, beyond float64
        return math.inf if one > 0 else -math.inf
    except (TypeError, ValueError, RuntimeError):
        got = " ".join(repr(given).split())[:80]
        raise UsageError(
            f"a value is a number, or NaN for a failed evaluation; got {got}"
        ) from None


def value_of(given: Any) -> tuple[float | None, str]:
    """A finite value, or ``None`` and why there is none."""
    if given is None:
        return None, "no value"
    if isinstance(given, str):  # as a file of text has it
        with suppress(ValueError):
            given = float(given)
    value = number_of(given)
    return (value, "") if abs(value) <= LARGEST else (None, f"the value is {value}")


def is_single(x: Any, y: Any) -> bool:
    """Whether a value y is that of one point x, rather than a list of values of a list of points.

    An array of one element is, unless x is a list of one point.
    """
    if y is None or isinstance(y, Number | str) or getattr(y, "ndim", None) == 0:
        return True
    if not isinstance(y, np.ndarray | torch.Tensor) or np.prod(y.shape) != 1:
        return False
    return isinstance(x, Mapping) or not hasattr(x, "__len__") or len(x) != 1


def _only_element(given: Any) -> Any:
    if isinstance(given, torch.Tensor):
        given = given.detach().cpu()
        return given.item() if given.numel() == 1 else given
    if np.ma.is_masked(given):  # what stands under the mask is no value
        return None
    if isinstance(given, np.ndarray | np.generic):
        return given.item() if given.size == 1 else given
    if isinstance(given, list | tuple) and len(given) == 1:
        return _only_element(given[0])
    return given
