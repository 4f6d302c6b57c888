"""Data that are larger than memory: rows of a file's array, read and scaled when they are needed.

Nothing reads the file as a whole. What says how its numbers are to be read (their grey levels, the
float type) is found on a sample of rows, and each row is checked against it when it is read. So is
the identity of the data: it is of a sample, and of the length; beside it the record of a run keeps
the size of the file and when it was written, by which a later change is found out.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_models.data.arrays import to_tensor
from pyro_models.data.identity import checksum
from pyro_models.data.pixels import check_finite, check_shape, read_pixels
from pyro_models.errors import UsageError
from pyro_models.memory import free_memory, in_words

__all__ = ["SAMPLE", "Rows", "in_memory", "is_streamed", "is_too_large", "sample_of"]

SAMPLE = 2**25
"""Numbers in a sample of rows, 128 MiB in float32; all rows of an array that has no more."""

COPIES = 3
"""Copies as float numbers that memory must hold at once where data are read as a whole."""


def is_too_large(num_bytes: float) -> bool:
    """Whether data of so many bytes, as float numbers, are too large to be held in memory."""
    return COPIES * num_bytes > free_memory()


def is_streamed(array: Any, stream: bool | None = None) -> bool:
    """Whether an array is to be read row by row: one of a file, that is too large or if told so."""
    if not isinstance(array, np.memmap) or getattr(array, "filename", None) is None:
        return False
    if stream is not None or array.dtype.kind not in "biuf":
        return bool(stream)
    return is_too_large(array.size * torch.get_default_dtype().itemsize)


def sample_of(shape: Sequence[int]) -> Tensor:
    """Places of a sample of data (N, \\*data_shape), evenly spaced; all of them if they are few.

    >>> sample_of((3, 28, 28))
    tensor([0, 1, 2])
    """
    count = min(shape[0], max(1, SAMPLE // max(1, math.prod(shape[1:]))))
    return torch.arange(count) * shape[0] // max(1, count)


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a memory-mapped array as data (N, \\*data_shape); indexing reads nothing.

    Attributes
    ----------
    array
        The array (M, …) of the file.
    name
        What to call it in an error.
    dtype
        Float type of what is read.
    levels, scaling
        Number of grey levels, ``None`` if unknown or vectors, and what is done to values, in words.
    written
        Size of the file and when it was last written, in nanoseconds.
    numbers
        Which rows of the array these are, (N,); all of them if ``None``.
    """

    array: np.memmap[Any, Any]
    name: str
    dtype: torch.dtype
    levels: int | None
    scaling: str
    written: tuple[int, int]
    numbers: Tensor | None = None

    @classmethod
    def of(cls, array: np.memmap[Any, Any], name: str, *, levels: int | None = None) -> Rows:
        """All rows of an array, whose terms are those of a sample; refused as in memory."""
        check_shape(torch.empty(array.shape, device="meta"), name)
        if not len(array):
            raise UsageError(f"{name} holds no data")
        if hasattr(mmap, "MADV_RANDOM"):
            array._mmap.madvise(mmap.MADV_RANDOM)  # type: ignore[attr-defined]  # no neighbours
        written = _written(array)
        places = sample_of(array.shape).numpy()
        found = read_pixels({"x": np.asarray(array[places])}, name, levels=levels)
        scaling = ", ".join(word for word in (found.scaling, "streamed from its file") if word)
        return cls(array, name, found.arrays["x"].dtype, found.levels, scaling, written)

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, \\*data_shape)."""
        one = self.array.shape[1:]
        return len(self), *((1, *one) if len(one) == 2 else one)

    @property
    def device(self) -> torch.device:
        """Where rows are read to."""
        return torch.device("cpu")

    def dim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return len(self.array) if self.numbers is None else len(self.numbers)

    def __getitem__(self, index: slice | Tensor) -> Rows:
        """Some of the rows, in another order; nothing is read."""
        if isinstance(index, slice):
            index = torch.arange(len(self))[index] if self.numbers is None else self.numbers[index]
            return replace(self, numbers=index)
        if index.dtype == torch.bool:
            index = index.nonzero().flatten()
        return replace(self, numbers=self.numbers_of(index))

    def joined(self, other: Rows) -> Rows:
        """These rows and then others of the same array."""
        numbers = [rows.numbers_of(torch.arange(len(rows))) for rows in (self, other)]
        return replace(self, numbers=torch.cat(numbers))

    def numbers_of(self, rows: Tensor) -> Tensor:
        """Numbers in the array of some of the rows."""
        return rows if self.numbers is None else self.numbers[rows]

    def read(self, rows: Tensor) -> Tensor:
        """Some of the rows as float numbers, scaled and checked, (B, \\*data_shape).

        They are read in the order of the file and given in that of ``rows``, (B,).
        """
        if _written(self.array) != self.written:
            raise UsageError(f"{self.name} was written to while it was read: begin again")
        numbers = self.numbers_of(rows.cpu()).numpy()
        order = np.argsort(numbers, kind="stable")
        values = np.empty((len(numbers), *self.array.shape[1:]), self.array.dtype)
        self._ask_for(numbers[order])
        values[order] = self.array[numbers[order]]
        x = to_tensor(values, self.name)
        check_finite(x, self.name, numbers.tolist())
        if x.dim() == 2:
            return x.to(self.dtype)
        try:
            read = read_pixels({"x": x}, self.name, levels=self.levels)
        except UsageError as error:
            if self.levels is None:
                raise
            told = f"a sample of its rows has {self.levels} grey levels"
            raise UsageError(f"{error} ({told}: give levels if all have more)") from error
        return read.arrays["x"].to(self.dtype)

    def _ask_for(self, numbers: np.ndarray) -> None:
        """Let the system fetch rows all at once, rather than each when it is met."""
        mapped, stride = self.array._mmap, self.array.strides[0]  # type: ignore[attr-defined]
        if not hasattr(mmap, "MADV_WILLNEED") or not self.array.flags.c_contiguous:
            return
        start = _address(self.array) - _address(np.frombuffer(mapped, np.uint8))
        for begin in (start + numbers * stride).tolist():
            page = begin // mmap.PAGESIZE * mmap.PAGESIZE
            mapped.madvise(mmap.MADV_WILLNEED, page, begin + stride - page)

    def to(self, *place: Any, **options: Any) -> Tensor:
        """All of them in memory, and there where a tensor would be."""
        return in_memory(self).to(*place, **options)

    def checksum(self) -> str:
        """That of a sample, and how many of how many rows it has; of few rows as of a tensor."""
        places = sample_of(self.shape)
        found = checksum(self.read(places))
        return found if len(places) == len(self) else f"{found} of {len(places)} in {len(self)}"


def in_memory(values: Tensor | Rows) -> Tensor:
    """A tensor as it is, and rows as one; refused if memory does not hold them."""
    if isinstance(values, Tensor):
        return values
    size = math.prod(values.shape) * values.dtype.itemsize
    if is_too_large(size):
        raise UsageError(
            f"{len(values):,} data of {values.name} are {in_words(size)} of numbers, more than "
            "memory can hold: say how many are wanted (limit), or keep fewer of them "
            "(test_fraction)"
        )
    return values.read(torch.arange(len(values)))


def _address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def _written(array: np.memmap[Any, Any]) -> tuple[int, int]:
    found = os.stat(str(array.filename))
    return found.st_size, found.st_mtime_ns
