"""Means with their standard errors, computed in one way and written in one way."""

from __future__ import annotations

import math

from torch import Tensor

__all__ = ["error_of_mean", "mean_and_error", "with_error"]

_MOST_DIGITS = 6
_WITHOUT_ERROR = 3  # digits of a number whose error is not there to say how many it has
_HUGE = 1e15  # from here on a float has no digit after the point


def mean_and_error(values: Tensor) -> tuple[float, float]:
    """The mean of N values, (N,), and its standard error s / √N, which is NaN for one value.

    >>> import torch
    >>> mean_and_error(torch.tensor([1.0, 2.0, 6.0]))
    (3.0, 1.5275252316519468)
    """
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return float(values.mean()), error


def error_of_mean(errors: Tensor) -> float:
    """The standard error √(Σ e²) / N of a mean of N values with independent errors e, (N,)."""
    return float(errors.double().square().sum().sqrt()) / len(errors)


def with_error(
    value: float, error: float | None = None, *, digits: int | None = None, signed: bool = False
) -> str:
    """A number as ``value ± error``, or alone where its error is ``None`` or NaN.

    Parameters
    ----------
    value, error
        The number and its standard error.
    digits
        How many digits stand after the point. Unless given, as many as the error gives a meaning
        to; where there is no error, or it is 0, the number then stands alone with three digits.
    signed
        Whether a plus stands before what is above 0.

    Examples
    --------
    >>> with_error(-1.5, 0.25, digits=2), with_error(-1e-9, digits=3), with_error(150.0, 50.0)
    ('-1.50 ± 0.25', '0.000', '150 ± 50')
    """
    known = error is not None and not math.isnan(error)
    if digits is None and error is not None and 0 < error < math.inf:
        digits = max(0, min(_MOST_DIGITS, 1 - math.floor(math.log10(error))))
    elif digits is None:
        known = known and error == math.inf
        digits = _WITHOUT_ERROR
    sign = "+" if signed else ""
    text = f"{value:{sign}.6g}" if _HUGE <= abs(value) < math.inf else f"{value:{sign}z.{digits}f}"
    return f"{text} ± {with_error(error, digits=digits)}" if known and error is not None else text
