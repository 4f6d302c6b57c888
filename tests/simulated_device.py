"""A device that exists nowhere: tensors on ``sim:0`` and ``sim:1`` compute on the CPU.

It refuses what an accelerator refuses: tensors of two devices in one operation (numbers, copies and
indices apart), and NumPy. It has generators of its own. So code that forgets to move something
fails here as it would there, on a machine without any accelerator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._mode_utils import no_dispatch

__all__ = ["MODULE", "SIMULATED", "SimulatedTensor", "simulate"]

SIMULATED = "sim"
_COUNT = 2
_CROSS_DEVICES = {  # operations that take tensors of several devices
    "_to_copy",
    "copy_",
    "index",
    "index_put",
    "index_put_",
    "_index_put_impl_",
    "_unsafe_index",
}


class _Module:
    """What torch asks of ``torch.sim``."""

    def __init__(self) -> None:
        self.count = 1  # more than one, and torch warns whoever forks generators
        self._current = 0
        self.generators = [torch.Generator() for _ in range(_COUNT)]

    def is_available(self) -> bool:
        return True

    def is_initialized(self) -> bool:
        return True

    def _is_in_bad_fork(self) -> bool:
        return False

    def current_device(self) -> int:
        return self._current

    def device_count(self) -> int:
        return self.count

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    @contextmanager
    def device(self, device: object) -> Iterator[None]:
        """Work with this one of several inside."""
        before, self._current = self._current, _index(device)
        try:
            yield
        finally:
            self._current = before

    def synchronize(self, device: object = None) -> None:
        pass

    def manual_seed(self, seed: int) -> None:
        self.generators[self._current].manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        for generator in self.generators:
            generator.manual_seed(seed)

    def get_rng_state(self, device: object = None) -> Tensor:
        return self.generators[self._current if device is None else _index(device)].get_state()

    def set_rng_state(self, state: Tensor, device: object = None) -> None:
        self.generators[self._current if device is None else _index(device)].set_state(state)


def _index(device: object) -> int:
    if isinstance(device, int):
        return device
    return torch.device(device).index or 0  # type: ignore[arg-type]


# a test runner may load this file under two names: there is one device for both
MODULE: Any = getattr(torch, SIMULATED, None) or _Module()


class SimulatedTensor(Tensor):
    """A tensor that says it is on ``sim``, around one on the CPU."""

    values: Tensor

    @staticmethod
    def __new__(cls, values: Tensor, device: torch.device) -> SimulatedTensor:
        made: SimulatedTensor = Tensor._make_wrapper_subclass(
            cls,
            values.shape,
            strides=values.stride(),
            storage_offset=values.storage_offset(),
            dtype=values.dtype,
            device=device,
        )
        made.values = values
        return made

    def __repr__(self, **_: Any) -> str:
        return f"simulated {self.values!r}"

    def tolist(self) -> Any:  # as of an accelerator's tensor
        return self.values.tolist()

    def __reduce_ex__(self, protocol: Any) -> Any:  # what a file holds is read on the CPU
        return self.values.__reduce_ex__(protocol)

    @classmethod
    def __torch_dispatch__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _compute(function, args, dict(kwargs or {}))


def _compute(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operation on the CPU; its results are on the device of its inputs, or the one asked."""
    tensors = [t for t in pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    ours = [t for t in tensors if isinstance(t, SimulatedTensor)]
    device = ours[0].device
    name = function.overloadpacket.__name__
    if name not in _CROSS_DEVICES:
        for other in tensors:
            if other.device != device and other.dim():
                raise RuntimeError(
                    "Expected all tensors to be on the same device, but found at least two "
                    f"devices, {device} and {other.device}! (in {function})"
                )
    if name.startswith("_fused_"):
        _check_layout(function, args)
    if kwargs.get("device") is not None:
        device = torch.device(kwargs["device"])
    if "device" in kwargs:
        kwargs["device"] = torch.device("cpu")
    kwargs.pop("pin_memory", None)
    takes = {argument.name for argument in function._schema.arguments}
    if "generator" in takes and kwargs.get("generator") is None:
        kwargs["generator"] = MODULE.generators[device.index or 0]
    owner = {id(t.values): t for t in ours}
    inner = pytree.tree_map(
        lambda t: t.values if isinstance(t, SimulatedTensor) else t, (args, kwargs)
    )
    result = function(*inner[0], **inner[1])
    if torch.Tag.inplace_view in function.tags:  # the shape it has now must be seen outside, too
        with no_dispatch():
            function(*args, **kwargs)
    if name == "copy_":
        return args[0]

    def outer(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in owner:
            return owner[id(value)]
        return value if device.type != SIMULATED else SimulatedTensor(value, device)

    return pytree.tree_map(outer, result)


def _check_layout(function: Any, lists: Any) -> None:
    """What a fused optimizer asks of parameters, gradients and states on an accelerator."""
    groups = [group for group in lists if isinstance(group, list) and group]
    for tensors in zip(*[g for g in groups if len(g) == len(groups[0])], strict=True):
        if len({t.stride() for t in tensors if t.dim()}) > 1:
            raise RuntimeError(
                "params, grads, exp_avgs, and exp_avg_sqs must have same dtype, device, and layout "
                f"(in {function})"
            )


def _empty(size: Any, *, dtype: Any = None, device: Any = None, **_: Any) -> Tensor:
    return SimulatedTensor(torch.empty(size, dtype=dtype), _numbered(device))


def _empty_strided(
    size: Any, stride: Any, *, dtype: Any = None, device: Any = None, **_: Any
) -> Tensor:
    return SimulatedTensor(torch.empty_strided(size, stride, dtype=dtype), _numbered(device))


def _copy_from(source: Tensor, target: Tensor, non_blocking: bool = False) -> Tensor:
    """What ``target.copy_(source)`` comes to where only one of them is on the device."""
    values = [t.values if isinstance(t, SimulatedTensor) else t for t in (target, source)]
    values[0].copy_(values[1])
    return target


def _made(function: Any) -> Any:
    """A factory of tensors whose size it finds out itself."""

    def make(*args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        kwargs.pop("pin_memory", None)
        return SimulatedTensor(function(*args, **kwargs), _numbered(device))

    return make


_FACTORIES = {
    "arange": torch.arange,
    "arange.start": torch.arange,
    "arange.start_step": torch.arange,
    "eye": torch.eye,
    "eye.m": torch.eye,
    "linspace": torch.linspace,
    "randperm": torch.randperm,
    "tril_indices": torch.tril_indices,
}


def _numbered(device: Any) -> torch.device:
    return torch.device(SIMULATED, torch.device(device).index or 0)


_libraries: list[Any] = []


def simulate() -> bool:
    """Make the device known to this process, once; whether this torch lets a test do so."""
    if hasattr(torch, SIMULATED):
        return True
    try:
        from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    except ImportError:
        return False
    _setup_privateuseone_for_python_backend(SIMULATED, backend_module=MODULE)
    aten = torch.library.Library("aten", "IMPL")
    aten.impl("empty.memory_format", _empty, "PrivateUse1")
    aten.impl("empty_strided", _empty_strided, "PrivateUse1")
    aten.impl("_copy_from", _copy_from, "PrivateUse1")
    for name, function in _FACTORIES.items():
        aten.impl(name, _made(function), "PrivateUse1")
    rest = torch.library.Library("_", "IMPL")
    rest.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _libraries.extend([aten, rest])
    return True
