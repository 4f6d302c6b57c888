"""Whatever holds numbers as a tensor of the same values: no cast that rounds, nothing left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.errors import UsageError

__all__ = ["check_plain", "holds_array", "tensor_of", "to_tensor"]

_NOT_NUMBERS = {
    "O": "Python objects",
    "S": "bytes",
    "T": "text",
    "U": "text",
    "V": "records of several fields",
}


def holds_array(value: object) -> bool:
    """Whether it is a tensor, an array, or gives one as pandas does (``to_numpy``)."""
    return isinstance(value, Tensor | np.ndarray) or hasattr(value, "to_numpy")


def to_tensor(array: Any, name: str) -> Tensor:
    """A tensor on the CPU of the same values, of real numbers or booleans.

    Of a tensor, an array, what has ``to_numpy``, or a list; ``name`` is what to call it in an
    error. Byte order, strides and write protection of an array do not matter; what torch has no
    type or few functions for is widened: unsigned integers to int64, long doubles to float64. What
    holds no real numbers is refused, or a mask of its own that would be lost.

    >>> to_tensor(np.array([1, 2], dtype=">i4"), "x")
    tensor([1, 2], dtype=torch.int32)
    """
    if isinstance(array, Tensor):
        return check_plain(array, name).detach().cpu()
    if hasattr(array, "to_numpy"):
        array = _values_of(array, name)
    elif not isinstance(array, np.ndarray):
        try:
            array = np.asarray(array)
        except ValueError as error:  # a ragged list
            raise UsageError(f"{name} does not hold numbers ({error})") from error
    if isinstance(array, np.ma.MaskedArray):
        raise UsageError(
            f"{name} is a masked array, whose mask would be lost: give its data, and its mask apart"
        )
    kind = array.dtype.kind
    if kind in "mM":
        raise UsageError(
            f"{name} does not hold numbers but dates or durations ({array.dtype}): give numbers, "
            "such as days since the first"
        )
    if kind == "c":
        raise UsageError(f"{name} holds complex numbers: give real ones, such as their size")
    if kind not in "biuf":
        what = _NOT_NUMBERS.get(kind, str(array.dtype))
        raise UsageError(f"{name} does not hold numbers but {what}")
    if kind == "u" and array.dtype.itemsize > 1:
        if array.size and int(array.max()) > torch.iinfo(torch.int64).max:
            raise UsageError(f"{name} holds {array.max()}, too large for a whole number of 64 bits")
        array = array.astype(np.int64)
    if kind == "f" and array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    contiguous = np.ascontiguousarray(native).reshape(native.shape)
    return torch.from_numpy(contiguous if contiguous.flags.writeable else contiguous.copy())


def check_plain(x: Tensor, name: str) -> Tensor:
    """The tensor where it is, if it holds real numbers or booleans, one for each place.

    What is sparse, quantized, nested, complex or of the device meta is refused; what torch has few
    functions for becomes int64.
    """
    if x.is_nested:
        raise UsageError(f"{name} is a nested tensor, of data of several shapes: make them one")
    if x.layout != torch.strided or x.is_quantized:
        raise UsageError(f"{name} is a sparse or quantized tensor: give x.to_dense()")
    if x.is_complex():
        raise UsageError(f"{name} holds complex numbers: give real ones, such as their size")
    if x.is_meta:
        raise UsageError(f"{name} is a tensor of the device meta, which has no values")
    if x.dtype in (torch.uint16, torch.uint32, torch.uint64):
        return to_tensor(x.cpu().numpy(), name).to(x.device)
    return x


def tensor_of(values: Any, name: str) -> Tensor:
    """A tensor as it is and where it is, if it is plain; a tensor of anything else."""
    return check_plain(values, name) if isinstance(values, Tensor) else to_tensor(values, name)


def _values_of(frame: Any, name: str) -> np.ndarray:
    """The values of a data frame, or of one column; a column that holds no numbers is named."""
    values = np.asarray(frame.to_numpy())
    columns = getattr(frame, "columns", None)
    if columns is None or values.dtype.kind in "biuf":
        return values
    found = []
    for column in columns:
        of = frame[column]
        part = np.asarray(of.to_numpy())
        if part.dtype.kind == "O" and getattr(of.dtype, "kind", "O") in "biuf":
            part = of.to_numpy(dtype=float, na_value=np.nan)  # with missing values
        if part.dtype.kind not in "biuf":
            kind = _NOT_NUMBERS.get(part.dtype.kind, str(part.dtype))
            raise UsageError(
                f"{name} does not hold numbers but {kind} in the column {column!r}: leave it out, "
                "or give it as numbers"
            )
        found.append(part)
    return np.stack(found, 1)
