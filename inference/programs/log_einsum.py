"""Sums of products in log space, as a backend of ``opt_einsum``: what enumeration is summed by.

Pyro's own (``pyro.ops.einsum.torch_log``) has a function that cannot be vectorised.
"""

from __future__ import annotations

from typing import Any

from pyro.ops.einsum.util import Tensordot
from pyro.ops.rings import LogRing
from torch import Tensor

__all__ = ["VectorizedLogRing", "einsum", "tensordot", "transpose"]


class VectorizedLogRing(LogRing):
    """Pyro's ring of sums and products in log space, computed by this backend."""

    _backend = __name__


def transpose(a: Tensor, axes: Any) -> Tensor:
    """Dimensions in another order."""
    return a.permute(axes)


def einsum(equation: str, *operands: Tensor) -> Tensor:
    """log Σ exp Σ of operands whose dimensions have names: ``"ab,bc->ac"``."""
    inputs, output = equation.split("->")
    names = inputs.split(",")
    summed = sorted(set(inputs) - {","} - set(output))
    order = [*output, *summed]
    values = []
    for dims, operand in zip(names, operands, strict=True):
        there = [symbol for symbol in order if symbol in dims]
        value = operand.permute([dims.index(symbol) for symbol in there])
        for at, symbol in enumerate(order):
            if symbol not in dims:
                value = value.unsqueeze(at)
        values.append(value)
    total = sum(values[1:], values[0])
    if not summed:
        return total.clone()
    return total.logsumexp(tuple(range(len(output), len(order))))


tensordot = Tensordot(einsum)
