"""One run of a sweep: a setting under one seed, and what is recorded of it.

The record lies beside the run folder, ``seed=0.json`` beside ``seed=0/``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.experiment import OPTION, Experiment
from inference.selection.grid import PREPARATION
from pyro_models import ImageData, UsageError
from pyro_models.data import Identity
from pyro_models.files import holding
from pyro_models.models import PAIRS

__all__ = ["FORMAT", "NOT_SHARED", "EvaluationOptions", "Trial"]

FORMAT = "pyro-models trial 1"
NOT_SHARED = ("seed", "all_training", "snapshots")
"""Options of an experiment that a sweep does not take: it has several seeds, and validates."""


@dataclass(frozen=True)
class EvaluationOptions:
    """How every run of a sweep is evaluated, however it was trained.

    Attributes
    ----------
    num_particles, limit
        Number of particles K of the importance-sampled bound; only the first so many validation
        data are used.
    seed
        Random seed of preparation and particles: the same draws for every run.
    """

    num_particles: int = 100
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Trial:
    """One setting under one seed: all that a worker needs.

    Attributes
    ----------
    experiment, evaluation
        What is trained, with the seed of this run, and how it is evaluated.
    folder, threads
        Its run folder, and the number of threads to train with; ``None`` for as many as there are
        now.
    setting
        The combination of the grid that it is of.
    identity
        What the data of the sweep are by content, as plain values: every worker must find the same.
    """

    experiment: Experiment
    evaluation: EvaluationOptions
    folder: Path
    threads: int | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None

    @property
    def seed(self) -> int:
        """Random seed of weights, shuffling, preparation and sampling."""
        return self.experiment.settings.seed

    @property
    def record_path(self) -> Path:
        """Where the record of the run is kept."""
        return self.folder.with_name(f"{self.folder.name}.json")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run; another who does is waited for."""
        with holding(self.folder.with_name(f".{self.folder.name}.lock")):
            yield

    def load(self) -> ImageData:
        """The data, with the labels that are kept; refused if they are not those that the sweep
        began with.
        """
        data = self.experiment.load_data()
        why = _difference(data.identity.to_dict(), self.identity) if self.identity else None
        if why is not None:
            raise UsageError(f"{data.name} is not what the sweep began with ({why})")
        return data

    def describe(self) -> dict[str, Any]:
        """What makes it this run and no other, in plain values."""
        experiment, data = self.experiment, self.experiment.data
        model = experiment.model
        if not isinstance(model, str):
            model = getattr(model, "__qualname__", type(model).__name__)
        if isinstance(data, ImageData):
            sizes = {name: len(split) for name, split in data.splits.items()}
            data_name: Any = {"name": data.name, "splits": sizes}
            preparation = data.preparation
            if data.labels_kept is not None:
                data_name["labels_kept"] = list(data.labels_kept)
        else:
            data_name, preparation = {"name": str(data)}, None
        settings = experiment.settings.plain()
        del settings["device"]
        described = {
            "model": model,
            **{f"{OPTION}{k}": v for k, v in experiment.options.items()},
            **settings,
            "data": data_name,
            PREPARATION: experiment.preparation or preparation,
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
        if not path.is_file():
            if self.folder.exists():
                raise UsageError(
                    f"{self.folder} is there and no sweep began it: name another folder (out)"
                )
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
            raise UsageError(
                f"{self.folder} holds another run: it was begun with other data ({why}); name "
                "another folder (out)"
            )
        if own is not None and others is not None and isinstance(self.experiment.data, str):
            now.pop("data"), was.pop("data", None)  # the same content, perhaps from another place
        cls = PAIRS.get(now["model"])
        if cls is not None and was.get("model") == cls.__name__:
            was["model"] = now["model"]  # a sweep of an older release that was given the class
        for name in [*now, *was]:
            if was.get(name) != now.get(name):
                raise UsageError(
                    f"{self.folder} holds another run: it was begun with {name} "
                    f"{was.get(name)!r}, not {now.get(name)!r}; name another folder (out)"
                )
        return record


def _difference(own: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> str | None:
    """How two identities, as plain values, differ; ``None`` if not, or one is unknown."""
    mine, theirs = Identity.from_dict(own), Identity.from_dict(other)
    return None if mine is None or theirs is None else mine.differs_from(theirs)
