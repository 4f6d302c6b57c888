"""Ask for points, tell their values: Bayesian optimisation in which the user evaluates."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from numbers import Integral, Number
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gp_bo.optimise.acquisition import acquisition_named
from gp_bo.optimise.designs import DESIGNS
from gp_bo.optimise.fitting import check_gp_options, fit_surrogate
from gp_bo.optimise.proposal import by_acquisition, from_design
from gp_bo.optimise.space import Point, Space, space_from
from gp_bo.optimise.state import Evaluation, State, load_state
from gp_bo.optimise.state_file import StateFile
from gp_bo.optimise.surrogate import Surrogate
from inference.learning.settings import check_seed
from inference.undisturbed import stream
from pyro_models import UsageError
from pyro_models.options import check_types

__all__ = ["Optimizer"]

_PROBLEM = ("space", "candidates", "maximise", "problem", "seed", "state")  # the rest are settings

_LARGEST = 1e150  # a spread of larger values overflows


class Optimizer:
    """Bayesian optimisation by hand: :meth:`ask` for points, :meth:`tell` what they gave.

    A Gaussian process is fitted to what was told, its hyper-parameters θ inferred by any method of
    :func:`gp_bo.fit_gp`; the next point is the best under an acquisition function averaged over the
    draws of θ. Before that, the points of a design are asked for.

    Parameters
    ----------
    space
        As :func:`gp_bo.optimise.space_from` takes it: bounds, or inputs by name.
    candidates
        (M, d): the only points there are.
    acquisition
        By name: ``"log_ei"``, ``"pi"``, ``"ucb"``, ``"thompson"``,
        ``"knowledge_gradient"``, ``"max_value_entropy"``; through BoTorch ``"noisy_ei"``.
    acquisition_options
        Of that acquisition, as its own page says.
    inference
        Of the hyper-parameters: ``"map"``, ``"maximum_likelihood"``, ``"laplace"``, ``"svi"``,
        ``"nuts"``.
    gp
        Further options of :func:`gp_bo.fit_gp`: kernel, noise, priors …
    maximise
        Whether large values are wanted.
    initial
        Number of values in the design; 2 D + 2 of them, and at least 5, unless given.
    design
        ``"sobol"`` or ``"random"``.
    repeats
        Whether a point may be evaluated twice, which makes sense where values are noisy.
    problem
        A name; a state file of another name is refused.
    seed
        Of everything random.
    state
        A file. If it is there, the optimisation goes on from it; it is written after every ask and
        every tell, in one step. What another process has told in the meantime is kept.

    Raises
    ------
    UsageError
        If the space is none, an option is unknown, or the state file is of another problem.

    Examples
    --------
    >>> optimizer = Optimizer([(0.0, 1.0)], seed=0)
    >>> for _ in range(3):
    ...     [x] = optimizer.ask()
    ...     optimizer.tell(x, (x[0] - 0.3) ** 2)
    >>> len(optimizer.evaluations), optimizer.pending
    (3, ())
    """

    def __init__(
        self,
        space: Any = None,
        *,
        candidates: Any = None,
        acquisition: str = "log_ei",
        acquisition_options: Mapping[str, Any] | None = None,
        inference: str = "map",
        gp: Mapping[str, Any] | None = None,
        maximise: bool = False,
        initial: int | None = None,
        design: str = "sobol",
        repeats: bool = False,
        problem: str = "",
        seed: int = 0,
        state: str | Path | None = None,
    ) -> None:
        where = space_from(space, candidates=candidates)
        for name, given in (("acquisition_options", acquisition_options), ("gp", gp)):
            if not isinstance(given, Mapping | None):
                raise UsageError(f"{name} map names to values; got {given!r}")
        self._acquire = acquisition_named(acquisition, **(acquisition_options or {}))
        if design not in DESIGNS:
            raise UsageError(f"design is one of {', '.join(DESIGNS)}; got {design!r}")
        if initial is not None and not (isinstance(initial, Integral) and initial >= 2):
            raise UsageError(f"a design needs two points or more; got initial={initial!r}")
        check_seed(seed)
        check_gp_options(inference, gp or {}, columns=where.columns)
        settings = {
            "acquisition": acquisition,
            "acquisition_options": dict(acquisition_options or {}),
            "inference": inference,
            "gp": dict(gp or {}),
            "initial": None if initial is None else int(initial),
            "design": design,
            "repeats": repeats,
        }
        self.messages: list[str] = []  # what the inferences of this process did not reach
        self._file = None if state is None else StateFile(state)
        self._state = State(where, maximise, problem, seed, settings)
        self._catch_up()

    @classmethod
    def resume(cls, path: str | Path) -> Optimizer:
        """Go on from a state file, with the settings in it."""
        found = load_state(path)
        known = inspect.signature(cls).parameters
        unknown = [name for name in found.settings if name not in known]
        if unknown:
            raise UsageError(f"{path} has settings that are unknown: {', '.join(unknown)}")
        check_types(cls, found.settings, who=str(path), skip={*_PROBLEM})
        return cls(
            found.space,
            maximise=found.maximise,
            problem=found.problem,
            seed=found.seed,
            state=path,
            **found.settings,
        )

    @property
    def space(self) -> Space:
        """What may be varied."""
        return self._state.space

    @property
    def state(self) -> State:
        """Everything that is known."""
        return self._state

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """What was told, in order."""
        return self._state.evaluations

    @property
    def pending(self) -> tuple[Point, ...]:
        """Points that were asked for and not yet told."""
        return self._state.pending

    @property
    def best(self) -> Evaluation | None:
        """The best that was told."""
        return self._state.best

    @property
    def exhausted(self) -> bool:
        """Whether every point of a finite space was tried, and none may be again."""
        if self.pending or self._state.settings["repeats"] or math.isinf(self.space.size):
            return False
        return len({e.point for e in self.evaluations}) >= self.space.size

    @property
    def initial(self) -> int:
        """Number of values that the design is to give."""
        given: int | None = self._state.settings["initial"]
        return max(5, 2 * self.space.columns + 2) if given is None else given

    def ask(self, n: int = 1) -> list[Point]:
        """The next points to evaluate; they are pending until they are told.

        A batch is chosen point by point: where a value is not yet there, each draw of the GP takes
        its own mean for it (the "kriging believer" of Ginsbourger et al. 2010).

        Parameters
        ----------
        n
            Number of points.

        Returns
        -------
        list of tuple
            Values of the inputs, in order.

        Raises
        ------
        UsageError
            If a finite space has fewer points left. None is pending then that was not before.
        """
        if not isinstance(n, Integral) or n < 1:
            raise UsageError(f"ask for one point or more; got {n!r}")
        self._catch_up()
        before = self._state
        try:
            asked = self._batch(int(n))
        except BaseException:  # points that nobody was told of must not stay pending
            self._state = before
            raise
        if self._catch_up():
            for point in asked:
                self._state = self._state.with_asked(point)
        self._keep()
        return asked

    def tell(self, x: Any, y: Any) -> None:
        """Say what evaluations gave, asked for or not.

        Parameters
        ----------
        x
            A point, or a list of points: sequences of values, or mappings by name.
        y
            Its value, or a list of values. ``None``, NaN, an infinity, or a number beyond 10¹⁵⁰,
            whose square is none: the evaluation failed. The point is not asked for again, and
            counts as bad as the worst value there is.

        Raises
        ------
        UsageError
            If a point does not fit the space, or there are more points than values.
        """
        single = y is None or isinstance(y, Number | str) or getattr(y, "ndim", None) == 0
        try:
            points = [x] if single else list(x)
            values = [y] if single else list(y)
        except TypeError:
            raise UsageError(
                f"tell a point and its value, or a list of each; got {x!r} and {y!r}"
            ) from None
        if len(points) != len(values):
            raise UsageError(f"one value for each point: got {len(points)} and {len(values)}")
        # all are checked before any is kept
        checked = [self.space.check(point) for point in points]
        results = [_as_value(value) for value in values]
        self._record((p, *r) for p, r in zip(checked, results, strict=True))

    def tell_failure(self, x: Any, why: str) -> None:
        """Say that an evaluation failed, and why."""
        self._record([(self.space.check(x), None, why or "failed")])

    def surrogate(self) -> Surrogate:
        """The GP for what was told, in the unit cube and of standardised, minimised values.

        Failed evaluations take the worst value there is.
        """
        failed = [e.point for e in self.evaluations if e.value is None]
        points = self.space.encode([*(e.point for e in self._state.successes), *failed])
        shift, scale = self.standardisation
        y = (self._values() - shift) / scale
        y = torch.cat([y, y.max().expand(len(failed))])
        seed = stream(self._state.seed, f"inference {len(self.evaluations)}")
        inference, options = self._state.settings["inference"], self._state.settings["gp"]
        fitted = fit_surrogate(points, y, inference=inference, seed=seed, **options)
        self.messages += [f"after {len(self.evaluations)}: {m}" for m in fitted.messages]
        return fitted

    @property
    def standardisation(self) -> tuple[float, float]:
        """(a, b) of value = a + b y, y standardised; b is negative where large values are wanted.

        Raises
        ------
        UsageError
            If fewer than two values were told.
        """
        values = self._values()
        if len(values) < 2:
            raise UsageError("two values or more are needed for a model; tell more")
        spread = float(values.std()) or 1.0
        return float(values.mean()), -spread if self._state.maximise else spread

    def _values(self) -> Tensor:
        successes = self._state.successes
        return torch.tensor([e.value for e in successes], dtype=torch.float64)

    def _record(self, told: Iterable[tuple[Point, float | None, str]]) -> None:
        self._catch_up()
        for point, value, failure in told:
            self._state = self._state.with_told(point, value, failure)
        self._keep()

    def _keep(self) -> None:
        if self._file is not None:
            self._file.write(self._state)

    def _catch_up(self) -> bool:
        """Take over what another process has written, if it has; the settings stay as they are."""
        found = None if self._file is None else self._file.newer_than(self._state)
        if found is None:
            return False
        self._state = replace(found, settings=self._state.settings)
        return True

    def _batch(self, n: int) -> list[Point]:
        """``n`` points, each chosen with those before it pending."""
        asked: list[Point] = []
        fitted: Surrogate | None = None
        for _ in range(n):
            point = from_design(self._state, initial=self.initial)
            if point is None:
                fitted = self.surrogate() if fitted is None else fitted
                point = by_acquisition(self._state, fitted, self._acquire)
            asked.append(point)
            self._state = self._state.with_asked(point)
        return asked


def _as_value(y: Any) -> tuple[float | None, str]:
    """A value as a finite float, or no value and why."""
    if y is None:
        return None, "no value"
    try:
        value = float(y)
    except (TypeError, ValueError):
        raise UsageError(
            f"a value is a number, or NaN for a failed evaluation; got {y!r}"
        ) from None
    return (value, "") if abs(value) <= _LARGEST else (None, f"the value is {value}")
