"""Noise that is drawn into a new tensor, vectorised over runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["NoiseOfEachRun"]

_INTO = (
    Tensor.normal_,
    Tensor.uniform_,
    Tensor.exponential_,
    Tensor.cauchy_,
    Tensor.log_normal_,
    Tensor.geometric_,
)


class NoiseOfEachRun(TorchFunctionMode):
    """``torch.empty(shape).normal_()`` under ``vmap`` is noise of each run, where it would raise.

    So do reparameterised draws of torch's distributions make their noise. The tensor that was to be
    filled is of no run, so it becomes NaN: what is drawn is what the method returns.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Every function as it is, but for these."""
        kwargs = kwargs or {}
        if func not in _INTO:
            return func(*args, **kwargs)
        into, *how = args
        try:
            return func(into, *how, **kwargs)
        except RuntimeError:  # vmap's own: a tensor without its dimension
            of_each = torch.rand((), dtype=into.dtype, device=into.device)
            drawn = func(torch.zeros_like(into) + 0 * of_each, *how, **kwargs)
            into.fill_(torch.nan)
            return drawn
