"""What a pair of this process was trained on, and for how long, for what is said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from inference.precision import original
from pyro_models import Pair
from pyro_models.contract import module_of

__all__ = ["TrainedOn", "note_training", "training_of"]


@dataclass(frozen=True)
class TrainedOn:
    """The name of the data, and the epoch that the parameters are of, where it is known."""

    data: str
    epoch: int | None = None


_TRAINED: WeakKeyDictionary[Any, TrainedOn] = WeakKeyDictionary()


def note_training(pair: Pair, *, data: str, epoch: int | None) -> None:
    """Note what a pair was trained on so far."""
    _TRAINED[module_of(pair)] = TrainedOn(data, epoch)


def training_of(pair: Pair) -> TrainedOn | None:
    """What it was trained on in this process or in the run it was loaded from; else ``None``."""
    return _TRAINED.get(original(pair))
