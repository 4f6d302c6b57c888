"""Guides with parameters of their own for each datum, and those of some of the data."""

from __future__ import annotations

from collections.abc import Mapping
from types import EllipsisType
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from pyro_models.pair import data_plate

__all__ = [
    "PerDatumGuide",
    "copy_parameters",
    "detached",
    "for_data",
    "is_per_datum",
    "parameters_of",
    "select_rows",
    "where_rows",
]

Module = TypeVar("Module", bound=nn.Module)
Index = Tensor | slice | EllipsisType


class PerDatumGuide(nn.Module):
    """A guide that samples every site inside the plate over the data it was made for.

    What x is does not matter: its parameters were fitted to it. A family gives ``sample``, and
    ``means`` where it knows E[z] of every site, (B, \\*event_shape).
    """

    def sample(self, index: Tensor) -> None:
        """Sample every site; ``index`` numbers the data of the plate."""
        raise NotImplementedError

    def forward(self, x: Tensor, *, n: int | None = None, **_: Any) -> None:
        """Sample every site of the data."""
        with data_plate(x, n, x) as index:
            self.sample(index)


def is_per_datum(guide: nn.Module, size: int) -> bool:
    """Whether every parameter of a guide for ``size`` data has one row for each.

    A guide with weights that its data share says so by the attribute ``shared = True``, or shows it
    by a parameter whose first dimension is not ``size``.
    """
    if getattr(guide, "shared", False):
        return False
    return all(p.dim() and len(p) == size for p in guide.parameters())


def for_data(guide: Module, index: Index, size: int) -> Module:
    """A guide for some of the ``size`` data of another; the other stays as it is.

    Parameters are indexed, unless they are shared by the data (see :func:`is_per_datum`), and so
    are the buffers that their module names in an attribute ``per_datum``; everything else is
    common to the two.
    """
    return _indexed(guide, index, parameters=is_per_datum(guide, size))


def _indexed(
    module: Module, index: Index, *, parameters: bool, made: dict[int, Any] | None = None
) -> Module:
    """A module of the same class with rows of its tensors; neither pickled nor built again.

    What stands under two names, in ``made`` by identity, does so in the new module too.
    """
    made = {} if made is None else made
    if id(module) in made:
        return cast(Module, made[id(module)])
    named = getattr(module, "per_datum", ())
    new = made[id(module)] = module.__new__(type(module))
    new.__dict__ = dict(module.__dict__)
    new.__dict__["_parameters"] = {
        name: made.setdefault(id(p), nn.Parameter(p.detach()[index].clone(), p.requires_grad))
        if parameters and p is not None
        else p
        for name, p in module._parameters.items()
    }
    new.__dict__["_buffers"] = {
        name: b[index].clone() if name in named and b is not None else b
        for name, b in module._buffers.items()
    }
    new.__dict__["_modules"] = {
        name: None if m is None else _indexed(m, index, parameters=parameters, made=made)
        for name, m in module._modules.items()
    }
    return new


def detached(guide: Module) -> Module:
    """A copy of a guide whose parameters are constants; the other may be trained on."""
    return _indexed(guide, ..., parameters=True).requires_grad_(False)


def parameters_of(guide: nn.Module, index: Index = ...) -> dict[str, Tensor]:
    """Copies of all parameters, or some of their rows, by name."""
    return {name: p.detach()[index].clone() for name, p in guide.named_parameters()}


@torch.no_grad()
def copy_parameters(values: Mapping[str, Tensor], guide: nn.Module, index: Index = ...) -> None:
    """Write values by name into a guide's parameters, or some of their rows."""
    for name, parameter in guide.named_parameters():
        parameter[index] = values[name]


def select_rows(values: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    """Some rows of values by name."""
    return {name: value[index] for name, value in values.items()}


def where_rows(rows: Tensor, there: Tensor, elsewhere: Tensor) -> Tensor:
    """Values of which some rows, (B,) booleans, are others."""
    return torch.where(rows.reshape(-1, *(1,) * (there.dim() - 1)), there, elsewhere)
