"""Inputs and outputs that a user gives, as float64 tensors on a device, or why they are none."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models import UsageError
from pyro_models.device import check_device

__all__ = ["Array", "as_inputs", "as_outputs", "gp_device", "resolution"]

Array = Tensor | np.ndarray


def as_inputs(X: Any, *, dim: int | None = None, device: torch.device | None = None) -> Tensor:
    """Inputs (n, d), or (n,) where d = 1, as float64 (n, d) on a device, or where they are.

    ``dim`` is the d of a Gaussian process that is there already. What is no finite matrix, or has
    another number of columns, is a ``UsageError``.

    >>> as_inputs([0.0, 1.0, 2.0]).shape
    torch.Size([3, 1])
    """
    tensor = _double(X, device, "inputs must be numbers: an array of shape (n, d)")
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
    """``count`` finite outputs as float64, (n,), on a device, or where they are."""
    tensor = _double(y, device, "outputs must be numbers: an array of shape (n,)")
    if tensor.dim() == 2 and tensor.shape[1] == 1:
        tensor = tensor[:, 0]
    if tensor.shape != (count,):
        raise UsageError(f"{count} inputs need {count} outputs; got shape {tuple(tensor.shape)}")
    if not bool(tensor.isfinite().all()):
        raise UsageError("an output is not a finite number: leave that row out")
    return tensor


def resolution(values: Any) -> float:
    """ε of the float type that values came in: neighbours near x lie about ε |x| apart.

    >>> resolution(torch.zeros(2)) == 2**-23, resolution([0.1, 0.2]) == 2**-52
    (True, True)
    """
    kind = getattr(values, "dtype", None)
    if isinstance(kind, torch.dtype) and kind.is_floating_point:
        return torch.finfo(kind).eps
    if isinstance(kind, np.dtype) and kind.kind == "f":
        return float(np.finfo(kind).eps)
    return torch.finfo(torch.float64).eps


def _double(values: Any, device: torch.device | None, otherwise: str) -> Tensor:
    try:
        if isinstance(values, Tensor):  # moved first: where it comes from there may be no float64
            return (values if device is None else values.to(device)).to(torch.float64)
        tensor = torch.as_tensor(values, dtype=torch.float64)
        return tensor if device is None else tensor.to(device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(otherwise) from error


def gp_device(device: str | torch.device | None, given: Any = None) -> torch.device:
    """The device that was asked for, or else, for None, that of the data: the CPU, if no tensor.

    One that is not there, or has no float64, in which covariances are factored, is refused.

    >>> gp_device(None, [0.0, 1.0])
    device(type='cpu')
    """
    if device is None:
        device = given.device if isinstance(given, Tensor) else "cpu"
    found = check_device(device)
    if found.type == "mps":
        raise UsageError(
            f"a Gaussian process is computed in float64, which {found.type} does not have: give "
            "device='cpu', or --device cpu"
        )
    return found
