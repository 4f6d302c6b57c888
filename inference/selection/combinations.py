"""A sweep over every combination of a grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import joblib

from inference.selection.checks import check_trials
from inference.selection.grid import combinations
from inference.selection.outcome import Outcome
from inference.selection.pruning import Fixed
from inference.selection.row import Row
from inference.selection.runs import MARKER, Runs, computed, own_quantities, write_tables
from inference.selection.table import Sweep
from inference.selection.trial import Trial, outcomes_there, run_setting, train_at_once
from pyro_models.files import holding_folder

__all__ = ["Grid", "run_grid"]


@dataclass(frozen=True, kw_only=True)
class Grid(Runs):
    """The runs of a grid: the values of each setting, and which part of how many is to be run."""

    values: Mapping[str, Sequence[Any]]
    part: tuple[int, int] = (1, 1)

    def settings(self) -> list[list[Trial]]:
        """The runs of each combination."""
        combined = combinations(self.values)
        folders = [self.folders(setting) for setting in combined]
        return [
            self.trials_of(setting, others=Fixed([each for each in folders if each is not own]))
            for setting, own in zip(combined, folders, strict=True)
        ]

    def result(self, trained: Mapping[Path, Outcome]) -> Sweep:
        """The table of what is there, and was just trained."""
        rows = (
            Row(trials[0].setting, outcomes_there(trials, trained), self.quantity)
            for trials in self.settings()
        )
        return Sweep(tuple(rows), self.values, self.seeds, self.folder)


def run_grid(grid: Grid, parallel: joblib.Parallel, *, at_once: bool, progress: bool) -> Sweep:
    """Train what is not there yet, and write the tables."""
    first, shards = grid.part
    whole = shards == 1
    what, part = ("another sweep", "") if whole else (f"shard {first}/{shards}",) * 2
    part = part and f"-{first}-of-{shards}"
    refusal = f"{what} is at work in {grid.folder}: wait for it"
    with holding_folder(grid.folder, refusal=refusal, part=part):
        images = grid.settings()[0][0].load()
        grid = replace(grid, identity=images.identity.to_dict())
        groups = grid.settings()
        runs = [trial for group in groups for trial in group]
        check_trials(runs, images)
        (grid.folder / MARKER).touch()
        mine = {trial.folder for trial in runs[first - 1 :: shards]}
        if at_once:
            own = [[t for t in group if t.folder in mine] for group in groups]
            for _ in parallel(joblib.delayed(train_at_once)(each) for each in own if each):
                pass
        if grid.rule is None:
            work = [[trial] for trial in runs if trial.folder in mine]
        else:  # a setting ends with its first run that is pruned
            work = groups[first - 1 :: shards]
        quantities = own_quantities()
        tasks = [joblib.delayed(run_setting)(group, *quantities) for group in work]
        total = sum(map(len, work))
        trained = computed(parallel, tasks, total=total, unit="run", progress=progress)
        return write_tables(grid.folder, lambda: grid.result(trained))
