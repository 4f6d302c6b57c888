"""A family of guides: how it is made for given data, and what it can be asked for."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from inference.posterior.log_density import LogDensity
from pyro_models import UsageError

__all__ = ["Family"]


@dataclass(frozen=True)
class Family:
    """How guides of one kind come about.

    Attributes
    ----------
    make
        ``make(target, **options)``: a guide for the data of ``target``, an ``nn.Module`` called as
        ``(x, *, y=None, n=None, mask=None)`` that samples every continuous site inside
        ``data_plate(x, n, x)``. Each of its parameters has one row for each datum; weights that
        the data share are announced by an attribute ``shared = True``.
    fitted
        Whether its parameters are then fitted by gradients.
    density
        Whether q has a density; without one there is no bound.
    objective
        What is maximised, of :data:`inference.posterior.optimization.OBJECTIVES`.
    lr
        Learning rate that suits its parameters.
    begins_with
        A family that is fitted first; ``make`` gets its guide as ``start``.
    contains
        A family whose members are among this one's: the fit is never below the best of it (see
        :mod:`inference.posterior.optimize`).
    within
        ``within(target, guide, member)``: a guide like ``guide`` at a fitted member of
        ``contains``.
    finish
        What is made of the fitted guide: ``finish(target, guide)``.
    """

    make: Callable[..., nn.Module]
    fitted: bool = True
    density: bool = True
    objective: str = "path"
    lr: float = 0.1
    begins_with: Family | None = None
    contains: Family | None = None
    within: Callable[[LogDensity, nn.Module, nn.Module], nn.Module] | None = None
    finish: Callable[[LogDensity, nn.Module], nn.Module] | None = None

    def __call__(
        self,
        target: LogDensity,
        options: Mapping[str, Any],
        *,
        name: str,
        start: nn.Module | None = None,
    ) -> nn.Module:
        """The guide before it is fitted, if its options are right and it is a module."""
        known = inspect.signature(self.make).parameters
        takes_all = any(p.kind is p.VAR_KEYWORD for p in known.values())
        names = [n for n, p in known.items() if p.kind is p.KEYWORD_ONLY and n != "start"]
        unknown = [option for option in options if option not in names]
        if unknown and not takes_all:
            raise UsageError(
                f"the guide {name} has no option {', '.join(unknown)}; it has "
                f"{', '.join(names) or 'none'}"
            )
        for option, value in options.items():
            if option in names:
                _check_number(name, known[option], value)
        guide = self.make(target, **({} if start is None else {"start": start}), **options)
        if not isinstance(guide, nn.Module):
            raise UsageError(f"the guide {name} is made as {guide!r}: return an nn.Module")
        return guide


def _check_number(guide: str, option: inspect.Parameter, value: object) -> None:
    """An option that is said to be a number, or is one unless given, is one."""
    kind = getattr(option.annotation, "__name__", option.annotation)  # a string if postponed
    if kind not in ("int", "float"):
        kind = "float" if type(option.default) in (int, float) else ""
    kinds = {"int": (int,), "float": (int, float)}
    if kind in kinds and (isinstance(value, bool) or not isinstance(value, kinds[kind])):
        what = "a whole number" if kind == "int" else "a number"
        raise UsageError(f"the guide {guide} takes {option.name} as {what}; got {value!r}")
