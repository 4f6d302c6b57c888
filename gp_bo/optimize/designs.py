"""Points to start from, before there is anything to learn from."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor
from torch.quasirandom import SobolEngine

from gp_bo.optimize.inputs import Categorical, Integer
from gp_bo.optimize.space import Point, Space
from pyro_models.seeds import stream

__all__ = ["DESIGNS", "all_points", "design_points", "unit_points"]

DESIGNS = ("sobol", "random")
LISTED = 2000  # a space with at most so many points is listed rather than sampled


def unit_points(count: int, columns: int, *, seed: int, design: str = "sobol") -> Tensor:
    """Points in the unit cube, (count, columns): scrambled Sobol ones, or ``"random"``, uniform.

    A longer design of the same seed begins with the shorter one.
    """
    if design == "sobol":
        return SobolEngine(columns, scramble=True, seed=seed).draw(count, dtype=torch.float64)
    return torch.as_tensor(np.random.default_rng(seed).random((count, columns)))


def design_points(space: Space, count: int, *, seed: int, design: str = "sobol") -> list[Point]:
    """The first ``count`` points of a design in a space; a small finite one is shuffled instead.

    Examples
    --------
    >>> from gp_bo.optimize.space import space_from
    >>> design_points(space_from({"level": ["low", "high"]}), 4, seed=0)
    [('low',), ('high',), ('low',), ('high',)]
    """
    seed = stream(seed, "design")
    if space.size <= LISTED or space.candidates is not None:
        points = all_points(space)
        order = np.random.default_rng(seed).permutation(len(points)).tolist()
        return [points[i] for i in itertools.islice(itertools.cycle(order), count)]
    return space.decode(unit_points(count, space.columns, seed=seed, design=design))


def all_points(space: Space) -> list[Point]:
    """Every point of a finite space."""
    if space.candidates is not None:
        return list(space.candidates)
    choices: list[list[int] | list[str]] = []
    for each in space.inputs.values():
        if isinstance(each, Categorical):
            choices.append(list(each.values))
        elif isinstance(each, Integer):
            choices.append(list(range(each.low, each.high + 1)))
        else:
            raise ValueError("a space with a continuous input cannot be listed")
    return list(itertools.product(*choices))
