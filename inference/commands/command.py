"""What makes a function a subcommand of ``pyro-models``, and the options that most share."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, TypeVar

from inference.declared import SEED, at_least, check_declared, declared
from inference.learning import Run
from inference.learning.recorded_data import recall
from inference.learning.settings import check_pair_fits_data
from inference.precision import DEFAULT, PRECISIONS, in_precision
from pyro_models import ImageData, Pair
from pyro_models.data import Split
from pyro_models.data.masks import MASKS
from pyro_models.device import check_device
from pyro_models.registry import check_choice

__all__ = ["COMMANDS", "DEVICE", "OF_MODELS", "OnHalfSeen", "OnRun", "command", "command_of_models"]

F = TypeVar("F", bound=Callable[..., Any])

COMMANDS: dict[str, Callable[..., Any]] = {}
"""The subcommands by name."""

OF_MODELS: dict[str, Callable[..., Any]] = {}
"""What those of the same names do where the first argument is a Pyro model in a file."""


def command(function: F) -> F:
    """Make a function a subcommand of its name, with hyphens; its arguments are the options."""
    COMMANDS[function.__name__.replace("_", "-")] = function
    return function


def command_of_models(function: F) -> F:
    """Let ``infer_model`` be what ``infer`` does with a Pyro model in the place of a run folder.

    What the model makes while it runs, which it knows no device of, is made where ``device`` says.
    """

    @wraps(function)
    def there(*args: Any, **options: Any) -> Any:
        where = check_device(options.get("device", "cpu"))
        with nullcontext() if where.type == "cpu" else where:
            return function(*args, **options)

    OF_MODELS[function.__name__.removesuffix("_model")] = there
    return there  # type: ignore[return-value]


DEVICE: str = declared("cpu", "Where to compute: cpu, cuda, cuda:1 or mps.")
"""The option that every command has."""


@dataclass(frozen=True)
class OnRun:
    """Which data of a run a command is about, and how it goes about it."""

    data: str | None = declared(None, "Other data than those it was trained on.")
    split: Literal["test", "validation", "train"] = declared(
        "test", "Split of the data that is used."
    )
    limit: int | None = declared(None, "Use only the first so many data.", at_least(1))
    seed: int = declared(0, "Random seed of the preparation and of all draws.", SEED)
    force: bool = declared(False, "Replace files that are there.")
    device: str = DEVICE
    precision: str = declared(
        DEFAULT,
        """How to compute: float32 as it was trained, bfloat16 for its networks alone, or float64
        for all, the truth to compare with.""",
        lambda _, given: check_choice("precision", given, PRECISIONS),
    )
    progress: bool = declared(True, "Show progress bars.")

    def __post_init__(self) -> None:
        check_declared(self)

    def open(self, run: str) -> tuple[Pair, ImageData]:
        """The pair of a run, and the data it was trained on, split and prepared alike.

        With ``data`` those instead, which is said. Data that have changed since are refused.
        """
        where, folder = check_device(self.device), Run(run)
        record = folder.describe()
        pair = in_precision(folder.load_pair(device=where), self.precision)
        found = recall(record["data"], run=run, given=self.data)
        if found.note:
            print(f"note: {found.note}")
        return pair, found.data

    def prepared(self, pair: Pair, images: ImageData) -> Split:
        """What is used of the data, if it fits the pair."""
        check_pair_fits_data(pair, images, splits=[self.split], seed=self.seed)
        return images.prepared(self.split, seed=self.seed, limit=self.limit)

    @property
    def scored(self) -> dict[str, Any]:
        """What a function that scores a pair is told."""
        return {name: getattr(self, name) for name in ("split", "limit", "seed", "progress")}


def _check_mask(_: str, mask: str) -> None:
    if not mask.endswith(".npy"):
        check_choice("mask", mask, MASKS, hint="name a .npy file")


@dataclass(frozen=True)
class OnHalfSeen(OnRun):
    """The same where only some pixels are seen."""

    mask: str | None = declared(
        None,
        """What is seen: left, right, top, bottom, top_left (and so on), random, or a .npy file;
        everything unless given.""",
        _check_mask,
    )
    fraction: float = declared(0.5, "Fraction of the pixels that the mask random sees.")
