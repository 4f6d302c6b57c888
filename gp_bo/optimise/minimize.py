"""Minimise a function in one call, within a budget of evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from gp_bo.optimise.ask_tell import Optimizer
from gp_bo.optimise.space import Point, Space
from gp_bo.optimise.state import Evaluation
from pyro_models import UsageError

__all__ = ["Result", "minimize"]


@dataclass(frozen=True)
class Result:
    """What an optimisation found.

    Attributes
    ----------
    x
        The best point: values of the inputs, in order.
    y
        Its value, as the function gave it.
    evaluations
        Every point that was tried, in order, with its value or why it has none.
    stopped
        Why it ended.
    space
        The inputs.
    maximise
        Whether large values were wanted.
    messages
        What the inferences of θ did not reach, fit by fit, in this call.
    """

    x: Point
    y: float
    evaluations: tuple[Evaluation, ...]
    stopped: str
    space: Space
    maximise: bool
    messages: tuple[str, ...] = ()

    @property
    def trace(self) -> np.ndarray:
        """(n,): the best value after each evaluation; NaN before the first that has one."""
        worst = -math.inf if self.maximise else math.inf
        values = [worst if e.value is None else e.value for e in self.evaluations]
        best = (np.maximum if self.maximise else np.minimum).accumulate(np.array(values))
        return np.where(np.isfinite(best), best, np.nan)

    def regret(self, optimum: float) -> np.ndarray:
        """(n,): simple regret |best value so far − optimum| after each evaluation."""
        return np.abs(self.trace - optimum)

    def __str__(self) -> str:
        kind = "largest" if self.maximise else "least"
        failed = sum(e.value is None for e in self.evaluations)
        tail = f", {failed} failed" if failed else ""
        return (
            f"{kind} value {self.y:.6g} at {self.space.describe_point(self.x)}\n"
            f"{len(self.evaluations)} evaluations{tail}; stopped: {self.stopped}"
        )


def minimize(
    f: Callable[[Any], float],
    bounds: Any = None,
    *,
    budget: int,
    candidates: Any = None,
    acquisition: str = "log_ei",
    acquisition_options: Mapping[str, Any] | None = None,
    inference: str = "map",
    gp: Mapping[str, Any] | None = None,
    maximise: bool = False,
    initial: int | None = None,
    design: str = "sobol",
    repeats: bool = False,
    target: float | None = None,
    problem: str = "",
    seed: int = 0,
    state: str | Path | None = None,
    progress: bool = False,
) -> Result:
    """Minimise an expensive function by Bayesian optimisation.

    Parameters
    ----------
    f
        Called with the inputs as an array (d,), or, where some are categories, as a tuple. If it
        raises, or gives NaN, the evaluation is recorded as failed and the search goes on.
    bounds, candidates
        As :func:`gp_bo.optimise.space_from` takes them.
    budget
        Number of evaluations in all, failed ones and those in the state file among them.
    acquisition, acquisition_options, inference, gp, maximise, initial, design, repeats, problem
        As in :class:`gp_bo.optimise.Optimizer`.
    target
        Stop as soon as a value is at least as good.
    seed
        Of everything random: the same call gives the same points.
    state
        A file, written after every evaluation; if it is there, the search goes on from it. Points
        that were being evaluated when the process died are evaluated first.
    progress
        Whether to show a progress bar.

    Returns
    -------
    Result
        Frozen: best point and value, all evaluations, why it stopped.

    Raises
    ------
    UsageError
        If an argument is wrong, or no evaluation gave a value.

    Examples
    --------
    >>> result = minimize(lambda x: float((x[0] - 0.3) ** 2), [(0.0, 1.0)], budget=9)
    >>> result.y < 1e-3, result.stopped
    (True, 'the budget of 9 evaluations is spent')
    """
    if not isinstance(budget, Integral) or budget < 1:
        raise UsageError(f"the budget is one evaluation or more; got {budget!r}")
    if not callable(f):
        raise UsageError(f"f is a function of the inputs; got {f!r}")
    optimizer = Optimizer(
        bounds,
        candidates=candidates,
        acquisition=acquisition,
        acquisition_options=acquisition_options,
        inference=inference,
        gp=gp,
        maximise=maximise,
        initial=initial,
        design=design,
        repeats=repeats,
        problem=problem,
        seed=seed,
        state=state,
    )
    done = len(optimizer.evaluations)
    with tqdm(total=budget, initial=min(done, budget), disable=not progress) as bar:
        stopped = _search(f, optimizer, budget=budget, target=target, bar=bar)
    best = optimizer.best
    if best is None or best.value is None:
        first = optimizer.evaluations[0].failure
        begun = f"; mend f and begin anew, without {state}" if state is not None else ""
        count = len(optimizer.evaluations)
        raise UsageError(f"all {count} evaluations failed; the first: {first}{begun}")
    return Result(
        best.point,
        best.value,
        optimizer.evaluations,
        stopped,
        optimizer.space,
        maximise,
        tuple(optimizer.messages),
    )


def _search(
    f: Callable[[Any], float], optimizer: Optimizer, *, budget: int, target: float | None, bar: Any
) -> str:
    """Evaluate until something ends it; say what."""
    while len(optimizer.evaluations) < budget:
        best = optimizer.best
        if target is not None and best is not None and best.value is not None:
            sign = -1.0 if optimizer.state.maximise else 1.0
            if sign * best.value <= sign * target:
                return f"the target {target:g} is reached"
        if optimizer.exhausted:
            return "every point was tried"
        point = optimizer.pending[0] if optimizer.pending else optimizer.ask()[0]
        _evaluate(f, optimizer, point)
        bar.update()
        if optimizer.best is not None:
            bar.set_postfix_str(f"best {optimizer.best.value:.6g}")
    return f"the budget of {budget} evaluations is spent"


def _evaluate(f: Callable[[Any], float], optimizer: Optimizer, point: Point) -> None:
    space = optimizer.space
    try:
        value = float(f(space.as_array([point])[0] if space.is_numeric else point))
    except Exception as error:  # whatever the user's function raises is one failed evaluation
        optimizer.tell_failure(point, f"{type(error).__name__}: {error}".split("\n")[0])
    else:
        optimizer.tell(point, value)
