"""How a pair is trained: the options of ``fit``, checked once, and kept with the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from numbers import Integral, Real
from typing import Any

from pyro.infer.elbo import ELBO

from inference.learning.batches import check_labelled_per_batch
from inference.learning.capture import Captured
from inference.learning.objectives import check_objective, make_objective
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.data import check_float32_suffices
from pyro_models.device import check_device
from pyro_models.seeds import check_seed

__all__ = [
    "Settings",
    "check_pair_fits",
    "check_pair_fits_data",
    "check_pair_fits_objective",
    "check_seed",
]

PRECISIONS = ("float32", "bfloat16")
WHOLE = ("epochs", "batch_size", "labelled_per_batch", "beta_warmup", "curve_size", "patience")
NUMBERS = ("lr", "clip_norm", "min_improvement", "noise_multiple")


@dataclass(frozen=True)
class Settings:
    """Options of :func:`inference.learning.fit.fit`, which describes them."""

    objective: str | ELBO = "elbo"
    objective_options: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str | Callable[..., Any] = "Adam"
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    lr: float = 1e-3
    schedule: str | Callable[..., Any] | None = None
    schedule_options: Mapping[str, Any] = field(default_factory=dict)
    epochs: int = 25
    batch_size: int = 128
    labelled_per_batch: int = 0
    clip_norm: float | None = None
    beta_warmup: int = 0
    patience: int | None = None
    min_improvement: float = 0.0
    noise_multiple: float = 0.0
    restore_best: bool = False
    curve_size: int = 10_000
    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"
    capture: bool = False

    def __post_init__(self) -> None:
        _check_numbers(self, WHOLE, kind=Integral, word="whole number")
        _check_numbers(self, NUMBERS, kind=Real, word="number")
        for name, least in (
            ("epochs", 0),
            ("beta_warmup", 0),
            ("curve_size", 0),
            ("labelled_per_batch", 0),
            ("batch_size", 1),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}; got {getattr(self, name)}")
        if self.patience is not None and self.patience < 1:
            raise UsageError(f"patience must be at least 1 epoch; got {self.patience}")
        if not self.min_improvement >= 0:
            raise UsageError(f"min_improvement cannot be negative; got {self.min_improvement}")
        if not self.noise_multiple >= 0:
            raise UsageError(f"noise_multiple cannot be negative; got {self.noise_multiple}")
        if self.noise_multiple and self.patience is None:
            raise UsageError("noise_multiple says what patience waits for: give patience too")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UsageError(f"clip_norm must be positive; got {self.clip_norm}")
        check_seed(self.seed)
        if not self.lr > 0:
            raise UsageError(f"lr must be positive; got {self.lr}")
        if self.precision not in PRECISIONS:
            raise UsageError(
                f"unknown precision {self.precision!r}: choose from {', '.join(PRECISIONS)}"
            )
        check_device(self.device)

    def plain(self) -> dict[str, Any]:
        """The settings as plain values, for the record; functions and instances by name."""
        values = asdict(self)
        for name in ("objective", "optimizer", "schedule"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                values[name] = getattr(value, "__name__", type(value).__name__)
        for name in ("objective_options", "optimizer_options", "schedule_options"):
            values[name] = {k: v if _is_plain(v) else repr(v) for k, v in values[name].items()}
        return values

    def check_same(self, earlier: Mapping[str, Any]) -> None:
        """Refuse to resume a run that was begun with other settings; more epochs are fine.

        Raises
        ------
        UsageError
            Naming the first setting that differs.
        """
        before = {**json.loads(json.dumps(Settings().plain())), **earlier}  # an older release's
        for name, value in json.loads(json.dumps(self.plain())).items():
            was = before[name]
            if name in ("device",) or (name == "epochs" and self.schedule is None):
                continue
            if was != value:
                raise UsageError(
                    f"this run was begun with {name} {was!r}, not {value!r}: resume it with the "
                    "same settings, or start another"
                )


def _check_numbers(settings: Settings, names: Sequence[str], *, kind: type, word: str) -> None:
    for name in names:
        value, optional = getattr(settings, name), getattr(Settings, name) is None
        if not isinstance(value, kind) and not (optional and value is None):
            raise UsageError(f"{name} is a {word}; got {value!r}")


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str | list | tuple)


def check_pair_fits(pair: Pair, data: ImageData, settings: Settings) -> None:
    """Refuse data or settings that the pair cannot be trained with.

    Raises
    ------
    UsageError
        One line that says what does not fit.
    """
    check_pair_fits_data(pair, data, splits=list(data.splits), seed=settings.seed)
    if "validation" not in data.splits and (settings.patience or settings.restore_best):
        raise UsageError(
            "early stopping and restoring the best epoch need a validation split, and these data "
            "have none (all training data are used)"
        )
    check_labelled_per_batch(data.split("train").y, settings.labelled_per_batch)
    check_pair_fits_objective(pair, settings)


def check_pair_fits_objective(pair: Pair, settings: Settings) -> None:
    """Refuse an objective, its options, a warm-up or a record that the pair cannot have.

    Raises
    ------
    UsageError
        One line that says what does not fit.
    """
    check_objective(pair, settings.objective, settings.objective_options)
    objective = make_objective(pair, settings.objective, settings.objective_options)
    if settings.capture:
        Captured(objective)
    if settings.beta_warmup and not objective.tempers:
        raise UsageError(f"β warm-up is not defined for the objective {objective.name}")
    discrete = any(site.discrete for site in pair.latent_sites.values())
    if discrete and (settings.beta_warmup or objective.beta != 1):
        what = "β warm-up" if settings.beta_warmup else "a weight β"
        raise UsageError(f"{what} is not defined for enumerated or sampled discrete sites")


def check_pair_fits_data(pair: Pair, data: ImageData, *, splits: Sequence[str], seed: int) -> None:
    """Refuse data of another shape, without the labels or with pixels that the pair cannot have.

    Also data whose differences the pair's float type would round away.

    Raises
    ------
    UsageError
        One line that says what does not fit.
    """
    check_pair(pair)
    if tuple(pair.data_shape) != data.data_shape:
        raise UsageError(
            f"the pair is made for data of shape {tuple(pair.data_shape)}, and {data.name} has "
            f"{data.data_shape}"
        )
    for name in splits:
        split = data.split(name)
        if not len(split):
            continue
        may_miss = getattr(pair, "takes_missing_labels", False)
        if pair.num_classes is not None and not (split.y is None and may_miss):
            if split.y is None:
                raise UsageError(
                    f"{type(pair).__name__} needs labels, and the {name} split of {data.name} has "
                    "none"
                )
            if not may_miss and bool((split.y < 0).any()):
                raise UsageError(
                    f"{type(pair).__name__} needs every label, and the {name} split of {data.name} "
                    f"misses {int((split.y < 0).sum())}: use the model m2, which infers them"
                )
            if int(split.y.min()) < -1 or int(split.y.max()) >= pair.num_classes:
                raise UsageError(
                    f"labels of {data.name} must lie in 0…{pair.num_classes - 1}, and its {name} "
                    f"split has {int(split.y.min())} to {int(split.y.max())}"
                )
        dtype = next(iter(pair.parameters())).dtype
        check_float32_suffices(split.x, dtype, name=data.name, seen=split.mask)
        pair.likelihood.check(data.prepared(name, seed=seed).x, split.mask)
