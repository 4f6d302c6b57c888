"""How one run of a sweep ends: trained, evaluated on validation data and recorded, or failed."""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from inference.evaluation import Evaluation, evaluate
from inference.evaluation.quantity import QUANTITIES, Quantity
from inference.learning import Run, fit
from inference.selection.trial import FORMAT, Trial
from pyro_models import UsageError
from pyro_models.files import write_atomically
from pyro_models.seeds import alone

__all__ = ["Outcome", "run_trial", "train_at_once"]


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes
    ----------
    folder
        The folder of the run.
    seed
        Random seed of weights, shuffling, preparation and sampling.
    evaluation
        Its scores on validation data; ``None`` if it failed.
    failure
        Why it failed, in one line; empty if it did not.
    epochs, seconds, stopped
        Epochs trained, wall time of their steps, and why training ended.
    threads
        Number of threads it was trained with; a run is the same bit for bit for the same number
        only.
    repeated
        Whether it was found finished, and not trained now.
    """

    folder: Path
    seed: int
    evaluation: Evaluation | None
    failure: str = ""
    epochs: int = 0
    seconds: float = 0.0
    stopped: str = ""
    threads: int = 1
    repeated: bool = False


def run_trial(trial: Trial, *quantities: Quantity) -> Outcome:
    r"""Train and evaluate one run, or go on with it, or take it from its record if it is finished.

    Whatever goes wrong is reported in the outcome, so that the other runs go on. A run that was
    begun keeps the number of threads it was begun with.

    Parameters
    ----------
    trial
        The run.
    \*quantities
        What else is to be evaluated, for a worker in which nobody has registered it.

    Returns
    -------
    Outcome
        Its scores, or why there are none.
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
            with _threads(threads):
                return _train_and_evaluate(trial, threads)
    except Exception as error:  # any failure of one run leaves the others alone
        return _failed(trial, error, threads)


def train_at_once(trials: Sequence[Trial]) -> None:
    """Train the runs of one setting, which differ in their seeds alone, at once where that can be.

    What is finished stays as it is. Nothing is raised and nothing evaluated: :func:`run_trial` does
    so, and goes on with a run that was left unfinished.

    Parameters
    ----------
    trials
        The runs.
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
        inside.enter_context(_threads(threads))
        for trial in left:
            _write(trial, threads, None)
        data = left[0].load()
        pair = left[0].experiment.build(data)
        fit(
            pair,
            left[0].experiment.prepared(pair, data),
            settings=left[0].experiment.settings,
            seeds=[trial.seed for trial in left],
            out=[trial.folder for trial in left],
            resume=any(Run(trial.folder).exists for trial in left),
            progress=False,
        )


def _finished(trial: Trial, record: Mapping[str, Any] | None) -> Outcome | None:
    """The outcome on record, if the run was finished and evaluated as it is to be evaluated now."""
    outcome = record["outcome"] if record else None
    if not outcome or outcome["failure"] or outcome["judging"] != asdict(trial.evaluation):
        return None
    evaluation = Evaluation.from_json(json.dumps(outcome["evaluation"]))
    recorded = {k: outcome[k] for k in ("epochs", "seconds", "stopped", "threads")}
    return Outcome(trial.folder, trial.seed, evaluation, repeated=True, **recorded)


def _train_and_evaluate(trial: Trial, threads: int) -> Outcome:
    _write(trial, threads, None)
    data = trial.load()
    pair = trial.experiment.build(data)
    data = trial.experiment.prepared(pair, data)
    result = fit(
        pair,
        data,
        settings=trial.experiment.settings,
        out=trial.folder,
        resume=Run(trial.folder).exists,
        progress=False,
    )
    epochs = result.history.epochs
    evaluation = evaluate(
        result.pair,
        data,
        split="validation",
        num_particles=trial.evaluation.num_particles,
        limit=trial.evaluation.limit,
        seed=trial.evaluation.seed,
        name=f"{trial.folder.parent.name}/{trial.folder.name}",
    )
    outcome = Outcome(
        trial.folder,
        trial.seed,
        evaluation,
        epochs=len(epochs),
        seconds=sum(epoch.seconds for epoch in epochs),
        stopped=result.history.stopped,
        threads=threads,
    )
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
        names = ("failure", "epochs", "seconds", "stopped", "threads")
        found = {name: getattr(outcome, name) for name in names}
        found["judging"] = asdict(trial.evaluation)  # the word of every record so far
        if outcome.evaluation is not None:
            found["evaluation"] = json.loads(outcome.evaluation.to_json())
        if details:
            found["traceback"] = details.splitlines()
    content = {"format": FORMAT, "trial": trial.describe(), "threads": threads, "outcome": found}
    write_atomically(
        trial.record_path, json.dumps(content, indent=2, ensure_ascii=False, default=repr) + "\n"
    )


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """So many threads of torch inside, as many as before afterwards."""
    before = torch.get_num_threads()
    try:
        if number != before:
            torch.set_num_threads(number)
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)
