"""One run of a sweep: a setting under one seed, and what is recorded of it.

The record lies beside the run folder, ``seed=0.json`` beside ``seed=0/``.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from inference.learning.settings import Settings
from inference.selection.grid import OPTION, PREPARATION
from pyro_models import ImageData, Pair, UsageError, build, load_data
from pyro_models.contract import check_pair
from pyro_models.data import Identity
from pyro_models.files import holding
from pyro_models.seeds import seeded

__all__ = ["FORMAT", "EvaluationOptions", "Trial"]

FORMAT = "pyro-models trial 1"


@dataclass(frozen=True)
class EvaluationOptions:
    """How every run of a sweep is evaluated, however it was trained.

    Attributes
    ----------
    num_particles
        Number of particles K of the importance-sampled bound.
    limit
        Only the first so many validation data are used.
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
    model
        A registered name, or a function of ``data_shape`` and options (and ``num_classes``, where
        it takes them) that builds a pair.
    data
        Data in memory, or what ``load_data`` takes.
    options
        Options of the model.
    settings
        Settings of the training, but for the seed.
    preparation
        Preparation of the pixels; ``None`` for what the data, or else the likelihood, says.
    labels
        Number of training labels that are kept, and the seed of their draw; ``None`` for all.
    evaluation
        How it is evaluated.
    seed
        Random seed of weights, shuffling, preparation and sampling.
    folder
        Its run folder.
    threads
        Number of threads to train with; ``None`` for as many as there are now.
    setting
        The combination of the grid that it is of.
    loading
        Options of ``load_data`` where ``data`` is a name or file.
    identity
        What the data of the sweep are by content, as plain values: every worker must find the same.
    """

    model: str | Callable[..., Pair]
    data: ImageData | str
    options: Mapping[str, Any]
    settings: Mapping[str, Any]
    preparation: str | None
    evaluation: EvaluationOptions
    seed: int
    folder: Path
    threads: int | None = None
    labels: tuple[int | float, int] | None = None
    setting: Mapping[str, Any] = field(default_factory=dict)
    loading: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None

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

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the run; another who does is waited for."""
        with holding(self.folder.with_name(f".{self.folder.name}.lock")):
            yield

    def load(self) -> ImageData:
        """The data, with the labels that are kept.

        Raises
        ------
        UsageError
            If they are not those that the sweep began with.
        """
        if isinstance(self.data, ImageData):
            data = self.data
        else:
            data = load_data(self.data, **self.loading)
        if self.labels is not None:
            data = data.with_labels(self.labels[0], seed=self.labels[1])
        why = _difference(data.identity.to_dict(), self.identity) if self.identity else None
        if why is not None:
            raise UsageError(f"{data.name} is not what the sweep began with ({why})")
        return data

    def build(self, data: ImageData) -> Pair:
        """The pair before training; its weights follow from the seed."""
        with seeded(self.seed, torch.device("cpu")):
            if isinstance(self.model, str):
                return build(
                    self.model, data.data_shape, num_classes=data.num_classes, **self.options
                )
            known = inspect.signature(self.model).parameters
            labels = {"num_classes": data.num_classes} if "num_classes" in known else {}
            pair = self.model(data.data_shape, **labels, **self.options)
            check_pair(pair)
            return pair

    def describe(self) -> dict[str, Any]:
        """What makes it this run and no other, in plain values."""
        model, data = self.model, self.data
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
        settings = Settings(**{**self.settings, "device": "cpu"}, seed=self.seed).plain()
        del settings["device"]
        described = {
            "model": model,
            **{f"{OPTION}{k}": v for k, v in self.options.items()},
            **settings,
            "data": data_name,
            PREPARATION: self.preparation or preparation,
        }
        if self.labels is not None:
            described["labels"] = self.labels
        if self.identity is not None:
            described["identity"] = self.identity
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
        if own is not None and others is not None and isinstance(self.data, str):
            now.pop("data"), was.pop("data", None)  # the same content, perhaps from another place
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
