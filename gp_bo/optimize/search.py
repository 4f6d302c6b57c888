"""Bayesian optimisation as a search of ``inference.sweep``: which setting is trained next."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gp_bo.optimize.ask_tell import Optimizer
from gp_bo.optimize.inputs import Categorical, Continuous, Input, Integer
from gp_bo.optimize.space import Point, Space
from gp_bo.optimize.state import Evaluation, State
from inference.selection.search import Tried, register_search
from inference.selection.space import Choice, Number, Range, Whole

__all__ = ["GPSearch"]

_FAR = 3.0


@register_search("gp_bo")
@dataclass(frozen=True)
class GPSearch:
    """A Gaussian process of the score, and the setting with the best acquisition under it.

    Its hyper-parameters, the noise between seeds among them, are inferred anew before each
    proposal. What is running is believed to give its predicted mean; what failed or was pruned
    counts as bad as the worst there is. A score that lies farther behind the median than three
    times what the best lies before it counts as one there: how bad a training that went astray is
    says nothing of the good ones, and would hide their differences. The options are those of
    :class:`gp_bo.optimize.Optimizer`.

    Examples
    --------
    >>> space = {"lr": Number(1e-4, 1e-1, log=True)}
    >>> first = GPSearch()(space, [], seed=0, maximize=True)
    >>> 1e-4 <= first["lr"] <= 1e-1
    True
    """

    acquisition: Any = "log_ei"
    acquisition_options: Mapping[str, Any] | None = None
    kernel: Any = None
    inference: str = "map"
    gp: Mapping[str, Any] | None = None
    initial: int | None = None
    design: str = "sobol"

    def __post_init__(self) -> None:
        self._optimizer({"x": Number(0.0, 1.0)}, seed=0, maximize=True)  # refuses what is wrong

    def _optimizer(self, space: Mapping[str, Range], *, seed: int, maximize: bool) -> Optimizer:
        inputs = {name: _input(own) for name, own in space.items()}
        options = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return Optimizer(Space(inputs), seed=seed, maximize=maximize, **options)

    def __call__(
        self,
        space: Mapping[str, Range],
        tried: Sequence[Tried],
        *,
        seed: int,
        maximize: bool,
    ) -> dict[str, Any] | None:
        """The next setting."""
        optimizer = self._optimizer(space, seed=seed, maximize=maximize)
        points = [_point(each.setting, space) for each in tried]
        if len(set(points)) >= optimizer.space.size:
            return None
        running = [each.value is None and not each.failure for each in tried]
        values = _limited([each.value for each in tried], maximize=maximize)
        told = [
            Evaluation(point, value, each.failure)
            for point, value, each, runs in zip(points, values, tried, running, strict=True)
            if not runs
        ]
        pending = tuple(p for p, runs in zip(points, running, strict=True) if runs)
        state = optimizer.state
        known = State(
            state.space, maximize, "", seed, state.settings, tuple(told), pending, len(tried)
        )
        [point] = optimizer.at(known).ask()
        return {
            name: _value(own, value)
            for (name, own), value in zip(space.items(), point, strict=True)
        }


def _limited(values: Sequence[float | None], *, maximize: bool) -> list[float | None]:
    """The values, none farther behind their median than three times what the best is before it.

    >>> _limited([3.0, 2.0, 1.0, -1e6, None], maximize=True)
    [3.0, 2.0, 1.0, -3.0, None]
    """
    there = [value for value in values if value is not None]
    if not there:
        return [*values]
    middle, best = statistics.median(there), (max if maximize else min)(there)
    if middle == best:
        return [*values]
    end, limit = middle - _FAR * (best - middle), max if maximize else min
    return [None if value is None else limit(value, end) for value in values]


def _input(own: Range) -> Input:
    """A range as an input of the optimiser."""
    if isinstance(own, Choice):
        return Categorical(own.words)
    if isinstance(own, Whole):
        return Integer(own.low, own.high, own.log)
    return Continuous(own.low, own.high, own.log)


def _value(own: Range, value: Any) -> Any:
    """A value of an input as one of the range."""
    if isinstance(own, Choice):
        return own.values[own.words.index(value)]
    return own.rounded(value) if isinstance(own, Number) else value


def _point(setting: Mapping[str, Any], space: Mapping[str, Range]) -> Point:
    """A setting as a point of the optimiser."""
    return tuple(
        of.words[of.values.index(setting[name])] if isinstance(of, Choice) else setting[name]
        for name, of in space.items()
    )
