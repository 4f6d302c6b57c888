"""Minimise a function in one call, within a budget of evaluations."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from gp_bo.optimize.ask_tell import Optimizer
from gp_bo.optimize.proposal import Recommendation
from gp_bo.optimize.shared_state import Full, working
from gp_bo.optimize.space import Point, Space
from gp_bo.optimize.state import Evaluation
from gp_bo.optimize.values import number_of
from gp_bo.signatures import takes_options_of
from inference.progress import Bar, bar
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import is_count
from pyro_models.moved import renamed_arguments, renamed_attribute

__all__ = ["NoNumberError", "Result", "minimize"]

_log = logging.getLogger(__name__)


class NoNumberError(UsageError):
    """A function gave what is no number; ``evaluations`` are those before."""

    def __init__(self, message: str, evaluations: tuple[Evaluation, ...]) -> None:
        super().__init__(message)
        self.evaluations = evaluations


@dataclass(frozen=True)
class Result(Brief):
    """What an optimisation found.

    Attributes
    ----------
    x
        The point of the best value seen: values of the inputs, in order.
    y
        That value, as the function gave it; where values are noisy, the luckiest of them.
    evaluations
        Every point that was tried, in order, with its value or why it has none.
    stopped
        Why it ended.
    space
        The inputs.
    maximize
        Whether large values were wanted.
    messages
        What the inferences of θ did not reach, fit by fit, in this call.
    """

    x: Point
    y: float
    evaluations: tuple[Evaluation, ...]
    stopped: str
    space: Space
    maximize: bool
    messages: tuple[str, ...] = ()
    _optimizer: Optimizer | None = field(default=None, repr=False, compare=False)

    maximise = renamed_attribute("maximize")

    def facts(self) -> Mapping[str, object]:
        """The best value and where, after how many evaluations, and why it ended."""
        failed = sum(e.value is None for e in self.evaluations)
        return {
            "largest value" if self.maximize else "least value": f"{self.y:.6g}",
            "at": self.space.describe_point(self.x),
            "evaluations": f"{len(self.evaluations)}{f', {failed} failed' if failed else ''}",
            "stopped": self.stopped,
        }

    @cached_property
    def recommended(self) -> Recommendation | None:
        """The evaluated point with the best posterior mean; ``None`` of fewer than two values.

        It is found by one more fit, when it is first asked for.
        """
        if self._optimizer is None or sum(e.value is not None for e in self.evaluations) < 2:
            return None
        return self._optimizer.recommend()

    @property
    def trace(self) -> np.ndarray:
        """(n,): the best value after each evaluation; NaN before the first that has one."""
        worst = -math.inf if self.maximize else math.inf
        values = [worst if e.value is None else e.value for e in self.evaluations]
        best = (np.maximum if self.maximize else np.minimum).accumulate(np.array(values))
        return np.where(np.isfinite(best), best, np.nan)

    def regret(self, optimum: float) -> np.ndarray:
        """(n,): simple regret |best value so far − optimum| after each evaluation."""
        return np.abs(self.trace - optimum)

    def __str__(self) -> str:
        kind = "largest" if self.maximize else "least"
        lines = [f"{kind} value seen: {self.y:.6g} at {self.space.describe_point(self.x)}"]
        if self.recommended is not None:
            lines.append(self.recommended.described(self.space))
        failed = sum(e.value is None for e in self.evaluations)
        tail = f", {failed} failed" if failed else ""
        lines.append(f"{len(self.evaluations)} evaluations{tail}; stopped: {self.stopped}")
        return "\n".join(lines)


@renamed_arguments(maximise="maximize")
@takes_options_of(Optimizer)
def minimize(
    f: Callable[[Any], float],
    bounds: Any = None,
    *,
    budget: int,
    target: float | None = None,
    progress: bool = False,
    **options: Any,
) -> Result:
    """Minimise an expensive function by Bayesian optimisation.

    Parameters
    ----------
    f
        Called with the inputs as an array (d,), or, where some are categories, as a tuple. It
        returns a number, or an array or tensor of one element. If it raises, or gives NaN, the
        evaluation is recorded as failed and the search goes on; if the first one fails, that is
        logged as a warning at once.
    bounds
        As :func:`gp_bo.optimize.space_from` takes them.
    budget
        Number of evaluations in all, failed ones, those in the state file, and those that other
        processes are at among them.
    target
        Stop as soon as a value is at least as good.
    progress
        Whether to show a progress bar.
    options
        ``candidates``, ``acquisition``, ``acquisition_options``, ``kernel``, ``inference``, ``gp``,
        ``maximize``, ``initial``, ``design``, ``repeats``, ``problem``, ``seed``, ``state`` and
        ``device``, as for :class:`gp_bo.optimize.Optimizer`. The same seed gives the same points.
        With a state file the search goes on from what is in it; points that were being evaluated
        when a process died are evaluated first. f is called with numbers on any device.

    Raises
    ------
    UsageError
        If an argument is wrong, or no evaluation gave a value.
    NoNumberError
        As soon as f gives something else than a number: ``None``, a text, a complex number, several
        numbers. What was evaluated before is kept in the state file, and in the error.

    Examples
    --------
    >>> result = minimize(lambda x: float((x[0] - 0.3) ** 2), [(0.0, 1.0)], budget=9)
    >>> result.y < 1e-3, result.stopped
    (True, 'the budget of 9 evaluations is spent')
    """
    if not is_count(budget):
        raise UsageError(f"the budget is one evaluation or more; got {budget!r}")
    if not callable(f):
        raise UsageError(f"f is a function of the inputs; got {f!r}")
    optimizer = Optimizer(bounds, **options)
    before = min(len(optimizer.evaluations), budget)
    with working() as name, bar(budget, unit="evaluations", done=before, shown=progress) as done:
        stopped = _search(f, optimizer, name=name, budget=budget, target=target, done=done)
    best, evaluations = optimizer.best, optimizer.evaluations
    if not evaluations:
        raise UsageError(f"nothing was evaluated: {stopped}")
    if best is None or best.value is None:
        state = options.get("state")
        remedy = "" if state is None else f"; mend f and begin anew, without {state}"
        first = f"{evaluations[0].failure}{remedy}"
        raise UsageError(f"all {len(evaluations)} evaluations failed; the first: {first}")
    return Result(
        best.point,
        best.value,
        evaluations,
        stopped,
        optimizer.space,
        optimizer.state.maximize,
        tuple(optimizer.messages),
        optimizer.at(optimizer.state),
    )


def _search(
    f: Callable[[Any], float],
    optimizer: Optimizer,
    *,
    name: str,
    budget: int,
    target: float | None,
    done: Bar,
) -> str:
    """Evaluate until something ends it; say what."""
    while len(optimizer.evaluations) < budget:
        best = optimizer.best
        if target is not None and best is not None and best.value is not None:
            sign = -1.0 if optimizer.state.maximize else 1.0
            if sign * best.value <= sign * target:
                return f"the target {target:g} is reached"
        if optimizer.exhausted:
            return "every point was tried"
        try:
            point = optimizer._next(by=name, budget=budget)
        except Full:
            running = budget - len(optimizer.evaluations)
            return f"the budget of {budget} evaluations is spent, {running} of them still running"
        if point is None:
            return "every point was tried, or is being tried"
        _evaluate(f, optimizer, point)
        done.update()
        if optimizer.best is not None:
            done.say(f"best {optimizer.best.value:.6g}")
    return f"the budget of {budget} evaluations is spent"


def _evaluate(f: Callable[[Any], float], optimizer: Optimizer, point: Point) -> None:
    space = optimizer.space
    try:
        given = f(space.as_array([point])[0] if space.is_numeric else point)
    except Exception as error:  # whatever the user's function raises is one failed evaluation
        optimizer.tell_failure(point, f"{type(error).__name__}: {error}".split("\n")[0])
    else:
        try:
            value = number_of(given)
        except UsageError as error:
            done = optimizer.evaluations
            raise NoNumberError(
                f"f at {space.describe_point(point)}: {error}; mend f and call again "
                f"({len(done)} evaluations before it are kept)",
                done,
            ) from None
        optimizer.tell(point, value)
    first = optimizer.evaluations[-1]
    if len(optimizer.evaluations) == 1 and first.value is None:
        where = space.describe_point(first.point)
        _log.warning("the first evaluation failed, at %s: %s", where, first.failure)
