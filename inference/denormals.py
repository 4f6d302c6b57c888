"""Numbers too small for a processor to compute with at full speed, taken as the nothing they are.

Below 1.2e-38 a float32 has fewer digits than it should, and many processors compute with such
numbers a hundred times slower. They come of themselves: relative weights of particles, gradients
behind saturated units, running means of an optimizer where the gradient is 0.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["EVERY", "NOTHING", "denormals_flushed", "flush_denormals"]

EVERY = 100
"""Steps between two flushes: 0.9¹⁰⁰ does not lead from ``NOTHING`` to a denormal number."""

NOTHING = 1e-30
"""What a float32 running mean below this would still move a weight by is lost in rounding."""

_FLUSH = 0x8040  # flush to zero, denormals are zero
_CONTROL_WORD = 28  # where glibc keeps the control word of SSE in its fenv_t


@contextmanager
def denormals_flushed() -> Iterator[None]:
    """The processor takes denormal numbers for 0 inside, in all threads that torch computes with.

    What the caller had set is put back afterwards. ``torch.set_flush_denormal`` is for the calling
    thread alone; the other threads are reached where they are those of GNU OpenMP on x86-64, as
    in torch's own builds for Linux.

    Examples
    --------
    >>> with denormals_flushed():
    ...     inside = float(torch.tensor(1e-40) * 1)
    >>> inside, float(torch.tensor(1e-40) * 1) > 0
    (0.0, True)
    """
    team = _team()
    if team is None:
        before = _is_flushed()
        torch.set_flush_denormal(True)
        try:
            yield
        finally:
            torch.set_flush_denormal(before)
        return
    before_all = ctypes.create_string_buffer(64)
    team.math.fegetenv(before_all)
    flushing = ctypes.create_string_buffer(before_all.raw, 64)
    word = ctypes.c_uint32.from_buffer(flushing, _CONTROL_WORD)
    word.value |= _FLUSH
    team.call(flushing)
    try:
        yield
    finally:
        team.call(before_all)


def _is_flushed() -> bool:
    return float(torch.tensor(1e-40, device="cpu") * 1) == 0


class _Team:
    """The calling thread and those that compute beside it."""

    def __init__(self, torch_library: ctypes.CDLL, math: ctypes.CDLL) -> None:
        self.parallel, self.math = torch_library.GOMP_parallel, math

    def call(self, environment: Any) -> None:
        """Let each of them take on a floating-point environment."""
        self.parallel(self.math.fesetenv, environment, torch.get_num_threads(), 0)


@cache
def _team() -> _Team | None:
    for kind in (np.float32, np.float64):
        np.finfo(kind)  # which it keeps, and looks for denormal numbers the first time
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        return None
    if platform.libc_ver()[0] != "glibc":
        return None
    try:
        torch_library = ctypes.CDLL(str(Path(torch.__path__[0]) / "lib" / "libtorch_cpu.so"))
        return _Team(torch_library, ctypes.CDLL(ctypes.util.find_library("m")))
    except (OSError, AttributeError):
        return None


@torch.no_grad()
def flush_denormals(optimizer: Optimizer) -> None:
    """Set the float32 elements of the optimizer's states that are smaller than ``NOTHING`` to 0.

    Inside :func:`denormals_flushed` nothing is left to do where all threads are reached by it.

    The running means of a momentum method decay by a constant factor per step where the gradient
    is 0. Weights move by what they did before: Adam divides by √v + ε with ε = 1e-8, beside which
    a v of 1e-30 is nothing either.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> adam = torch.optim.Adam([weight])
    >>> adam.state[weight]["exp_avg"] = torch.tensor([1e-40])
    >>> flush_denormals(adam)
    >>> float(adam.state[weight]["exp_avg"])
    0.0
    """
    if _team() is not None and _is_flushed():
        return
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor) and value.dim() and value.dtype == torch.float32:
                value.masked_fill_(value.abs() < NOTHING, 0.0)
