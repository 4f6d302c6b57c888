"""What a sweep refuses before anything is trained."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inference.experiment import Experiment
from inference.learning.optimizers import make_optimizer, make_schedule
from inference.learning.settings import check_pair_fits_objective
from inference.objectives import make_objective
from inference.selection.search import GRID
from inference.selection.space import Range, check_space
from inference.selection.trial import Trial
from pyro_models import ImageData, UsageError

__all__ = ["check_trials", "part_of", "ranges_of", "warn_of_both"]


def part_of(shard: str | None) -> tuple[int, int]:
    """Which part of how many."""
    if shard is None:
        return 1, 1
    number, _, count = str(shard).partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"a shard is 1/4 to 4/4, say; got {shard!r}")
    return int(number), int(count)


def warn_of_both(varied: Iterable[str], experiment: Experiment) -> None:
    """Say which settings are varied, and have a value for all runs that counts for nothing then.

    One that has its default value is not told from one that was not given.
    """
    usual = Experiment(experiment.model)
    for name in varied:
        shared = _value_of(name, experiment)
        if shared is not None and shared != _value_of(name, usual):
            warnings.warn(
                f"{name} is varied, so the value {shared!r} that was given for all runs counts for "
                "nothing: leave it out",
                stacklevel=3,
            )


def _value_of(name: str, experiment: Experiment) -> Any:
    """The value of a setting by its whole name; ``None`` if it was not given."""
    first, *below = name.split(".")
    found = getattr(experiment if hasattr(experiment, first) else experiment.settings, first)
    for part in below:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def check_trials(trials: Sequence[Trial], images: ImageData) -> None:
    """Refuse what no run could begin with; each setting is tried with its first seed."""
    if "validation" not in images.splits:
        raise UsageError(
            "settings are chosen by validation data, and these data have none (all training data "
            "are used)"
        )
    for trial in trials:
        trial.record()
    for trial in trials:
        if trial.seed != trials[0].seed:
            continue
        if trial.experiment.preparation is not None:
            images.with_preparation(trial.experiment.preparation)
        of, pair = trial.experiment.settings, trial.experiment.build(images)
        check_pair_fits_objective(pair, of)
        learned = list(pair.parameters())
        optimizer = make_optimizer(of.optimizer, learned, lr=of.rate, options=of.optimizer_options)
        if (
            trial.pruner is not None
            and not make_objective(pair, of.objective, of.objective_options).ranks
        ):
            raise UsageError(
                f"a higher value of {of.objective} is no better model: leave pruning out"
            )
        make_schedule(of.schedule, optimizer, total_steps=1, options=of.schedule_options)


def ranges_of(
    search: Any, grid: Mapping[str, Any] | None, space: Mapping[str, Any] | None
) -> dict[str, Range] | None:
    """The ranges of a search; ``None`` for a grid."""
    if isinstance(search, str) and search == GRID:
        if space is not None:
            raise UsageError(
                "a space is for a search: give search, such as random or gp_bo, or a grid"
            )
        if grid is None:
            raise UsageError("give a grid, or a search with the space that it is to search")
        return None
    if grid is not None:
        raise UsageError("a grid is of the search grid: give a space, or leave search out")
    if space is None:
        raise UsageError("a search needs a space: a range for each setting that it may vary")
    return check_space(space)
