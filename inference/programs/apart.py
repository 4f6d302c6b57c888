"""A user's program run apart from everything around it, and nothing of it changed."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.poutine import runtime
from pyro.poutine.subsample_messenger import SubsampleMessenger
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from inference.programs.indefinite import IndefiniteIsNaN
from inference.programs.noise import NoiseOfEachRun
from inference.programs.promoting import Promoting
from pyro_models.seeds import alone

__all__ = ["Apart", "apart", "modules_of", "one_by_one", "said", "whole_plates"]


def said(error: Exception) -> str:
    """What an error says, in a line."""
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextmanager
def apart(modules: Iterable[nn.Module], *, dtype: torch.dtype | None = None) -> Iterator[None]:
    """No handler, plate or parameter of Pyro's store from outside; modules are constant.

    They are in evaluation mode, and no gradient reaches their parameters. Numbers are of a float
    type, the caller's default unless given.
    Arguments of distributions are not checked: a check looks at values, which vectorised evaluation
    does not have. All is as before afterwards.
    """
    allocator, enumerated = runtime._DIM_ALLOCATOR, vars(runtime._ENUM_ALLOCATOR)
    with alone():
        default = torch.get_default_dtype()
        stack, dims, numbers = runtime._PYRO_STACK[:], allocator._stack, dict(enumerated)
        modes = {m: m.training for module in modules for m in module.modules()}
        learned = {p: None for m in modes for p in m.parameters(recurse=False) if p.requires_grad}
        runtime._PYRO_STACK.clear()
        allocator._stack = []
        torch.set_default_dtype(dtype or default)
        for module in modes:
            module.training = False
        for parameter in learned:
            parameter.requires_grad_(False)
        try:
            store = pyro.get_param_store().scope()
            unchecked = pyro.validation_enabled(False)
            with unchecked, store, IndefiniteIsNaN(), NoiseOfEachRun(), Promoting():
                yield
        finally:
            torch.set_default_dtype(default)
            runtime._PYRO_STACK[:] = stack
            allocator._stack = dims
            enumerated.clear()
            enumerated.update(numbers)
            for module, training in modes.items():
                module.training = training
            for parameter in learned:
                parameter.requires_grad_(True)


class Apart:
    """:func:`apart` of some modules, entered once, and before anything is vectorised."""

    def __init__(self, modules: list[nn.Module], dtype: torch.dtype | None) -> None:
        self.modules, self.dtype, self.inside = modules, dtype, False

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Go inside, or stay there."""
        if self.inside:
            yield
            return
        with apart(self.modules, dtype=self.dtype):
            self.inside = True
            try:
                yield
            finally:
                self.inside = False


def one_by_one(function: Callable[..., Any], rows: Tensor, given: Mapping[str, Tensor]) -> Any:
    """A function of one row after the other, its results stacked."""
    found = [function(row, {n: v[i] for n, v in given.items()}) for i, row in enumerate(rows)]
    return tree_map(lambda *values: torch.stack(values), *found)


@contextmanager
def whole_plates() -> Iterator[None]:
    """Plates that would draw some of their data have all of them inside."""
    original = SubsampleMessenger.__dict__["_subsample"]

    def whole(
        name: str,
        size: int | None = None,
        subsample_size: int | None = None,
        subsample: Any = None,
        *rest: Any,
    ) -> Any:
        drawn = None if subsample is None and size is not None else subsample_size
        return original.__func__(name, size, drawn, subsample, *rest)

    with alone():
        SubsampleMessenger._subsample = staticmethod(whole)
        try:
            yield
        finally:
            SubsampleMessenger._subsample = original


def modules_of(*things: Any) -> list[nn.Module]:
    """The modules that a program is, is given, or refers to by name."""
    found: dict[nn.Module, None] = {}
    seen: set[int] = set()
    waiting = list(things)
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, nn.Module):
            found[thing] = None
        elif isinstance(thing, dict):
            waiting += thing.values()
        elif isinstance(thing, list | tuple):
            waiting += thing
        elif isinstance(thing, functools.partial):
            waiting += [thing.func, thing.args, thing.keywords]
        elif isinstance(thing, types.MethodType):
            own = getattr(thing.__self__, "__dict__", {})  # what is no module may hold some
            waiting += [thing.__self__, thing.__func__, own]
        elif isinstance(thing, types.FunctionType):
            waiting += _named_in(thing)
    return list(found)


def _named_in(function: types.FunctionType) -> list[Callable[..., Any] | nn.Module]:
    """Modules and functions in the closure of a function, and those that it names."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    names = (function.__globals__.get(name) for name in function.__code__.co_names)
    wrapped = getattr(function, "__wrapped__", None)
    kinds = (nn.Module, types.FunctionType, types.MethodType, functools.partial)
    own = [value for value in (*names, *cells, wrapped) if isinstance(value, kinds)]
    return [v for v in own if not getattr(v, "__module__", "").startswith(("torch", "pyro."))]


def _is_filled(cell: types.CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018  (asking is the test)
    except ValueError:
        return False
    return True
