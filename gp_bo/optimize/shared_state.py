"""What an optimisation knows, where other threads and processes change it too."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from gp_bo.optimize.matching import observed_point
from gp_bo.optimize.space import Point
from gp_bo.optimize.state import Claim, State
from gp_bo.optimize.state_file import StateFile
from pyro_models import UsageError
from pyro_models.files import WriteError, has_ended, this_process

__all__ = ["Full", "SharedState", "working"]

_at_work: set[str] = set()  # calls of minimize in this process that have not ended


class Full(Exception):  # noqa: N818 - it says so, and is no mistake
    """The budget is spent, with the points that are being evaluated."""


@contextmanager
def working() -> Iterator[str]:
    """A name for one call of ``minimize``, by which its claims are known as long as it works."""
    name = f"{this_process()}-{secrets.token_hex(4)}"
    _at_work.add(name)
    try:
        yield name
    finally:
        _at_work.discard(name)


class SharedState:
    """A state that is read and changed in one step, and the file that it is kept in, if any.

    Parameters
    ----------
    state
        What is known here.
    path
        Where it is kept; ``None`` for nowhere.
    """

    def __init__(self, state: State, path: str | Path | None = None) -> None:
        self._file = None if path is None else StateFile(path)
        self._lock = threading.RLock()
        self.state = state

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, content: dict[str, Any]) -> None:
        self.__dict__.update(content, _lock=threading.RLock())

    def refresh(self) -> State:
        """Take over what another process has written, if it has; the settings stay as they are."""
        with self._lock:
            found = None if self._file is None else self._file.newer_than(self.state)
            if found is not None:
                self.state = replace(found, settings=self.state.settings)
            return self.state

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other thread and no other process changes it inside."""
        with self._lock:
            if self._file is None:
                yield
            else:
                with self._file.held():
                    self.refresh()
                    yield

    def change(self, change: Callable[[State], State]) -> None:
        """Change it, and write it before anybody else may; what cannot be written is not changed.

        Raises
        ------
        WriteError
            If the file cannot be written; nothing has changed then.
        """
        with self.held():
            changed = change(self.state)
            if self._file is not None:
                self._file.write(changed)
            self.state = changed

    def give(
        self, points: Sequence[Point], since: State, *, by: str = "", budget: int | None = None
    ) -> bool:
        """Make points pending, unless another was given one of them since they were chosen.

        Parameters
        ----------
        points
            What was chosen.
        since
            The state they were chosen for.
        by, budget
            The call of ``minimize`` that evaluates them, and how many evaluations there may be.

        Returns
        -------
        bool
            False if another was faster, and nothing has changed.

        Raises
        ------
        Full
            If the budget is spent.
        """
        with self.held():
            now = self.state
            if budget is not None and len(now.evaluations) + _running(now) + len(points) > budget:
                raise Full
            new = Counter(now.tried) - Counter(since.tried)
            if any(point in new for point in points):
                return False
            self.change(lambda state: _with_all_asked(state, points, Claim(time.time(), by)))
        return True

    def record(
        self, points: Sequence[Any], results: Sequence[tuple[float | None, str]]
    ) -> list[str]:
        """Keep all results, or none.

        Parameters
        ----------
        points
            As they are written (see :func:`gp_bo.optimize.matching.observed_point`).
        results
            Value, or ``None``, and why there is none.

        Returns
        -------
        list of str
            What to say of points that nobody asked for, while others are pending.
        """
        kept: list[Point] = []
        new: list[Point] = []

        def told(state: State) -> State:
            for given, (value, failure) in zip(points, results, strict=True):
                kept.append(observed_point(state, given))
                if state.pending and kept[-1] not in state.pending:
                    new.append(kept[-1])
                state = state.with_observed(kept[-1], value, failure)
            return state

        describe = self.state.space.describe_point
        try:
            self.change(told)
        except WriteError as error:
            pairs = zip(kept, results, strict=True)
            lost = "; ".join(f"{describe(p)}: {w if v is None else v}" for p, (v, w) in pairs)
            raise WriteError(f"{error}; not kept, so tell it again: {lost}") from error
        more = f" (and {len(new) - 1} more)" if len(new) > 1 else ""
        return [f"a new point, none that is pending: {describe(new[0])}{more}"] if new else []

    def forget(
        self, points: Sequence[Any] | None, *, older_than: float | None
    ) -> tuple[Point, ...]:
        """:meth:`gp_bo.optimize.Optimizer.forget`."""
        if older_than is not None and not older_than >= 0:
            raise UsageError(f"older_than is a number of seconds; got {older_than!r}")
        with self.held():
            state = self.state
            places = list(range(len(state.pending)))
            if points is not None:
                wanted = [observed_point(state, point) for point in points]
                missing = [p for p in wanted if p not in state.pending]
                if missing:
                    raise UsageError(f"{state.space.describe_point(missing[0])} is not pending")
                places = [i for i in places if state.pending[i] in wanted]
            if older_than is not None:
                latest = time.time() - older_than
                ages = {i: claim.since for i in places if (claim := state.claims[i]) is not None}
                places = [i for i in places if i in ages and ages[i] <= latest]
            if places:
                self.change(lambda state: state.without_pending(places))
            return tuple(state.pending[i] for i in places)

    def take_over(self, by: str) -> Point | None:
        """A pending point that was being evaluated by a process that has died, claimed anew."""
        with self.held():
            for i, (point, claim) in enumerate(
                zip(self.state.pending, self.state.claims, strict=True)
            ):
                if claim is None or (claim.by and _is_orphaned(claim)):
                    new = Claim(time.time(), by)
                    self.change(lambda state, i=i, new=new: state.with_claim(i, new))  # type: ignore[misc]
                    return point
        return None


def _with_all_asked(state: State, points: Sequence[Point], claim: Claim) -> State:
    for point in points:
        state = state.with_asked(point, claim)
    return state


def _running(state: State) -> int:
    """How many points are being evaluated by calls of ``minimize``."""
    claims = [claim for claim in state.claims if claim is not None and claim.by]
    return sum(not _is_orphaned(claim) for claim in claims)


def _is_orphaned(claim: Claim) -> bool:
    """Whether the call that claimed it is no more, as far as can be known here."""
    process = claim.by.rpartition("-")[0]
    if process == this_process():
        return claim.by not in _at_work
    return has_ended(process)
