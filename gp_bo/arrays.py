"""Inputs and outputs that a user gives, as float64 tensors, or one line on why they are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models import UsageError

__all__ = ["Array", "as_inputs", "as_outputs", "resolution"]

Array = Tensor | np.ndarray


def as_inputs(X: Any, *, dim: int | None = None, device: torch.device | None = None) -> Tensor:
    """Inputs as float64, (n, d); a vector is one column, unless d > 1 is asked for.

    Parameters
    ----------
    X
        Numbers, (n, d) or (n,).
    dim
        d, of a Gaussian process that is there already.
    device
        Where they are to be; where they are unless given.

    Raises
    ------
    UsageError
        If it is no matrix, has another number of columns than ``dim``, or a value is not finite.

    Examples
    --------
    >>> as_inputs([0.0, 1.0, 2.0]).shape
    torch.Size([3, 1])
    """
    try:
        tensor = _double(X, device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError("inputs must be numbers: an array of shape (n, d)") from error
    if tensor.dim() == 1 and dim in (None, 1):
        tensor = tensor[:, None]
    if tensor.dim() != 2 or not tensor.shape[1]:
        raise UsageError(f"inputs have shape (n, d); got {tuple(tensor.shape)}")
    if dim is not None and tensor.shape[1] != dim:
        raise UsageError(f"this Gaussian process has {dim} inputs; got {tensor.shape[1]} columns")
    if dim is not None and not len(tensor):
        raise UsageError("no row of inputs: give at least one")
    if not bool(tensor.isfinite().all()):
        raise UsageError("an input is not a finite number: leave that row out")
    return tensor


def as_outputs(y: Any, count: int, *, device: torch.device | None = None) -> Tensor:
    """Outputs as float64, (n,), on a device; where they are unless it is given.

    Raises
    ------
    UsageError
        If there are not ``count`` of them, or one is not finite.
    """
    try:
        tensor = _double(y, device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError("outputs must be numbers: an array of shape (n,)") from error
    if tensor.dim() == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    if tensor.shape != (count,):
        raise UsageError(f"{count} inputs need {count} outputs; got shape {tuple(tensor.shape)}")
    if not bool(tensor.isfinite().all()):
        raise UsageError("an output is not a finite number: leave that row out")
    return tensor


def resolution(values: Any) -> float:
    """ε of the float type that values came in: neighbours near x lie about ε |x| apart.

    Examples
    --------
    >>> resolution(torch.zeros(2)) == 2**-23, resolution([0.1, 0.2]) == 2**-52
    (True, True)
    """
    kind = getattr(values, "dtype", None)
    if isinstance(kind, torch.dtype):
        return torch.finfo(kind).eps if kind.is_floating_point else torch.finfo(torch.float64).eps
    if isinstance(kind, np.dtype) and kind.kind == "f":
        return float(np.finfo(kind).eps)
    return torch.finfo(torch.float64).eps


def _double(values: Any, device: torch.device | None) -> Tensor:
    if isinstance(values, Tensor):  # moved first: where it comes from there may be no float64
        return (values if device is None else values.to(device)).to(torch.float64)
    tensor = torch.as_tensor(values, dtype=torch.float64)
    return tensor if device is None else tensor.to(device)
