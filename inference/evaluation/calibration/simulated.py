"""Simulations with their posterior draws, and the ranks of every quantity among them."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from inference.evaluation.calibration.findings import TARP
from inference.evaluation.calibration.ranks import rank_of
from pyro_models import Pair, UsageError
from pyro_models.data import Identity, checksum
from pyro_models.errors import in_one_line

__all__ = ["Functions", "Simulated", "Simulator", "described", "names_of", "ranked"]

Functions = Mapping[str, Callable[[Mapping[str, Tensor], Any], Tensor]]
"""By name, what is ranked beside latents: a function of M values by site, each (M, \\*shape), and
of the data of that simulation, that returns (M,)."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """n simulations, each with L draws from the posterior of its data.

    Attributes
    ----------
    truth, elsewhere
        What data were simulated from, and as many other draws from the prior: site →
        (n, \\*shape).
    draws
        Site → (L, n, \\*shape).
    data
        Data of each simulation, n.
    densities
        Log densities by name, of the truth (n,) and of draws (L, n).
    failed, unfinished, correlated
        As of :class:`inference.evaluation.calibration.Calibration`, (n,) booleans each.
    """

    truth: Mapping[str, Tensor]
    elsewhere: Mapping[str, Tensor]
    draws: Mapping[str, Tensor]
    data: Sequence[Any] | Tensor
    densities: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    failed: Tensor | None = None
    unfinished: Tensor | None = None
    correlated: Tensor | None = None


class Simulator:
    """Where simulations and posteriors come from.

    Attributes
    ----------
    pair
        Whose generators are seeded for each block; ``None`` for those of the CPU.
    name, guide
        What a result calls model and guide.
    shapes
        Shapes of the continuous latents by name.
    densities
        Names of the log densities that a simulation comes with.
    together
        How many simulations make a block.
    identity, settings, modules
        What tells these simulations from others, where finished blocks are kept: of the model, of
        options as plain values, and of guides that are modules.
    """

    pair: Pair | None = None
    name: str
    guide: str
    shapes: Mapping[str, tuple[int, ...]]
    densities: tuple[str, ...] = ()
    together: int = 1
    identity: Identity = Identity({"simulated": ""})
    settings: Mapping[str, Any]
    modules: Sequence[nn.Module] = ()

    def __call__(self, rows: Sequence[int], num_draws: int, seed: int) -> Simulated:
        """Simulations of these numbers, from the global generators, and L draws of each."""
        raise NotImplementedError


def names_of(source: Simulator, functions: Functions) -> list[str]:
    """The quantities that are ranked, in their order."""
    names = [*_entries(source.shapes), *source.densities, TARP, *functions]
    twice = next((name for name in functions if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"the quantity {twice!r} is there already: give yours another name")
    return names


def ranked(of: Simulated, source: Simulator, functions: Functions) -> tuple[Tensor, Tensor]:
    """Ranks (n, Q) in the order of :func:`names_of`, and what is to be said of each, (n, 3)."""
    truth = _flat(of.truth, source.shapes)
    draws, elsewhere = _flat(of.draws, source.shapes), _flat(of.elsewhere, source.shapes)
    columns = [rank_of(truth, draws)]
    columns += [rank_of(*of.densities[name]).unsqueeze(-1) for name in source.densities]
    columns += [_tarp(truth, draws, elsewhere).unsqueeze(-1)]
    for name, function in functions.items():
        values = torch.stack([_value(name, function, of, i) for i in range(len(truth))], 1)
        columns += [rank_of(values[0], values[1:]).unsqueeze(-1)]
    fine = torch.zeros(len(truth), dtype=torch.bool, device=truth.device)
    failed = fine if of.failed is None else of.failed
    failed = failed | ~draws.isfinite().all(0).all(-1)
    notes = [failed, *(fine if x is None else x for x in (of.unfinished, of.correlated))]
    return torch.cat([column.cpu() for column in columns], 1), torch.stack(notes, 1).cpu()


def described(value: Any) -> Any:
    """What tells an option from another as a plain value: a function by its source."""
    if isinstance(value, Tensor):
        return checksum(value)
    if isinstance(value, Mapping):
        return {str(name): described(part) for name, part in value.items()}
    if callable(value):
        try:
            source = inspect.getsource(value)
        except (OSError, TypeError):  # typed in, or an object
            return str(getattr(value, "__name__", type(value).__name__))
        return hashlib.sha256(source.encode()).hexdigest()[:32]
    return value if value is None or isinstance(value, str | int | float) else repr(value)


def _entries(shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """Names of all scalars: ``tau``, ``z[0]``, ``A[1, 0]``."""
    names = []
    for name, shape in shapes.items():
        places = product(*map(range, shape))
        names += [f"{name}[{', '.join(map(str, at))}]" if at else name for at in places]
    return names


def _flat(values: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> Tensor:
    """Values by site, (\\*batch, \\*shape), as vectors, (\\*batch, D)."""
    parts = []
    for name, shape in shapes.items():
        value = values[name]
        batch = value.shape[: value.dim() - len(shape)]
        parts.append(value.reshape(*batch, math.prod(shape)))
    return torch.cat(parts, -1)


def _tarp(truth: Tensor, draws: Tensor, elsewhere: Tensor) -> Tensor:
    """Ranks of the truth's distance from a random point among those of draws, (n,).

    Of tests of accuracy with random points (Lemos, Coogan, Hezaveh & Perreault-Levasseur 2023);
    the points are draws from the prior. Each coordinate has the scale of truth and draws together,
    in which none of them stands out if the posterior is right.
    """
    scale = torch.cat([truth.unsqueeze(0), draws]).std(0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))

    def distance(values: Tensor) -> Tensor:
        return ((values - elsewhere) / scale).square().sum(-1)

    return rank_of(distance(truth), distance(draws))


def _value(name: str, function: Callable[..., Tensor], of: Simulated, i: int) -> Tensor:
    """A function of the truth and of the draws of one simulation, (1 + L,)."""
    values = {n: torch.cat([of.truth[n][i : i + 1], of.draws[n][:, i]]) for n in of.draws}
    with in_one_line(f"the quantity {name}"):
        found = torch.as_tensor(function(values, of.data[i]))
    count = len(next(iter(values.values())))
    if found.shape != (count,):
        raise UsageError(
            f"the quantity {name} of {count} values is ({count},), one number for each; got "
            f"{tuple(found.shape)}"
        )
    return found
