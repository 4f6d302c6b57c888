"""How a pair is trained: the options of ``fit``, checked once, and kept with the run."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Real
from typing import Any

import torch
from pyro.infer.elbo import ELBO
from torch.optim import Optimizer

from inference.declared import (
    NOT_NEGATIVE,
    POSITIVE,
    SEED,
    at_least,
    check_declared,
    declared,
    described,
    replaced,
)
from inference.learning.batches import check_labelled_per_batch
from inference.learning.capture import Captured
from inference.learning.optimizers import (
    OPTIMIZERS,
    SCHEDULES,
    named_optimizer,
    named_schedule,
)
from inference.objectives import OBJECTIVES, canonical, check_objective, make_objective
from inference.precision import PRECISIONS
from pyro_models import ImageData, Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import check_float32_suffices
from pyro_models.pair import Diffuses
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed

__all__ = [
    "Settings",
    "check_pair_fits",
    "check_pair_fits_data",
    "check_pair_fits_objective",
    "check_seed",
]

FIND = "find"
"""The learning rate that is looked for before training."""

SWAPPED = ("objective", "optimizer", "schedule")
"""Settings that are a name or an object; each has options by name beside it."""


def _known_precision(_: str, precision: str) -> None:
    check_choice("precision", precision, PRECISIONS[:2])  # in float64 a pair trains that is


def _known_rate(name: str, lr: object) -> None:
    if isinstance(lr, Real) and not isinstance(lr, bool):
        POSITIVE(name, lr)
    elif lr != FIND:
        raise UsageError(f"{name} is a number, or find; got {lr!r}")


@described
@dataclass(frozen=True)
class Settings(Brief):
    """How a pair is trained: the options of :func:`inference.learning.fit.fit` that go on record.

    Raises
    ------
    UsageError
        If one of them is not what it may be.

    Examples
    --------
    >>> Settings(epochs=5).replace(lr=1e-2).lr
    0.01
    """

    objective: str | Mapping[str, Any] | Callable[..., Any] | ELBO = declared(
        "elbo",
        lambda: (
            f"""What is maximised: {OBJECTIVES.help()}; elbo is the one that is right for the
        pair, and those that begin with trace are Pyro's. In Python also an instance or class, such
        as IWAE(num_particles=5), any Pyro ELBO, or a function over particles."""
        ),
    )
    objective_options: Mapping[str, Any] = declared(
        {}, "Options of an objective by name, such as num_particles, beta and alpha."
    )
    optimizer: str | Mapping[str, Any] | Callable[..., Any] = declared(
        "Adam",
        lambda: (
            f"""Optimizer: {OPTIMIZERS.help(also="a class of a file, my_file.py:MyOptimizer")}; it
        is fused where it can be. In Python also a class or function of parameters and lr, a
        functools.partial, one of Pyro, or an instance for the pair's parameters, whose own lr
        counts."""
        ),
    )
    optimizer_options: Mapping[str, Any] = declared({}, "Further options of the optimizer.")
    lr: float | str = declared(
        1e-3,
        """Learning rate, for the bound per datum; find looks for one by a ramp, see
        :func:`inference.learning.find_lr`.""",
        _known_rate,
    )
    schedule: str | Mapping[str, Any] | Callable[..., Any] | None = declared(
        None,
        lambda: (
            f"""Schedule, which is stepped once per batch: {SCHEDULES.help()}. In Python also a
        class or function of the optimizer, or a functools.partial."""
        ),
    )
    schedule_options: Mapping[str, Any] = declared({}, "Options of the schedule.")
    epochs: int = declared(25, "Number of passes over the training data.", at_least(0))
    batch_size: int = declared(128, "Number of data in each step.", at_least(1))
    labelled_per_batch: int = declared(
        0,
        """Number of data with a label that stand beside them in each step, taken in turn, where few
        of the training data have labels.""",
        at_least(0),
    )
    clip_norm: float | None = declared(
        None, "Largest norm of the gradient of the bound per datum.", POSITIVE
    )
    beta_warmup: int = declared(
        0,
        """Number of epochs over which β, the weight of the latent terms, rises linearly to 1. The
        curves, and what stops by them, are of the objective at β = 1 throughout.""",
        at_least(0),
    )
    patience: int | None = declared(
        None,
        "Training stops after this many epochs without a better validation bound.",
        at_least(1),
    )
    min_improvement: float = declared(
        0.0,
        """A validation bound is better that exceeds the last better one by more than this, in nats
        per datum.""",
        NOT_NEGATIVE,
    )
    noise_multiple: float = declared(
        0.0,
        """A validation bound is better that exceeds the last better one by more than this many
        standard errors of their paired difference.""",
        NOT_NEGATIVE,
    )
    restore_best: bool = declared(False, "End with the parameters of the best validation epoch.")
    curve_size: int = declared(
        10_000,
        """Number of training data on which the training curve is computed. With 0 both curves are
        left out, unless stopping needs the validation curve.""",
        at_least(0),
    )
    seed: int = declared(
        0,
        """Random seed of shuffling, pixel preparation, sampling and the start; of the weights, too,
        where the pair is built from its name.""",
        SEED,
    )
    device: str | torch.device | None = declared(
        None,
        "Device to train on: cpu, cuda, cuda:1 or mps; where the pair is unless given.",
    )
    precision: str = declared(
        "float32",
        """float32 is no autocast (a pair in float64 trains in float64); bfloat16 is autocast for
        the networks alone.""",
        _known_precision,
    )
    capture: bool | None = declared(
        None,
        """Record one step and run the record from then on, which is faster for small networks and
        changes no number. Steps are recorded where they can be, unless given; true refuses what
        cannot be recorded, false records nothing.""",
    )
    compile: bool = declared(
        False,
        """Compile the recorded step into fused kernels, which is faster once it is done and equal
        up to rounding. It needs a C++ compiler, or triton on a GPU.""",
    )

    stream: bool | None = declared(
        None,
        """Read the data of each batch when it is needed: of a .npy file that is larger than memory
        from there, of data that are larger than the device from memory. Unless given, it is done
        where the data are too large to be held.""",
    )

    def facts(self) -> Mapping[str, object]:
        """What differs from the defaults, or that nothing does."""
        usual = Settings()
        names = [f.name for f in fields(self)]
        found = {n: getattr(self, n) for n in names if getattr(self, n) != getattr(usual, n)}
        return found or {"": "the defaults"}

    def __post_init__(self) -> None:
        check_declared(self)
        naming = (canonical, named_optimizer, named_schedule)
        for name, named in zip(SWAPPED, naming, strict=True):
            found = named(getattr(self, name), getattr(self, f"{name}_options"))
            object.__setattr__(self, name, found[0])
            object.__setattr__(self, f"{name}_options", found[1])
        if isinstance(self.optimizer, Optimizer):
            object.__setattr__(self, "lr", self.optimizer.param_groups[0]["lr"])
        if self.noise_multiple and self.patience is None:
            raise UsageError("noise_multiple says what patience waits for: give patience too")

    @property
    def rate(self) -> float:
        """The learning rate; 0.001, to try a step with, where it is still to be found."""
        return 1e-3 if isinstance(self.lr, str) else self.lr

    def replace(self, **changes: Any) -> Settings:
        """These settings with some of them changed.

        Raises
        ------
        UsageError
            If there is no setting of that name, or it cannot have that value.
        """
        return replaced(self, changes, who="training")

    def plain(self) -> dict[str, Any]:
        """The settings as plain values, for the record; functions and instances by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in SWAPPED:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                values[name] = getattr(value, "__name__", type(value).__name__)
        for name in (f"{swapped}_options" for swapped in SWAPPED):
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
            if name in ("device", "capture", "stream") or (
                name == "epochs" and self.schedule is None
            ):
                continue
            if was != value:
                raise UsageError(
                    f"this run was begun with {name} {was!r}, not {value!r}: resume it with the "
                    "same settings, or start another"
                )


def _is_plain(value: object) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_plain, value.values()))
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
    if (settings.patience or settings.restore_best) and not objective.ranks:
        raise UsageError(
            f"a higher value of {objective.name} is no better model, so that patience and "
            "restore_best have nothing to go by: leave them out"
        )
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
    pair.likelihood.check_levels(data.prepared_levels, data=data.name)
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
        some = split.sample()
        check_float32_suffices(some.x, dtype, name=data.name, seen=some.mask)
        drawn = data.sampled(name, torch.Generator().manual_seed(seed))
        pair.likelihood.check(drawn.x, drawn.mask)
        if fulfills(pair, Diffuses) and drawn.half_seen:
            raise UsageError(
                f"a {type(pair).__name__} learns of whole data: where nothing is seen its guide "
                f"puts {pair.guide.unseen}, and the model would learn to generate that"
            )
