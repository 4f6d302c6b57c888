"""What an optimisation knows, where other threads and processes change it too."""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from gp_bo.optimize.matching import observed_point
from gp_bo.optimize.space import Point
from gp_bo.optimize.state import Claim, Evaluation, State, load_state, save_state
from pyro_models import UsageError
from pyro_models.counts import is_count
from pyro_models.files import WriteError, has_ended, holding, this_process

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
    """A state that is read and changed in one step, and the file that it is kept in, if any."""

    def __init__(self, state: State, path: str | Path | None = None) -> None:
        self.state = state
        self._path = None if path is None else Path(path)
        self._known = ""  # what the file held when it was last read or written here
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_lock"}

    def __setstate__(self, content: dict[str, Any]) -> None:
        self.__dict__.update(content, _lock=threading.RLock())

    def refresh(self) -> State:
        """Take over what another process has written, if it has; the settings stay as they are.

        What is no state of this problem is refused.
        """
        with self._lock:
            if self._path is not None and self._path.exists():
                with suppress(ValueError):  # no text: load_state says so
                    if self._path.read_text(encoding="utf-8") == self._known:
                        return self.state
                found = load_state(self._path)
                difference = self.state.differs_from(found)
                if difference:
                    raise UsageError(
                        f"{self._path} is the state of another problem ({difference}); name "
                        "another file"
                    )
                self._known = found.to_json()
                self.state = replace(found, settings=self.state.settings)
            return self.state

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other thread and no other process changes it inside."""
        path = self._path
        alone = nullcontext() if path is None else holding(path.with_name(f".{path.name}.lock"))
        with self._lock, alone:
            self.refresh()
            yield

    def change(self, change: Callable[[State], State]) -> None:
        """Change it and write it before anybody else may; what cannot be written is not changed."""
        with self.held():
            changed = change(self.state)
            if self._path is not None:
                save_state(changed, self._path)
                self._known = changed.to_json()
            self.state = changed

    def give(
        self, points: Sequence[Point], since: State, *, by: str = "", budget: int | None = None
    ) -> bool:
        """Make points pending, and say whether it was done.

        It is not if another was given one of them after ``since``, the state that they were chosen
        for. ``by`` is the call of ``minimize`` that evaluates them; beyond its budget they are
        :class:`Full`.
        """
        with self.held():
            now = self.state
            running = [c for c in now.claims if c is not None and c.by and not _is_orphaned(c)]
            if budget is not None and len(now.evaluations) + len(running) + len(points) > budget:
                raise Full
            new = Counter(now.tried) - Counter(since.tried)
            if any(point in new for point in points):
                return False
            self.change(lambda state: state.with_asked(*points, claim=Claim(time.time(), by)))
        return True

    def record(
        self, points: Sequence[Any], results: Sequence[tuple[float | None, str]]
    ) -> list[str]:
        """Keep all results, or none; say what points nobody asked for, while others are pending.

        Points are as they are written (see :func:`gp_bo.optimize.matching.observed_point`), a
        result is a value, or ``None`` and why there is none.
        """
        kept: list[Point] = []
        new: list[Point] = []

        def with_results(state: State) -> State:
            for given, (value, failure) in zip(points, results, strict=True):
                kept.append(observed_point(state, given))
                if state.pending and kept[-1] not in state.pending:
                    new.append(kept[-1])
                state = state.with_observed(kept[-1], value, failure)
            return state

        describe = self.state.space.describe_point
        try:
            self.change(with_results)
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

    def retract(self, indices: Sequence[int]) -> tuple[Evaluation, ...]:
        """:meth:`gp_bo.optimize.Optimizer.retract`."""
        with self.held():
            told = self.state.evaluations
            wrong = [i for i in indices if not is_count(i, least=0) or i >= len(told)]
            if wrong:
                there = f"0 to {len(told) - 1}" if told else "none"
                raise UsageError(f"there is no evaluation {wrong[0]!r}: there are {there}")
            self.change(lambda state: state.without_evaluations(indices))
            return tuple(told[i] for i in sorted(set(indices)))

    def take_over(self, by: str) -> Point | None:
        """A pending point that was being evaluated by a process that has died, claimed anew."""
        with self.held():
            claims = list(self.state.claims)
            left = (c is None or bool(c.by and _is_orphaned(c)) for c in claims)
            i = next((i for i, is_left in enumerate(left) if is_left), None)
            if i is None:
                return None
            claims[i] = Claim(time.time(), by)
            self.change(lambda state: replace(state, claims=tuple(claims)))
            return self.state.pending[i]


def _is_orphaned(claim: Claim) -> bool:
    """Whether the call that claimed it is no more, as far as can be known here."""
    process = claim.by.rpartition("-")[0]
    return claim.by not in _at_work if process == this_process() else has_ended(process)
