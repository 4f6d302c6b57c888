"""One run of a sweep: a setting under one seed, what is recorded of it, and how it ends.

The record lies beside the run folder, ``seed=0.json`` beside ``seed=0/``.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from inference.evaluation import Evaluation, evaluate
from inference.evaluation.quantity import QUANTITIES, Quantity
from inference.experiment import OPTION, Experiment
from inference.learning import Run, fit
from inference.progress import is_showing
from inference.selection.grid import PREPARATION
from inference.selection.outcome import Outcome
from inference.selection.pruning import PRUNED, Pruner
from inference.tracking import make_trackers
from inference.workers import device_of_worker as _device_of_worker
from inference.workers import threads as threads_of_torch
from pyro_models import ImageData, UsageError
from pyro_models.brief import Brief
from pyro_models.data import Identity
from pyro_models.files import holding, write_atomically
from pyro_models.models import PAIRS
from pyro_models.seeds import alone

__all__ = [
    "FORMAT",
    "NOT_SHARED",
    "EvaluationOptions",
    "Trial",
    "outcome_there",
    "outcomes_there",
    "run_setting",
    "run_trial",
    "train_at_once",
]

FORMAT = "pyro-models trial 1"
_RECORDED = ("epochs", "seconds", "stopped", "threads")
NOT_SHARED = ("seed", "all_training", "snapshots")
"""Options of an experiment that a sweep does not take: it has several seeds, and validates."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How every run is evaluated: with one K, seed of all draws, and number of validation data."""

    num_particles: int = 100
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Trial(Brief):
    """One setting under one seed: all that a worker needs.

    What is trained, with the seed of this run, how it is evaluated, its run folder, and the number
    of threads to train with, ``None`` for as many as there are now. ``identity`` is what the data
    of the sweep are by content, as plain values: every worker must find the same. With a ``pruner``
    it may end early.
    """

    experiment: Experiment
    evaluation: EvaluationOptions
    folder: Path
    threads: int | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None
    pruner: Pruner | None = None

    @property
    def seed(self) -> int:
        """Random seed of weights, shuffling, preparation and sampling."""
        return self.experiment.settings.seed

    @property
    def record_path(self) -> Path:
        """Where the record of the run is kept."""
        return self.folder.with_name(f"{self.folder.name}.json")

    def held(self) -> AbstractContextManager[None]:
        """Hold the run; another who does is waited for."""
        return holding(self.folder.with_name(f".{self.folder.name}.lock"))

    def load(self) -> ImageData:
        """The data, with the labels that are kept; refused if they are not what the sweep began
        with.
        """
        data = self.experiment.load_data()
        why = _difference(data.identity.to_dict(), self.identity) if self.identity else None
        if why is not None:
            raise UsageError(f"{data.name} is not what the sweep began with ({why})")
        return data

    def describe(self) -> dict[str, Any]:
        """What makes it this run and no other, in plain values."""
        experiment, model, data = self.experiment, self.experiment.model, self.experiment.data
        if not isinstance(model, str):
            model = getattr(model, "__qualname__", type(model).__name__)
        of_data: dict[str, Any] = {"name": str(data)}
        if isinstance(data, ImageData):
            sizes = {name: len(split) for name, split in data.splits.items()}
            of_data = {"name": data.name, "splits": sizes}
            if data.labels_kept is not None:
                of_data["labels_kept"] = list(data.labels_kept)
        described = {
            "model": model,
            **{f"{OPTION}{k}": v for k, v in experiment.options.items()},
            **{k: v for k, v in experiment.settings.plain().items() if k != "device"},
            "data": of_data,
            PREPARATION: experiment.preparation or getattr(data, "preparation", None),
        }
        if experiment.labels is not None:
            described["labels"] = experiment.labels, experiment.labels_seed
        if experiment.labelled_only:
            described["labelled_only"] = True
        if self.identity is not None:
            described["identity"] = self.identity
        plain: dict[str, Any] = json.loads(json.dumps(described, default=repr))
        return plain

    def record(self) -> dict[str, Any] | None:
        """What is recorded of it, or ``None`` if it was not begun.

        A ``UsageError`` is raised if another run is in its place, or the record is damaged.
        """
        path = self.record_path
        if not path.is_file() and self.folder.exists():
            raise UsageError(
                f"{self.folder} is there and no sweep began it: name another folder (out)"
            )
        if not path.is_file():
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ValueError("another format")
            was = dict(record["trial"])
            record["outcome"], record["threads"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged; remove it and its run folder") from error
        now = self.describe()
        own, others = now.pop("identity", None), was.pop("identity", None)
        why = _difference(own, others)
        if why is not None:
            raise self._other_run(f"other data ({why})")
        if own is not None and others is not None and isinstance(self.experiment.data, str):
            now.pop("data"), was.pop("data", None)  # the same content, perhaps from another place
        cls = PAIRS.get(now["model"])
        if cls is not None and was.get("model") == cls.__name__:
            was["model"] = now["model"]  # a sweep of an older release that was given the class
        for name in [*now, *was]:
            if was.get(name) != now.get(name):
                raise self._other_run(f"{name} {was.get(name)!r}, not {now.get(name)!r}")
        return record

    def _other_run(self, what: str) -> UsageError:
        return UsageError(
            f"{self.folder} holds another run: it was begun with {what}; name another folder (out)"
        )


def _difference(own: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str | None:
    """How two identities, as plain values, differ; ``None`` if not, or one is unknown."""
    mine, theirs = Identity.from_dict(own), Identity.from_dict(other)
    return None if mine is None or theirs is None else mine.differs_from(theirs)


def run_trial(trial: Trial, *quantities: Quantity) -> Outcome:
    """Train and evaluate one run, or go on with it, or take it from its record if it is finished.

    Whatever goes wrong is reported in the outcome, so that the other runs go on. A run that was
    begun keeps the number of threads it was begun with. ``quantities`` are what else is to be
    evaluated, for a worker in which nobody has registered it.
    """
    for each in quantities:
        QUANTITIES.setdefault(each.name, each)
    threads = trial.threads or torch.get_num_threads()
    try:
        # a worker of a sweep that died may still be at it: then its outcome is taken
        with trial.held(), alone():
            record = trial.record()
            threads = record["threads"] if record else threads
            found = _finished(trial, record)
            if found is not None:
                return found
            with threads_of_torch(threads):
                return _train_and_evaluate(trial, threads)
    except Exception as error:  # any failure of one run leaves the others alone
        return _failed(trial, error, threads)


def run_setting(trials: Sequence[Trial], *quantities: Quantity) -> list[Outcome]:
    """Train and evaluate the runs of one setting in turn, until one of them is pruned."""
    done: dict[Path, Outcome] = {}
    for trial in trials:
        done[trial.folder] = run_trial(trial, *quantities)
        if done[trial.folder].pruned:
            break
    return [*outcomes_there(trials, done)]


def outcomes_there(
    trials: Sequence[Trial], trained: Mapping[Path, Outcome] | None = None
) -> tuple[Outcome, ...]:
    """The outcomes of the runs of one setting, those just ``trained`` or else those on record.

    What a pruned one left out is said so.
    """
    found = [(trained or {}).get(trial.folder) or outcome_there(trial) for trial in trials]
    first = next((outcome for outcome in found if outcome.pruned), None)
    if first is None:
        return tuple(found)
    why = f"not trained, as seed {first.seed} was pruned"
    return tuple(
        replace(o, failure="", pending=False, pruned=why) if o.pending else o for o in found
    )


def outcome_there(trial: Trial) -> Outcome:
    """What is on record of a run that is another's to train."""
    record = trial.record()
    found = _finished(trial, record)
    if found is not None:
        return found
    failure = ((record or {}).get("outcome") or {}).get("failure")
    why = failure or "it is of another shard, and not there yet"
    return Outcome(trial.folder, trial.seed, None, failure=why, pending=not failure)


def train_at_once(trials: Sequence[Trial]) -> None:
    """Train the runs of one setting, which differ in their seeds alone, at once where that can be.

    What is finished stays as it is. Nothing is raised and nothing evaluated: :func:`run_trial` does
    so, and goes on with a run that was left unfinished.
    """
    if isinstance(trials[0].experiment.model, str):  # a function may make what no copy is
        with suppress(Exception):
            _train_at_once(trials)


def _train_at_once(trials: Sequence[Trial]) -> None:
    threads = trials[0].threads or torch.get_num_threads()
    with ExitStack() as inside:
        for trial in trials:
            inside.enter_context(trial.held())
        records = {trial.seed: trial.record() for trial in trials}
        left = [t for t in trials if not _finished(t, records[t.seed])]
        left = [t for t in left if (records[t.seed] or {"threads": threads})["threads"] == threads]
        if len(left) < 2:
            return
        inside.enter_context(alone())
        inside.enter_context(threads_of_torch(threads))
        out = [trial.folder for trial in left]
        _trained(left, threads, out=out, seeds=[trial.seed for trial in left])


def _finished(trial: Trial, record: Mapping[str, Any] | None) -> Outcome | None:
    """The outcome on record, if the run was finished and evaluated as it is to be evaluated now."""
    outcome = record["outcome"] if record else None
    if not outcome or outcome["failure"]:
        return None
    recorded = {name: outcome[name] for name in _RECORDED}
    if pruned := outcome.get("pruned"):
        if trial.pruner is None or outcome["pruned_by"] != trial.pruner.described():
            return None  # by another rule: it is taken up
        return Outcome(trial.folder, trial.seed, None, repeated=True, pruned=pruned, **recorded)
    if outcome["judging"] != asdict(trial.evaluation):
        return None
    evaluation = Evaluation.from_json(json.dumps(outcome["evaluation"]))
    return Outcome(trial.folder, trial.seed, evaluation, repeated=True, **recorded)


def _trained(trials: Sequence[Trial], threads: int, **how: Any) -> tuple[Any, ImageData]:
    """What a fit of runs that differ in their seeds alone returns, and the data prepared for it."""
    for trial in trials:
        _take_up(trial)
        _write(trial, threads, None)
    data, experiment = trials[0].load(), trials[0].experiment
    pair, settings = experiment.build(data), experiment.settings
    data = experiment.prepared(pair, data)
    settings = settings.replace(device=_device_of_worker(settings.device))
    resume = any(Run(trial.folder).exists for trial in trials)
    followed = [*how.pop("callbacks", ()), *make_trackers(experiment.track)]
    how = {"settings": settings, "resume": resume, "progress": is_showing(), **how}
    return fit(pair, data, callbacks=followed, **how), data


def _take_up(trial: Trial) -> None:
    """Let a run go on that was pruned, by another rule than now, if by any."""
    run, record = Run(trial.folder), trial.record() if trial.record_path.is_file() else None
    recorded = ((record or {}).get("outcome") or {}).get("pruned")
    if not run.exists or (trial.pruner is not None and not recorded):
        return
    state = run.load_checkpoint()
    if state is not None and state["stopping"]["reason"].startswith(PRUNED):
        state["stopping"]["reason"] = ""
        run.save_checkpoint({name: value for name, value in state.items() if name != "format"})


def _train_and_evaluate(trial: Trial, threads: int) -> Outcome:
    callbacks = {} if trial.pruner is None else {"callbacks": [trial.pruner]}
    result, data = _trained([trial], threads, out=trial.folder, **callbacks)
    epochs = result.history.epochs
    seconds, stopped = sum(epoch.seconds for epoch in epochs), result.history.stopped
    folder, seed = trial.folder, trial.seed
    if stopped.startswith(PRUNED):
        ended = (len(epochs), seconds, stopped, threads)
        outcome = Outcome(folder, seed, None, "", *ended, pruned=stopped)
        _write(trial, threads, outcome)
        return outcome
    name = f"{trial.folder.parent.name}/{trial.folder.name}"
    how = asdict(trial.evaluation)
    evaluation = evaluate(result.pair, data, split="validation", name=name, **how)
    outcome = Outcome(folder, seed, evaluation, "", len(epochs), seconds, stopped, threads)
    _write(trial, threads, outcome)
    return outcome


def _failed(trial: Trial, error: Exception, threads: int) -> Outcome:
    """Record why, in one line; for what is no mistake in use, the traceback too."""
    kind = "" if isinstance(error, UsageError) else f"{type(error).__name__}: "
    line = f"{kind}{' '.join(str(error).split())}" or type(error).__name__
    outcome = Outcome(trial.folder, trial.seed, None, failure=line, threads=threads)
    try:
        trial.record()  # another run's record is not written over
        _write(trial, threads, outcome, details="".join(traceback.format_exception(error)))
    except (UsageError, OSError):
        pass
    return outcome


def _write(trial: Trial, threads: int, outcome: Outcome | None, *, details: str = "") -> None:
    found: dict[str, Any] | None = None
    if outcome is not None:
        found = {name: getattr(outcome, name) for name in ("failure", *_RECORDED)}
        found["judging"] = asdict(trial.evaluation)  # the word of every record so far
        if outcome.pruned and trial.pruner is not None:
            found |= {"pruned": outcome.pruned, "pruned_by": trial.pruner.described()}
        if outcome.evaluation is not None:
            found["evaluation"] = json.loads(outcome.evaluation.to_json())
        if details:
            found["traceback"] = details.splitlines()
    content = {"format": FORMAT, "trial": trial.describe(), "threads": threads, "outcome": found}
    text = json.dumps(content, indent=2, ensure_ascii=False, default=repr)
    write_atomically(trial.record_path, f"{text}\n")
