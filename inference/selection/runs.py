"""The runs of a sweep, by settings and seeds: where they are, and what they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any

import joblib

from inference import evaluation
from inference.evaluation.quantity import QUANTITIES, Quantity
from inference.experiment import Experiment
from inference.progress import bar, showing
from inference.selection.grid import folder_names, with_setting
from inference.selection.outcome import Outcome
from inference.selection.pruning import Pruner, PruningRule
from inference.selection.table import Sweep
from inference.selection.trial import EvaluationOptions, Trial
from pyro_models import UsageError
from pyro_models.files import LOCK, holding, write_atomically

__all__ = ["MARKER", "Runs", "computed", "own_quantities", "write_tables"]

MARKER = ".pyro-models-sweep"

Folders = Sequence[Sequence[Path]]


@dataclass(frozen=True)
class Runs:
    """What all runs of a sweep share.

    The experiment that each is a variant of, how it is evaluated, the folder, the seeds, the rule
    by which a setting is pruned, the score that decides, the threads of each run, and what the data
    are by content.
    """

    _: KW_ONLY
    experiment: Experiment
    evaluation: EvaluationOptions
    folder: Path
    seeds: tuple[int, ...]
    threads: int
    rule: PruningRule | None = None
    quantity: str | None = None
    identity: Mapping[str, Any] | None = None

    def folders(self, setting: Mapping[str, Any]) -> list[Path]:
        """The run folders of a setting, one for each seed."""
        [name] = folder_names([setting])
        return [self.folder / name / f"seed={seed}" for seed in self.seeds]

    def trials_of(
        self, setting: Mapping[str, Any], *, others: Callable[[], Folders]
    ) -> list[Trial]:
        """The runs of a setting; ``others`` says where those of the other settings are."""
        own, trials = self.folders(setting), []
        for seed, place in zip(self.seeds, own, strict=True):
            pruner = None if self.rule is None else Pruner(self.rule, own, others, place)
            variant = with_setting(self.experiment, setting, seed=seed)
            how = (self.threads, setting, self.identity, pruner)
            trials.append(Trial(variant, self.evaluation, place, *how))
        return trials


def computed(
    parallel: joblib.Parallel, tasks: Sequence[Any], *, total: int, unit: str, progress: bool
) -> dict[Path, Outcome]:
    """The outcomes of tasks, by folder, as they come; each returns those of some runs."""
    found: dict[Path, Outcome] = {}
    with showing(progress), bar(total, unit=f"{unit}s", what="sweep") as done:
        try:
            for outcomes in parallel(tasks):
                found |= {outcome.folder: outcome for outcome in outcomes}
                done.update(len(outcomes) if unit == "run" else 1)
                failed = sum(bool(o.failure) and not o.pending for o in found.values())
                pruned = sum(bool(o.pruned) for o in found.values())
                done.say(f"{failed} failed" + (f", {pruned} pruned" if pruned else ""))
        except UsageError:  # of a search: no run raises
            raise
        except Exception as error:  # it is the backend, in whichever way it can
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(
                f"the workers of the sweep gave up after {len(found)} of {total} {unit}s "
                f"({reason}); what was finished is kept: sweep again to go on"
            ) from error
    return found


def own_quantities() -> list[Quantity]:
    """Quantities of the user's own, which workers do not know."""
    known = [each for each in QUANTITIES.values() if each.compute is not None]
    here = f"{evaluation.__name__}."
    return [q for q in known if q.compute and not q.compute.__module__.startswith(here)]


def write_tables(folder: Path, result: Callable[[], Sweep]) -> Sweep:
    """Write the tables of what is there now; whoever writes last has seen all."""
    with holding(folder / f"{LOCK}-tables"):
        made = result()
        write_atomically(folder / "sweep.csv", made.to_csv())
        write_atomically(folder / "sweep.md", made.to_markdown())
        write_atomically(folder / "runs.csv", made.runs_to_csv())
    return made
