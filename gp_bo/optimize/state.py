"""Everything an optimisation knows, in one JSON file that is complete whenever the process dies."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gp_bo.optimize.space import Point, Space, space_from
from gp_bo.scaling import location_and_spread
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.files import write_atomically
from pyro_models.moved import renamed_attribute

__all__ = ["FORMAT", "Claim", "Evaluation", "State", "load_state", "save_state"]

FORMAT = "gp-bo state 1"


@dataclass(frozen=True)
class Evaluation(Brief):
    """One point that was tried, and its value; ``None``, and why, if the evaluation failed."""

    point: Point
    value: float | None
    failure: str = ""


@dataclass(frozen=True)
class Claim:
    """When a pending point was asked for, in seconds since 1970, and who evaluates it.

    That is a call of :func:`gp_bo.optimize.minimize`; ``by`` is empty where whoever asked does.
    """

    since: float
    by: str = ""


@dataclass(frozen=True)
class State(Brief):
    """A whole optimisation.

    Attributes
    ----------
    space
        What may be varied.
    maximize
        Whether large values are wanted.
    problem
        The name of the problem, if it was given one.
    seed
        Random seed of the design, the inference and the acquisition.
    settings
        How the next point is chosen: options of :class:`gp_bo.optimize.Optimizer` by name.
    evaluations
        What was observed, in order.
    pending
        Points that were asked for and not yet observed.
    asked
        Number of points asked for so far; with the seed it decides the next random numbers.
    claims
        The claims of the pending points, in their order, as far as known.
    forgotten
        Evaluations that were told and taken back: they count for nothing, and are kept.
    """

    space: Space
    maximize: bool = False
    problem: str = ""
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()
    pending: tuple[Point, ...] = ()
    asked: int = 0
    claims: tuple[Claim | None, ...] = field(default=(), compare=False)
    forgotten: tuple[Evaluation, ...] = ()

    maximise = renamed_attribute("maximize")
    standardisation = renamed_attribute("standardization")
    with_told = renamed_attribute("with_observed")

    def __post_init__(self) -> None:
        if len(self.claims) != len(self.pending):  # those of a file changed by hand say nothing
            object.__setattr__(self, "claims", (None,) * len(self.pending))

    @property
    def successes(self) -> tuple[Evaluation, ...]:
        """Evaluations that have a value."""
        return tuple(e for e in self.evaluations if e.value is not None)

    @property
    def tried(self) -> tuple[Point, ...]:
        """Points that were evaluated, then those that are pending."""
        return (*(e.point for e in self.evaluations), *self.pending)

    @property
    def best(self) -> Evaluation | None:
        """The evaluation with the best value; the first of equals; ``None`` before any."""
        sign = -1.0 if self.maximize else 1.0
        return min(self.successes, key=lambda e: sign * (e.value or 0.0), default=None)

    @property
    def standardization(self) -> tuple[float, float]:
        """(a, b) of value = a + b y, y standardised; b is negative where large values are wanted.

        It takes two values.
        """
        values = torch.tensor([e.value for e in self.successes], dtype=torch.float64)
        if len(values) < 2:
            raise UsageError("two values or more are needed for a model; tell more")
        mean, spread = (float(each) for each in location_and_spread(values))
        return mean, -spread if self.maximize else spread

    def with_asked(self, *points: Point, claim: Claim | None = None) -> State:
        """With more points pending."""
        return dataclasses.replace(
            self,
            pending=(*self.pending, *points),
            claims=(*self.claims, *(claim for _ in points)),
            asked=self.asked + len(points),
        )

    def without_pending(self, indices: Collection[int]) -> State:
        """Without some pending points, by their places."""
        left = [i for i in range(len(self.pending)) if i not in indices]
        return dataclasses.replace(
            self,
            pending=tuple(self.pending[i] for i in left),
            claims=tuple(self.claims[i] for i in left),
        )

    def without_evaluations(self, indices: Collection[int]) -> State:
        """With some evaluations, by their places, forgotten."""
        left = [e for i, e in enumerate(self.evaluations) if i not in indices]
        taken = [e for i, e in enumerate(self.evaluations) if i in indices]
        forgotten = (*self.forgotten, *taken)
        return dataclasses.replace(self, evaluations=tuple(left), forgotten=forgotten)

    def with_observed(self, point: Point, value: float | None, failure: str = "") -> State:
        """With one more evaluation; the point is pending no more (once, if it was asked twice)."""
        asked = [self.pending.index(point)] if point in self.pending else []
        more = Evaluation(point, value, failure)
        left = self.without_pending(asked)
        return dataclasses.replace(left, evaluations=(*self.evaluations, more))

    def differs_from(self, other: State) -> str:
        """What makes these two different problems, in words; empty if they are one."""
        if self.space.config() != other.space.config():
            return "its inputs, bounds or candidates differ"
        if self.maximize != other.maximize:
            return f"it is to be {'maximised' if other.maximize else 'minimised'}"
        if self.problem != other.problem:
            return f"it is of {other.problem or 'a problem without a name'}"
        if self.seed != other.seed:
            return f"its seed is {other.seed}"
        return ""

    def to_json(self) -> str:
        """As text; every float is written with all its digits."""
        record = {
            "format": FORMAT,
            "space": self.space.config(),
            "maximize": self.maximize,
            "problem": self.problem,
            "seed": self.seed,
            "settings": dict(self.settings),
            "asked": self.asked,
            "pending": self.pending,
            "claims": [None if c is None else dataclasses.asdict(c) for c in self.claims],
            "evaluations": [dataclasses.asdict(e) for e in self.evaluations],
        }
        if self.forgotten:
            record["forgotten"] = [dataclasses.asdict(e) for e in self.forgotten]
        return json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def save_state(state: State, path: str | Path) -> None:
    """Write the state: the file is the old one or the new one, never half of it."""
    write_atomically(Path(path), state.to_json())


def load_state(path: str | Path) -> State:
    """Read what :func:`save_state` wrote; what is no such state is a ``UsageError``."""
    path = Path(path)
    try:
        record = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except FileNotFoundError:
        raise UsageError(f"there is no state file {path}") from None
    except (ValueError, RecursionError):  # no JSON, or no text
        record = None
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise UsageError(f"{path} is no state of an optimisation ({FORMAT!r}); name another file")
    try:
        return _from_record(record)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise UsageError(f"{path} was changed by hand and cannot be read: {error}") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is in no file of ours")


def _from_record(record: Mapping[str, Any]) -> State:
    space = space_from(record["space"])
    asked = int(record["asked"])
    if not 0 <= asked < 2**31:
        raise UsageError(f"asked is a number of points; got {asked}")
    maximize = record["maximize"] if "maximize" in record else record["maximise"]  # of before
    if not isinstance(maximize, bool):
        raise UsageError(f"maximize is true or false; got {maximize!r}")
    settings = dict(record["settings"])
    if not all(isinstance(name, str) for name in settings):
        raise UsageError("settings are values by name")
    claims = record.get("claims", ())
    return State(
        space,
        maximize,
        str(record["problem"]),
        int(record["seed"]),
        settings,
        tuple(_evaluation(space, each) for each in record["evaluations"]),
        tuple(space.check(point) for point in record["pending"]),
        asked,
        tuple(c if c is None else Claim(float(c["since"]), str(c["by"])) for c in claims),
        tuple(_evaluation(space, each) for each in record.get("forgotten", ())),
    )


def _evaluation(space: Space, record: Mapping[str, Any]) -> Evaluation:
    value = None if record["value"] is None else float(record["value"])
    if value is not None and not math.isfinite(value):
        raise UsageError("a value is not finite")
    return Evaluation(space.check(record["point"]), value, str(record["failure"]))
