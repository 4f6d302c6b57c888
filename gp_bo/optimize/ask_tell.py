"""Ask for points, tell their values: Bayesian optimisation in which the user evaluates."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gp_bo.arrays import gp_device
from gp_bo.optimize.fitting import fit_surrogate
from gp_bo.optimize.matching import observed_before
from gp_bo.optimize.proposal import Recommendation, by_acquisition, from_design, recommended
from gp_bo.optimize.settings import checked_settings
from gp_bo.optimize.shared_state import SharedState
from gp_bo.optimize.space import Point, Space, space_from
from gp_bo.optimize.state import Evaluation, State, load_state
from gp_bo.optimize.surrogate import Surrogate
from gp_bo.optimize.values import is_single, value_of
from gp_bo.signatures import takes_options_of
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import is_count
from pyro_models.moved import renamed_arguments, renamed_attribute
from pyro_models.options import check_types
from pyro_models.seeds import alone, check_seed, stream

__all__ = ["Optimizer"]

# options that are no settings
_PROBLEM = {"space", "candidates", "maximize", "problem", "seed", "state", "device"}

_PATIENCE = 20  # times that others may be faster before they are made to wait


class Optimizer(Brief):
    """Bayesian optimisation by hand: :meth:`ask` for points, :meth:`tell` what they gave.

    A Gaussian process is fitted to what was observed, its hyper-parameters θ inferred by any method
    of :func:`gp_bo.fit_gp`; the next point is the best under an acquisition function averaged over
    the draws of θ. Before that, the points of a design are asked for.

    Parameters
    ----------
    space
        As :func:`gp_bo.optimize.space_from` takes it: bounds, or inputs by name.
    candidates
        (M, d): the only points there are.
    acquisition
        A name of ``gp_bo.optimize.ACQUISITIONS``, an object of one of these classes, or a function
        of your own: see :func:`gp_bo.optimize.make_acquisition`.
    acquisition_options
        Options of an acquisition that is given by name, as its own page says.
    kernel
        The kernel of the GP, as :func:`gp_bo.fit_gp` takes it; Matérn 5/2 unless given.
    inference
        How hyper-parameters are inferred, by a name of ``gp_bo.inference.INFERENCES``.
    gp
        Further options of :func:`gp_bo.fit_gp`: noise, priors …
    maximize
        Whether large values are wanted.
    initial
        Number of values in the design; 2 D + 2 of them, and at least 5, unless given.
    design
        ``"sobol"`` or ``"random"``.
    repeats
        Whether a point may be evaluated twice, which makes sense where values are noisy; the GP
        then expects noise.
    problem
        A name; a state file of another name is refused.
    seed
        Random seed of the design and all draws.
    state
        A file. If it is there, the optimisation goes on from it; it is written after every ask and
        every tell, in one step. Several processes, and several threads, may ask and tell at once:
        what each observes is kept, and no point is given twice.
    device
        Where the GP and the acquisition function are computed: ``"cpu"``, ``"cuda"``, ``"cuda:1"``
        …; no state file holds it.

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

    standardisation = renamed_attribute("standardization")

    @renamed_arguments(maximise="maximize")
    @takes_options_of(checked_settings)
    def __init__(
        self,
        space: Any = None,
        *,
        candidates: Any = None,
        maximize: bool = False,
        problem: str = "",
        seed: int = 0,
        state: str | Path | None = None,
        device: str | torch.device = "cpu",
        **settings: Any,
    ) -> None:
        self.device = gp_device(device)
        where = space_from(space, candidates=candidates)
        self._acquire, self._kernel, held = checked_settings(where.columns, state, **settings)
        check_seed(seed)
        self.messages: list[str] = []  # what inferences did not reach; points nobody asked for
        self._shared = SharedState(State(where, maximize, problem, seed, held), state)
        self._shared.refresh()

    def facts(self) -> Mapping[str, object]:
        """The problem, and how far it is."""
        state = self.state
        values = [e.value for e in state.evaluations if e.value is not None]
        best = (max if state.maximize else min)(values) if values else None
        return {
            "": state.problem,
            "inputs": len(state.space.inputs),
            "evaluations": len(state.evaluations),
            "pending": len(state.pending),
            "largest value" if state.maximize else "least value": best,
            "messages": len(self.messages) or None,
        }

    @classmethod
    def resume(
        cls, path: str | Path, *, device: str | torch.device = "cpu", **changed: Any
    ) -> Optimizer:
        """Go on from a state file, with the settings in it but those that change, on any device."""
        found = load_state(path)
        unknown = [n for n in found.settings if n not in inspect.signature(cls).parameters]
        if unknown:
            raise UsageError(f"{path} has settings that are unknown: {', '.join(unknown)}")
        check_types(cls, found.settings, who=str(path), skip=_PROBLEM)
        known = {name: getattr(found, name) for name in ("maximize", "problem", "seed")}
        return cls(found.space, **known, state=path, device=device, **{**found.settings, **changed})

    @property
    def state(self) -> State:
        """Everything that is known."""
        return self._shared.state

    @property
    def space(self) -> Space:
        """What may be varied."""
        return self.state.space

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """What was observed, in order."""
        return self.state.evaluations

    @property
    def pending(self) -> tuple[Point, ...]:
        """Points that were asked for and not yet observed."""
        return self.state.pending

    @property
    def best(self) -> Evaluation | None:
        """The best that was observed."""
        return self.state.best

    @property
    def standardization(self) -> tuple[float, float]:
        """(a, b) of value = a + b y, y standardised; see :class:`gp_bo.optimize.State`."""
        return self.state.standardization

    @property
    def exhausted(self) -> bool:
        """Whether every point of a finite space was tried, and none may be again."""
        if self.pending or self.state.settings["repeats"] or math.isinf(self.space.size):
            return False
        return len({e.point for e in self.evaluations}) >= self.space.size

    @property
    def initial(self) -> int:
        """Number of values that the design is to give."""
        given: int | None = self.state.settings["initial"]
        return max(5, 2 * self.space.columns + 2) if given is None else given

    def ask(self, n: int = 1) -> list[Point]:
        """The next ``n`` points to evaluate; they are pending until they are observed.

        A batch is chosen point by point: where a value is not yet there, each draw of the GP takes
        its own mean for it (the "kriging believer" of Ginsbourger et al. 2010). A point is a tuple
        of values of the inputs, in order.

        Raises
        ------
        UsageError
            If a finite space has fewer points left. None is pending then that was not before.
        """
        if not is_count(n):
            raise UsageError(f"ask for one point or more; got {n!r}")
        return self._ask(int(n))

    def _ask(self, n: int, *, by: str = "", budget: int | None = None) -> list[Point]:
        """Choose points while others may go on, and again if one of them was given away."""
        for _ in range(_PATIENCE):
            since = self._shared.refresh()
            with alone():
                asked = self.at(since)._batch(n)
            if self._shared.give(asked, since, by=by, budget=budget):
                return asked
        with alone(), self._shared.held():
            asked = self.at(self.state)._batch(n)
            self._shared.give(asked, self.state, by=by, budget=budget)
            return asked

    def _next(self, *, by: str, budget: int) -> Point | None:
        """What a call of ``minimize`` evaluates next; ``None`` if others have all that is left."""
        left_behind = self._shared.take_over(by)
        if left_behind is not None:
            return left_behind
        state = self._shared.refresh()
        if not state.settings["repeats"] and len(set(state.tried)) >= self.space.size:
            return None
        return self._ask(1, by=by, budget=budget)[0]

    def at(self, state: State) -> Optimizer:
        """This optimisation as it is in some state of the same space, kept in no file."""
        other = copy.copy(self)
        other._shared = SharedState(state)
        return other

    def tell(self, x: Any, y: Any) -> None:
        """Say what evaluations gave, asked for or not.

        A point that was asked for may have fewer digits, as in float32 or written by hand: see
        :func:`gp_bo.optimize.matching.observed_point`. What is a new point while others are pending
        is said in ``messages``.

        Parameters
        ----------
        x
            A point, or a list of points: sequences of values, or mappings by name.
        y
            The point's value, or a list of values; an array of one element is a value. ``None``,
            NaN, an infinity, or a number beyond 10¹⁵⁰, whose square is none: the evaluation failed.
            The point is not asked for again, and counts as bad as the worst value there is.
        """
        single = is_single(x, y)
        try:
            points, values = ([x], [y]) if single else (list(x), list(y))
        except TypeError:
            what = f"tell a point and its value, or a list of each; got {x!r} and {y!r}"
            raise UsageError(what) from None
        if len(points) != len(values):
            raise UsageError(f"one value for each point: got {len(points)} and {len(values)}")
        self.messages += self._shared.record(points, [value_of(value) for value in values])

    def tell_table(self, points: Sequence[Any], values: Sequence[Any]) -> int:
        """Tell the rows of a table that may have been observed before; returns how many were.

        These are left out (see :func:`gp_bo.optimize.matching.observed_before`), but where points
        may be repeated all rows count.
        """
        results = [value_of(value) for value in values]
        with self._shared.held():
            before = [False] * len(results)
            if not self.state.settings["repeats"]:
                before = observed_before(self.state, points, [value for value, _ in results])
            new = [i for i, known in enumerate(before) if not known]
            found = self._shared.record([points[i] for i in new], [results[i] for i in new])
            self.messages += found
        return sum(before)

    def tell_failure(self, x: Any, why: str) -> None:
        """Say that an evaluation failed, and why."""
        self.messages += self._shared.record([x], [(None, why or "failed")])

    def forget(
        self, points: Sequence[Any] | None = None, *, older_than: float | None = None
    ) -> tuple[Point, ...]:
        """Forget pending points that nobody evaluates any more, and return them.

        Those that are given, perhaps with fewer digits, or all; what is not pending is refused.
        With ``older_than``, only those that were asked for longer ago, in seconds.
        """
        return self._shared.forget(points, older_than=older_than)

    def retract(self, indices: Sequence[int]) -> tuple[Evaluation, ...]:
        """Take back what was told, by places in ``evaluations``, and return it.

        It counts for nothing any more, its points may be asked for again, and the state keeps it as
        ``forgotten``. A place that is none is a ``UsageError``.

        >>> optimizer = Optimizer([(0.0, 1.0)])
        >>> optimizer.tell([[0.2], [0.4]], [1.0, 100.0])
        >>> [mistake] = optimizer.retract([1])
        >>> mistake.value, len(optimizer.evaluations)
        (100.0, 1)
        """
        return self._shared.retract(indices)

    def surrogate(self) -> Surrogate:
        """The GP for what was observed, in the unit cube and of standardised, minimised values.

        Failed evaluations take the worst value there is.
        """
        state, settings = self.state, self.state.settings
        failed = [e.point for e in state.evaluations if e.value is None]
        points = self.space.encode([*(e.point for e in state.successes), *failed])
        shift, scale = state.standardization
        y = (torch.tensor([e.value for e in state.successes], dtype=torch.float64) - shift) / scale
        fitted = fit_surrogate(
            points,
            torch.cat([y, y.max().expand(len(failed))]),
            inference=settings["inference"],
            seed=stream(state.seed, f"inference {len(state.evaluations)}"),
            device=self.device,
            noisy=settings["repeats"],
            **{**settings["gp"], **self._kernel},
        )
        self.messages += [f"after {len(state.evaluations)}: {m}" for m in fitted.messages]
        return fitted

    def recommend(self) -> Recommendation:
        """The point whose value the GP believes to be the best, of those that were evaluated.

        Where values are noisy, the best of them is the luckiest; this is not. It needs two values.
        """
        with alone():
            return recommended(self.state, self.surrogate())

    def _batch(self, n: int) -> list[Point]:
        """``n`` points, each chosen with those before it pending."""
        state, asked = self.state, []
        fitted: Surrogate | None = None
        for _ in range(n):
            point = from_design(state, initial=self.initial)
            if point is None:
                fitted = self.surrogate() if fitted is None else fitted
                point = by_acquisition(state, fitted, self._acquire)
            asked.append(point)
            state = state.with_asked(point)
        return asked
