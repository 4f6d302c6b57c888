"""Devices by name, and data put where the model that is asked about them is."""

from __future__ import annotations

from typing import Any, overload

import torch
from torch import Tensor

from pyro_models.errors import UsageError

__all__ = ["check_device", "device_of", "like_of", "placed"]


def check_device(device: str | torch.device) -> torch.device:
    """A device of this machine by its name: ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, …

    It is refused if the name is unknown, or if this machine has no such device.

    >>> check_device("cpu")
    device(type='cpu')
    """
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise UsageError(f"unknown device {device!r}: cpu, cuda, cuda:1 or mps") from error
    if found.type == "meta":
        raise UsageError("tensors of the device meta have no values: use cpu, cuda or mps")
    count = _count(found.type)
    if count == 0:
        raise UsageError(f"this machine has no {found.type} device that torch can use; use cpu")
    if found.index is not None and not 0 <= found.index < count:
        several = f"{count} {found.type} devices, {found.type}:0 to {found.type}:{count - 1}"
        one = f"one {found.type} device, {found.type}:0"
        raise UsageError(f"{found} is not there: this machine has {one if count == 1 else several}")
    return found


def like_of(module: Any) -> Tensor:
    """A parameter, or else a buffer, of a module: its device and its float type."""
    first: Tensor | None = next(iter(module.parameters()), None)
    if first is not None:
        return first
    for buffer in module.buffers():
        if buffer.is_floating_point():
            return buffer
    raise UsageError(
        f"{type(module).__name__} has no parameter and no buffer, so nothing says on which device "
        "it is: register a buffer"
    )


def device_of(module: Any) -> torch.device:
    """Where the parameters of a pair, a model or a guide are."""
    return like_of(module).device


def _count(kind: str) -> int:
    """How many devices of a kind torch can use here."""
    if kind == "cpu":
        return 1
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    try:
        module = torch.get_device_module(kind)
        return int(module.device_count()) if module.is_available() else 0
    except (RuntimeError, AttributeError):  # torch knows the name and was built without it
        return 0


@overload
def placed(x: Tensor, like: Tensor) -> Tensor: ...
@overload
def placed(x: Tensor | None, like: Tensor) -> Tensor | None: ...
def placed(x: Tensor | None, like: Tensor) -> Tensor | None:
    """Values on the device of ``like`` and, where both are numbers with a point, in its float type.

    What is there already is returned as it is, and None as None; a gradient flows back to where x
    was. What is no tensor is refused.

    >>> placed(torch.ones(2, dtype=torch.float64), torch.zeros(())).dtype
    torch.float32
    """
    if x is None:
        return None
    if not isinstance(x, Tensor):
        raise UsageError(f"a model takes tensors; got a {type(x).__name__}: give torch.as_tensor")
    both = x.is_floating_point() and like.is_floating_point()
    return x.to(like.device, like.dtype) if both else x.to(like.device)
