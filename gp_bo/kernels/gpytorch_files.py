"""A kernel of GPyTorch as plain values that JSON can hold, and back: names and numbers, no code."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_models import UsageError
from pyro_models.registry import Registry, found_as

__all__ = ["described", "rebuilt"]

_CONSTRAINTS = ("Positive", "GreaterThan", "LessThan", "Interval")


def described(kernel: Any) -> dict[str, Any]:
    """Class, options and constraints of a kernel and of those it is made of, and its parameters.

    An option is a parameter of the constructor that is kept as an attribute of its name. A
    ``UsageError``, if a kernel with the same values cannot be made from this.
    """
    every = kernel.named_parameters(remove_duplicate=False)
    found = {
        "structure": _structure(kernel),
        "parameters": {path: parameter.tolist() for path, parameter in every},
        "fixed": [path for path, p in kernel.named_parameters() if not p.requires_grad],
    }
    try:
        again = rebuilt(found, {_name_of(type(each)): type(each) for each in _all(kernel)})
        same = _same(kernel, again)
    except (TypeError, ValueError, AttributeError, RuntimeError, KeyError, IndexError):
        same = False
    if not same:
        raise UsageError(
            f"a kernel of class {type(kernel).__name__} cannot be stored: write its class so that "
            "each argument of its constructor is an attribute, or go on without a file and keep "
            "the script that makes it"
        )
    return found


def rebuilt(description: Mapping[str, Any], registered: Mapping[str, Any]) -> Any:
    """The kernel that :func:`described` described, in float64.

    ``registered`` are classes by name beside those of GPyTorch; an unknown one is a ``UsageError``.
    """
    kernel = _made(description["structure"], registered).double()
    with torch.no_grad():
        for path, parameter in kernel.named_parameters():
            parameter.copy_(torch.tensor(description["parameters"][path], dtype=torch.float64))
            parameter.requires_grad_(path not in description["fixed"])
    return kernel


def _structure(kernel: Any) -> dict[str, Any]:
    from gpytorch.kernels import Kernel

    signature = dict(inspect.signature(type(kernel).__init__).parameters)
    if any(p.kind is p.VAR_KEYWORD for p in signature.values()):
        signature = {**inspect.signature(Kernel.__init__).parameters, **signature}
    options: dict[str, Any] = {}
    for name, parameter in signature.items():
        held = vars(kernel).get(name, getattr(kernel, name, None))
        if parameter.kind is parameter.VAR_POSITIONAL and name == "kernels":
            options["*"] = [_structure(each) for each in kernel.kernels]
        elif isinstance(held, Kernel):
            options[name] = {"kernel": _structure(held)}
        elif isinstance(held, Tensor) and not held.requires_grad and held.dtype == torch.int64:
            options[name] = held.tolist()
        elif isinstance(held, bool | int | float | str) and name not in ("self", "batch_shape"):
            options[name] = held
    constraints = {
        name: [type(each).__name__, *(_finite(b) for b in (each.lower_bound, each.upper_bound))]
        for name, each in vars(kernel)["_modules"].items()
        if type(each).__name__ in _CONSTRAINTS
    }
    return {"class": _name_of(type(kernel)), "options": options, "constraints": constraints}


def _name_of(kind: type) -> str:
    return found_as(kind) or kind.__name__


def _made(structure: Mapping[str, Any], registered: Mapping[str, Any]) -> Any:
    from gpytorch import constraints, kernels

    name = structure["class"]
    kind = registered.get(name) or (getattr(kernels, name) if name in kernels.__all__ else None)
    if kind is None and ".py:" in name:
        kind = Registry[Any]("kernel")[name]
    if kind is None:
        raise UsageError(
            f"the kernel is of class {name}, which is unknown here: register it first, with "
            f"gp_bo.kernels.register_kernel({name.lower()!r}, {name})"
        )
    options = dict(structure["options"])
    parts = [_made(each, registered) for each in options.pop("*", ())]
    for option, value in options.items():
        if isinstance(value, Mapping):
            options[option] = _made(value["kernel"], registered)
        elif isinstance(value, list):
            options[option] = tuple(value)
    kernel = kind(*parts, **options)
    for own, (bound, low, high) in structure["constraints"].items():
        if bound not in _CONSTRAINTS:
            raise ValueError(f"{bound} is no constraint")
        given = {"lower_bound": low} if low is not None and bound != "Positive" else {}
        given |= {"upper_bound": high} if high is not None else {}
        made = getattr(constraints, bound)(**given)
        kernel.register_constraint(own.removesuffix("_constraint"), made)
    return kernel


def _finite(bound: Tensor) -> Any:
    value = bound.tolist()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _all(kernel: Any) -> list[Any]:
    from gpytorch.kernels import Kernel

    return [each for each in kernel.modules() if isinstance(each, Kernel)]


def _same(kernel: Any, again: Any) -> bool:
    """Whether two kernels have the same parameters, and the same values at some points."""
    own, other = (dict(each.named_parameters()) for each in (kernel, again))
    if own.keys() != other.keys() or not all(torch.equal(own[n].double(), other[n]) for n in own):
        return False
    highest = [int(k.active_dims.max()) + 1 for k in _all(kernel) if k.active_dims is not None]
    counts = [k.ard_num_dims for k in _all(kernel) if k.ard_num_dims is not None]
    generator = torch.Generator().manual_seed(0)
    X = torch.rand(4, max([1, *highest, *counts]), generator=generator).double()
    with torch.no_grad():
        return torch.equal(kernel.double()(X).to_dense(), again(X).to_dense())
