"""Which trainings end early? Rules that compare validation bounds, and spare what noise may be.

A rule sees the best validation bound up to the present epoch of the setting in training and of the
others. It asks for a reference, the bound of one of the others, and prunes where the setting lies
behind it by more than the noise between seeds explains: of two settings with n and n' seeds,

    reference − own > noise_multiple · s √(1/n + 1/n'),

s the standard deviation of a single run, pooled over the settings that are not behind the reference
(one that goes astray has a spread of its own, and decides nothing).
"""

from __future__ import annotations

import csv
import inspect
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from inference.declared import NOT_NEGATIVE, POSITIVE, at_least, check_declared, declared, within
from inference.learning import CallbackState, Settings
from pyro_models import UsageError
from pyro_models.errors import in_one_line
from pyro_models.options import check_known
from pyro_models.registry import Registry

__all__ = [
    "PRUNED",
    "PRUNING",
    "Fixed",
    "Halving",
    "Median",
    "Pruner",
    "PruningRule",
    "check_prunable",
    "make_pruning",
    "register_pruning",
]

Curves = Sequence[Sequence[float]]
"""The validation bounds of a setting after each epoch, for each seed that was begun."""


class PruningRule(Protocol):
    """Says why a setting is to be trained no further, or ``None``."""

    def __call__(
        self, own: Curves, others: Sequence[Curves], *, epoch: int, epochs: int
    ) -> str | None:
        """Look at the bounds, nats per datum, after each epoch up to ``epoch`` of ``epochs``."""
        ...


PRUNING: Registry[Callable[..., Any]] = Registry(
    "pruning rule", hint="a class of a file, my_file.py:MyRule, or in Python a function or object"
)
register_pruning = PRUNING.register
"""``register_pruning("mine", Mine)`` lets a rule of yours be asked for by name."""


@dataclass(frozen=True)
class _Rule:
    """What both rules share: when they begin, and what they take for noise."""

    _: KW_ONLY
    min_settings: int = declared(5, "Others that got as far before any is pruned.", at_least(2))
    noise_multiple: float = declared(
        2.0, "Standard errors of the difference, over seeds, that count as noise.", NOT_NEGATIVE
    )
    noise: float | None = declared(
        None,
        """Standard deviation of a single run between seeds, nats per datum, where it is known; it
        is computed from the runs unless given, which takes two seeds or more.""",
        POSITIVE,
    )

    def __post_init__(self) -> None:
        check_declared(self)

    def _reference(
        self, bests: Sequence[float], epoch: int, epochs: int
    ) -> tuple[float, str] | None:
        """The bound to be reached, of those of the others, and what it is in words."""
        raise NotImplementedError

    def __call__(
        self, own: Curves, others: Sequence[Curves], *, epoch: int, epochs: int
    ) -> str | None:
        """Why the setting is pruned, if it is behind by more than noise."""
        mine = _bests(own, epoch)
        theirs = [bests for curves in others if (bests := _bests(curves, epoch))]
        if not mine or len(theirs) < self.min_settings:
            return None
        means = [statistics.fmean(bests) for bests in theirs]
        found = self._reference(means, epoch, epochs)
        if found is None:
            return None
        reference, what = found
        spread = self.noise or _spread(
            [b for b, m in zip(theirs, means, strict=True) if m >= reference]
        )
        if spread is None:
            return None
        nearest = min(zip(means, theirs, strict=True), key=lambda pair: abs(pair[0] - reference))
        error = max(spread, _spread([mine]) or 0.0) * math.sqrt(1 / len(mine) + 1 / len(nearest[1]))
        behind = reference - statistics.fmean(mine)
        if not behind > self.noise_multiple * error:  # NaN is no reason
            return None
        return (
            f"best validation bound {statistics.fmean(mine):.2f}, {what} {reference:.2f}: behind "
            f"by {behind:.2f} ± {error:.2f}"
        )


@PRUNING.register("median")
@dataclass(frozen=True)
class Median(_Rule):
    """Prune what is behind the median of the others (Golovin et al. 2017, section 3.2.2).

    Examples
    --------
    >>> others = [[[-9.0, -5.0], [-9.1, -5.1]] for _ in range(5)]
    >>> Median()([[-20.0, -15.0]], others, epoch=2, epochs=4)
    'best validation bound -15.00, median of 5 others -5.05: behind by 9.95 ± 0.09'
    >>> Median()([[-9.2, -5.2]], others, epoch=2, epochs=4)  # as near as another seed
    """

    warmup: float = declared(
        0.25,
        "No setting is pruned in this first part of its epochs: a slow beginning may end well.",
        within(0.0, 1.0, what="warmup"),
    )

    def _reference(
        self, bests: Sequence[float], epoch: int, epochs: int
    ) -> tuple[float, str] | None:
        if epoch < self.warmup * epochs:
            return None
        return statistics.median(bests), f"median of {len(bests)} others"


@PRUNING.register("halving")
@dataclass(frozen=True)
class Halving(_Rule):
    """Prune, after 1, η, η², … epochs, what is not in the best 1/η: asynchronous halving.

    Successive halving (Jamieson and Talwalkar 2016) without waiting for a rung to be full, as in
    ASHA (Li et al. 2020); a setting is not paused and taken up, but goes on or ends.

    Examples
    --------
    >>> others = [[[-b, -b], [-b - 0.1, -b - 0.1]] for b in (1.0, 2.0, 3.0, 4.0, 5.0)]
    >>> Halving(factor=2)([[-4.0]], others, epoch=1, epochs=4)
    'best validation bound -4.00, rank 3 of 6 -3.05: behind by 0.95 ± 0.09'
    >>> Halving(factor=2, first_rung=2)([[-4.0]], others, epoch=1, epochs=4)
    """

    factor: int = declared(3, "η, one in how many goes on.", at_least(2))
    first_rung: int = declared(1, "Epochs until the first rung.", at_least(1))

    def _reference(
        self, bests: Sequence[float], epoch: int, epochs: int
    ) -> tuple[float, str] | None:
        rung = self.first_rung
        while rung < epoch:
            rung *= self.factor
        if rung != epoch:
            return None
        count = len(bests) + 1
        rank = max(1, count // self.factor)
        return sorted(bests, reverse=True)[rank - 1], f"rank {rank} of {count}"


def _bests(curves: Curves, epoch: int) -> list[float]:
    """The best bound up to an epoch, for each seed that got there."""
    return [max(bounds[:epoch]) for bounds in curves if len(bounds) >= epoch]


def _spread(groups: Sequence[Sequence[float]]) -> float | None:
    """The pooled standard deviation within groups; ``None`` if no group has two values."""
    free = sum(len(group) - 1 for group in groups)
    if not free:
        return None
    squares = sum(statistics.variance(g) * (len(g) - 1) for g in groups if len(g) > 1)
    return math.sqrt(squares / free)


def make_pruning(rule: Any, options: Mapping[str, Any] | None = None) -> PruningRule | None:
    """A rule from its name with its options, from its class, or as it is; ``None`` for none."""
    if rule is None:
        if options:
            raise UsageError("prune_options are for a pruning rule: name it (prune)")
        return None
    own: Mapping[str, Any]
    name, own = PRUNING.named(rule, dict(options or {}))
    make = PRUNING[name] if isinstance(name, str) else name
    if isinstance(name, str) or inspect.isclass(make):
        takes_curves = not inspect.isclass(make) and "others" in inspect.signature(make).parameters
        if not takes_curves:
            who = f"the pruning rule {name if isinstance(name, str) else make.__name__}"
            check_known(own, [*inspect.signature(make).parameters], who=who)
            with in_one_line(who):
                make = make(**own)
            own = {}
    if own:
        raise UsageError("prune_options are for a rule that is given by its name")
    if not callable(make):
        raise UsageError(f"a pruning rule is a name, a class or a function; got {rule!r}")
    found: PruningRule = make
    return found


def described_rule(rule: PruningRule) -> dict[str, Any]:
    """A rule in plain values, for the record of what it has pruned."""
    name = PRUNING.name_of(type(rule)) or getattr(rule, "__name__", type(rule).__name__)
    own: dict[str, Any] = asdict(rule) if is_dataclass(rule) and not isinstance(rule, type) else {}
    return {"name": name, **own}


APART = ("objective", "objective_options", "preparation", "options.likelihood")
"""Settings whose values have validation bounds that may not be compared."""


def check_prunable(
    rule: PruningRule, names: Sequence[str], settings: Settings, *, seeds: int, at_once: bool
) -> None:
    """Refuse a rule that would compare what may not be, or could not tell noise."""
    for name in names:
        if name.startswith(APART):
            raise UsageError(
                f"bounds under different values of {name} may not be compared while they are "
                "trained: leave pruning out, or search them apart"
            )
    if isinstance(rule, _Rule) and rule.noise is None and seeds < 2:
        raise UsageError(
            "pruning must know the noise between seeds: give two seeds or more, or that noise "
            "(prune_options.noise, nats per datum)"
        )
    if not (settings.curve_size or settings.patience or settings.restore_best):
        raise UsageError(
            "pruning looks at the validation bound after each epoch, which a curve_size of 0 "
            "leaves out"
        )
    if at_once:
        raise UsageError("at_once trains all seeds of a setting, and prune ends it at one")


@dataclass(frozen=True)
class Pruner:
    """The callback of a run that may be pruned.

    ``own`` are the run folders of the setting, one for each seed; ``others`` says where those of
    the other settings are by now.
    """

    rule: PruningRule
    own: Sequence[Path]
    others: Callable[[], Sequence[Sequence[Path]]]
    folder: Path

    def described(self) -> dict[str, Any]:
        """The rule in plain values."""
        return described_rule(self.rule)

    def __call__(self, state: CallbackState) -> str | None:
        """Stop the run if the rule says so."""
        if not state.epoch or state.last:
            return None
        now = [e.validation for e in state.history if e.validation is not None]
        own = [now if run == self.folder else bounds_of(run) for run in self.own]
        others = [[bounds_of(run) for run in runs] for runs in self.others()]
        why = self.rule(own, others, epoch=state.epoch, epochs=state.epochs)
        return why and f"{PRUNED}{state.epoch} of {state.epochs}: {why}"


@dataclass(frozen=True)
class Fixed:
    """The run folders of the other settings, where they are known beforehand."""

    folders: Sequence[Sequence[Path]]

    def __call__(self) -> Sequence[Sequence[Path]]:
        """One list for each other setting."""
        return self.folders


PRUNED = "pruned at epoch "


def bounds_of(run: Path) -> list[float]:
    """The validation bound after each epoch of a run, from its history; empty before the first."""
    try:
        with (run / "history.csv").open(encoding="utf-8", newline="") as file:
            return [float(row["validation"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, ValueError, TypeError):
        return []
