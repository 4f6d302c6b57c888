"""One run of a sweep: a setting under one seed, trained, judged on validation data, and recorded.

The record lies beside the run folder, ``seed=0.json`` beside ``seed=0/``.
"""

from __future__ import annotations

import inspect
import json
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from inference.evaluation import Evaluation, evaluate
from inference.learning import Run, fit
from inference.learning.files import write_atomically
from inference.learning.preparation import prepared_for
from inference.learning.settings import Settings
from inference.selection.grid import OPTION, PREPARATION
from inference.undisturbed import seeded
from pyro_models import ImageData, Pair, UsageError, build, load_data

__all__ = ["Judging", "Outcome", "Trial", "run_trial"]

FORMAT = "pyro-models trial 1"
# torch's global generators and Pyro's handlers belong to a process: one run at a time in each
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True)
class Judging:
    """How every run of a sweep is judged, however it was trained.

    Attributes
    ----------
    num_particles
        K of the importance-sampled bound.
    limit
        Only the first so many validation data.
    seed
        Of preparation and particles: the same draws for every run.
    """

    num_particles: int = 100
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes
    ----------
    folder
        Where it is.
    seed
        Of weights, shuffling, preparation and sampling.
    evaluation
        Its scores on validation data; ``None`` if it failed.
    failure
        Why it failed, in one line; empty if it did not.
    epochs, seconds, stopped
        Epochs trained, wall time of their steps, and why training ended.
    threads
        Threads it was trained with; a run is the same bit for bit for the same number only.
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


@dataclass(frozen=True)
class Trial:
    """One setting under one seed: all that a worker needs.

    Attributes
    ----------
    model
        A registered name, or a function of ``data_shape`` and options (and ``num_classes``, where
        it takes them) that builds a pair.
    data
        In memory, or what ``load_data`` takes.
    options
        Of the model.
    settings
        Of the training, but for the seed.
    preparation
        Of the pixels; ``None`` for what the data, or else the likelihood, says.
    judging
        How it is judged.
    seed
        Of weights, shuffling, preparation and sampling.
    folder
        Its run folder.
    threads
        Threads to train with; ``None`` for as many as there are now.
    setting
        The combination of the grid that it is of.
    """

    model: str | Callable[..., Pair]
    data: ImageData | str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    preparation: str | None
    judging: Judging
    seed: int
    folder: Path
    threads: int | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        setting: Mapping[str, Any],
        *,
        options: Mapping[str, Any],
        settings: Mapping[str, Any],
        preparation: str | None,
        **rest: Any,
    ) -> Trial:
        """A combination of the grid on top of what all runs share."""
        own = {k.removeprefix(OPTION): v for k, v in setting.items() if k.startswith(OPTION)}
        training = {
            k: v for k, v in setting.items() if not k.startswith(OPTION) and k != PREPARATION
        }
        return cls(
            options={**options, **own},
            settings={**settings, **training},
            preparation=setting.get(PREPARATION, preparation),
            setting=setting,
            **rest,
        )

    @property
    def record_path(self) -> Path:
        """Where the record of the run is kept."""
        return self.folder.with_name(f"{self.folder.name}.json")

    def build(self, data: ImageData) -> Pair:
        """The pair before training; its weights follow from the seed."""
        with seeded(self.seed, torch.device("cpu")):
            if isinstance(self.model, str):
                return build(
                    self.model, data.data_shape, num_classes=data.num_classes, **self.options
                )
            known = inspect.signature(self.model).parameters
            labels = {"num_classes": data.num_classes} if "num_classes" in known else {}
            return self.model(data.data_shape, **labels, **self.options)

    def describe(self) -> dict[str, Any]:
        """What makes it this run and no other, in plain values."""
        model, data = self.model, self.data
        if not isinstance(model, str):
            model = getattr(model, "__qualname__", type(model).__name__)
        if isinstance(data, ImageData):
            sizes = {name: len(split) for name, split in data.splits.items()}
            data_name, preparation = {"name": data.name, "splits": sizes}, data.preparation
        else:
            data_name, preparation = {"name": str(data)}, None
        settings = Settings(**{**self.settings, "device": "cpu"}, seed=self.seed).plain()
        del settings["device"]
        described = {
            "model": model,
            **{f"{OPTION}{k}": v for k, v in self.options.items()},
            **settings,
            "data": data_name,
            PREPARATION: self.preparation or preparation,
        }
        plain: dict[str, Any] = json.loads(json.dumps(described, default=repr))
        return plain

    def record(self) -> dict[str, Any] | None:
        """What is recorded of it, or ``None`` if it was not begun.

        Raises
        ------
        UsageError
            If another run is in its place, or the record is damaged.
        """
        path = self.record_path
        if not path.is_file():
            if self.folder.exists():
                raise UsageError(
                    f"{self.folder} is there and no sweep began it: name another folder (out)"
                )
            return None
        try:
            record: dict[str, Any] = json.loads(path.read_text())
            if record["format"] != FORMAT:
                raise ValueError("another format")
            was = dict(record["trial"])
            record["outcome"], record["threads"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged; remove it and its run folder") from error
        now = self.describe()
        for name in [*now, *was]:
            if was.get(name) != now.get(name):
                raise UsageError(
                    f"{self.folder} holds another run: it was begun with {name} "
                    f"{was.get(name)!r}, not {now.get(name)!r}; name another folder (out)"
                )
        return record


def run_trial(trial: Trial) -> Outcome:
    """Train and judge one run, or go on with it, or take it from its record if it is finished.

    Whatever goes wrong is told in the outcome, so that the other runs go on. A run that was begun
    keeps the number of threads it was begun with.

    Returns
    -------
    Outcome
        Its scores, or why there are none.
    """
    with _ONE_AT_A_TIME:
        threads = trial.threads or torch.get_num_threads()
        try:
            record = trial.record()
            threads = record["threads"] if record else threads
            found = _finished(trial, record)
            if found is not None:
                return found
            with _threads(threads):
                return _train_and_judge(trial, threads)
        except Exception as error:  # any failure of one run leaves the others alone
            return _failed(trial, error, threads)


def _finished(trial: Trial, record: Mapping[str, Any] | None) -> Outcome | None:
    """The outcome on record, if the run was finished and judged as it is to be judged now."""
    outcome = record["outcome"] if record else None
    if not outcome or outcome["failure"] or outcome["judging"] != asdict(trial.judging):
        return None
    evaluation = Evaluation.from_json(json.dumps(outcome["evaluation"]))
    told = {k: outcome[k] for k in ("epochs", "seconds", "stopped", "threads")}
    return Outcome(trial.folder, trial.seed, evaluation, repeated=True, **told)


def _train_and_judge(trial: Trial, threads: int) -> Outcome:
    _write(trial, threads, None)
    data = trial.data if isinstance(trial.data, ImageData) else load_data(trial.data)
    pair = trial.build(data)
    if trial.preparation is not None or not isinstance(trial.data, ImageData):
        data = prepared_for(pair, data, preparation=trial.preparation)
    result = fit(
        pair,
        data,
        **trial.settings,
        seed=trial.seed,
        out=trial.folder,
        resume=Run(trial.folder).exists,
        progress=False,
    )
    epochs = result.history.epochs
    judged = evaluate(
        result.pair,
        data,
        split="validation",
        num_particles=trial.judging.num_particles,
        limit=trial.judging.limit,
        seed=trial.judging.seed,
        name=f"{trial.folder.parent.name}/{trial.folder.name}",
    )
    outcome = Outcome(
        trial.folder,
        trial.seed,
        judged,
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
    told: dict[str, Any] | None = None
    if outcome is not None:
        names = ("failure", "epochs", "seconds", "stopped", "threads")
        told = {name: getattr(outcome, name) for name in names}
        told["judging"] = asdict(trial.judging)
        if outcome.evaluation is not None:
            told["evaluation"] = json.loads(outcome.evaluation.to_json())
        if details:
            told["traceback"] = details.splitlines()
    content = {"format": FORMAT, "trial": trial.describe(), "threads": threads, "outcome": told}
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
