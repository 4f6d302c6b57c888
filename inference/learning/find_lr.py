"""A learning rate that is neither too small nor too large, found by a ramp (Smith 2017)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.declared import takes
from inference.denormals import denormals_flushed
from inference.isolated import isolated
from inference.learning.begin import begun
from inference.learning.data_parallel import Share, own_device, several
from inference.learning.nonfinite import NonFinite
from inference.learning.settings import Settings
from inference.learning.training import Training
from inference.objectives import make_objective
from inference.progress import bar
from pyro_models import ImageData, Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, module_of
from pyro_models.counts import check_counts
from pyro_models.data.masks import Mask
from pyro_models.device import check_device, device_of
from pyro_models.errors import in_one_line
from pyro_models.observed import Data, Observed
from pyro_models.registry import Registry

__all__ = ["RULES", "FoundRate", "find_lr", "found_rate"]

Rule = Callable[[Tensor, Tensor], float]

RULES: Registry[Rule] = Registry("rule", hint="a function of rates and smoothed losses")
"""What rate is suggested, by name: a function of (n,) rates and (n,) smoothed losses, which end
where the loss is least."""

_NOT_USED = (
    *("lr", "epochs", "schedule", "schedule_options", "beta_warmup", "patience"),
    *("min_improvement", "noise_multiple", "restore_best", "curve_size"),
)
_SMOOTHING = 0.6
_ROUNDING = 1e-6
_FEW = 512  # training data on which the loss is taken


@RULES.register("steepest")
def steepest(rates: Tensor, smoothed: Tensor) -> float:
    """Where the smoothed loss falls fastest with log lr."""
    slope = torch.gradient(smoothed, spacing=(rates.log(),))[0]
    return float(rates[int(slope.argmin())])


@RULES.register("valley")
def valley(rates: Tensor, smoothed: Tensor) -> float:
    """A third of the way down, in log lr, along the longest sequence of steps that falls.

    The way begins where the loss has fallen by a tenth of all that it falls.
    """
    losses = smoothed.tolist()
    length, before = [1] * len(losses), list(range(len(losses)))
    for i, loss in enumerate(losses):
        for j in range(i):
            if losses[j] > loss and length[j] + 1 > length[i]:
                length[i], before[i] = length[j] + 1, j
    at = end = max(range(len(losses)), key=length.__getitem__)
    way = [end]
    while before[at] != at:
        at = before[at]
        way.append(at)
    fallen = losses[way[-1]] - losses[end]
    begin = max(at for at in way if losses[way[-1]] - losses[at] <= 0.1 * fallen)
    low, high = float(rates[begin]), float(rates[end])
    return low * (high / low) ** (1 / 3)


@dataclass(frozen=True)
class FoundRate(Brief):
    """A ramp of learning rates, what the loss did along it, and the rate that is suggested.

    Attributes
    ----------
    suggestion
        The learning rate.
    rule
        What it was chosen by.
    start
        The loss before the first step.
    rates, losses, smoothed
        Of each step, (n,): its learning rate, the loss after it (−1 times the objective, nats per
        datum, of the same data and with the same draws each time), and the losses averaged over
        the steps before.
    diverged_at
        The rate at which the loss had risen above its start by as much as it had fallen, or was no
        longer finite; ``None`` where the ramp ended before.
    objective, unit
        What was maximised, and its unit.
    """

    suggestion: float
    rule: str
    start: float
    rates: Tensor
    losses: Tensor
    smoothed: Tensor
    diverged_at: float | None
    objective: str
    unit: str

    def to_json(self) -> str:
        """All of it as JSON."""
        values = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in vars(self).items()}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

    def __str__(self) -> str:
        end = f"up to {self.rates[-1]:.2g} nothing diverges"
        if self.diverged_at is not None:
            end = f"at {self.diverged_at:.2g} it has diverged"
        return (
            f"lr {self.suggestion:.2g} ({self.rule}; a ramp of {len(self.rates)} steps, the loss "
            f"is least at {self.rates[int(self.smoothed.argmin())]:.2g}, {end})"
        )


@takes(Settings, without=_NOT_USED)
def find_lr(
    pair: Pair,
    data: ImageData | Data,
    *,
    lr_min: float = 1e-6,
    lr_max: float = 10.0,
    num_steps: int = 100,
    rule: str | Rule = "valley",
    mask: Mask | None = None,
    fraction: float = 0.5,
    init_from: str | Path | None = None,
    settings: Settings | None = None,
    progress: bool = False,
    **options: Any,
) -> FoundRate:
    """Look for a learning rate: train a copy while the rate rises, and see when the loss falls.

    Step t of T has the rate lr_min (lr_max / lr_min)^(t / (T − 1)). After each the loss of the same
    512 training data is taken, with the same draws, so that it moves by what was learned alone, and
    is smoothed by an exponential average with weight 0.6. The ramp ends where that has risen above
    the start by as much as it had fallen below it, or is no longer finite. The suggestion is as
    good as the first steps tell; the end of a long training may want a lower rate, by a schedule.

    Nothing of the pair, of an optimizer that is given, or of the caller's generators changes.

    Parameters
    ----------
    pair, data, mask, fraction, init_from, settings
        As for :func:`inference.learning.fit`.
    lr_min, lr_max, num_steps
        Where the ramp begins and ends, and number T of its steps.
    rule
        A name of :data:`RULES`, or a function of rates and smoothed losses, (n,) each, up to the
        least loss. ``"valley"``: of the longest sequence of steps along which the loss
        falls, a third of the way, in log lr, from where it has fallen by a tenth to its end.
        ``"steepest"``: where it falls fastest with log lr.
    progress
        Show a progress bar.
    options
        One of :class:`Settings`, such as the objective, the optimizer and the size of batches.

    Returns
    -------
    FoundRate
        The suggestion, and the ramp, which :func:`inference.figures.learning_rates` draws.

    Raises
    ------
    UsageError
        If the objective does not say whether the pair learns, as one of a game with a critic; if
        the loss falls at no rate; or for settings or data that do not fit.

    Examples
    --------
    >>> from pyro_models import VAE, load_data
    >>> data = load_data("digits", preparation="threshold")
    >>> vae = VAE(data.data_shape, hidden=[64], likelihood="bernoulli")
    >>> found = find_lr(vae, data)
    >>> 1e-4 < found.suggestion < 1e-1
    True
    """
    check_pair(pair)
    _check_ramp(lr_min, lr_max, num_steps)
    if not callable(rule):
        RULES.check(rule)
    if several():
        raise UsageError("a learning rate is looked for in one process: give lr, or one process")
    given = (settings or Settings()).replace(**options)
    given = given.replace(lr=1e-3, schedule=None, schedule_options={}, epochs=1, beta_warmup=0)
    given = given.replace(patience=None, noise_multiple=0.0, restore_best=False, curve_size=0)
    device = check_device(own_device(given.device) or device_of(pair))
    objective = make_objective(pair, given.objective, given.objective_options)
    if not objective.ranks:
        raise UsageError(
            f"find_lr is not defined for the objective {objective.name}: its value does not say "
            "whether the pair learns; give lr, and see by its curves"
        )
    with in_one_line(f"a copy of this {type(pair).__name__}"):  # its optimizer goes with it
        copy, given = deepcopy((pair, given.replace(device=str(device))))
    with ExitStack() as inside:
        inside.enter_context(denormals_flushed())
        how: dict[str, Any] = {"mask": mask, "fraction": fraction, "init_from": init_from}
        training = begun(copy, data, given, inside, tried=True, **how)
        module_of(copy).train(module_of(pair).training)
        rates = torch.logspace(math.log10(lr_min), math.log10(lr_max), num_steps, device="cpu")
        with bar(num_steps, unit="steps", what="learning rates", shown=progress) as done:
            ramp = _ramp(training, rates.double(), done.update)
    return _found(training, rates.double(), ramp, rule)


def found_rate(pair: Pair, data: Any, settings: Settings, **how: Any) -> FoundRate:
    """The rate for a training with these settings, ``lr`` aside."""
    return find_lr(pair, data, settings=settings.replace(lr=1e-3), **how)


def _check_ramp(lr_min: float, lr_max: float, num_steps: int) -> None:
    check_counts(least=10, num_steps=num_steps)
    if not 0 < lr_min < lr_max < math.inf:
        raise UsageError(
            f"a ramp goes from lr_min, above 0, up to lr_max; got {lr_min} and {lr_max}"
        )


def _ramp(
    training: Training, rates: Tensor, done: Callable[[int], object]
) -> tuple[float, list[float], float | None]:
    """The loss before, those after steps at rising rates, and the rate at which they diverged."""
    groups = training.optimizer.param_groups
    own = [group["lr"] / groups[0]["lr"] for group in groups]
    some = next(training.epoch_data.chunks("train", limit=_FEW))
    start = _loss(training, some)
    if not math.isfinite(start):
        raise UsageError("the loss is not finite before the first step: no rate can be found")
    losses: list[float] = []
    for lr, (batch, share) in zip(rates.tolist(), _batches(training), strict=False):
        for group, factor in zip(groups, own, strict=True):
            group["lr"] = lr * factor
        try:
            training.step(batch, beta=1.0, share=share)
        except NonFinite:
            return start, losses, lr
        loss = _loss(training, some)
        if not math.isfinite(loss):
            return start, losses, lr
        losses.append(loss)
        done(1)
        if _has_diverged(start, losses):
            return start, losses, lr
    return start, losses, None


def _loss(training: Training, some: Observed) -> float:
    """−1 times the objective, of the same draws each time; NaN where it cannot be computed."""
    try:
        with isolated(training.pair, seed=training.settings.seed), training.step.autocast():
            return -training.objective.value(some.x, y=some.y, mask=some.mask)
    except (ValueError, RuntimeError):  # a distribution of NaN, or a Cholesky factor
        return math.nan


def _batches(training: Training) -> Iterator[tuple[Any, Share | None]]:
    """Batches of one epoch after the other."""
    while True:
        data = training.epoch_data.epoch()
        training.step.look_again()
        for _, read, share in islice(training.epoch_data.batches(data), training.steps_per_epoch):
            yield read(), share
        training.epoch_data.shuffle()


def _has_diverged(start: float, losses: list[float]) -> bool:
    smoothed = _smoothed(torch.tensor(losses, dtype=torch.float64, device="cpu"))
    fallen = max(start - float(smoothed.min()), _ROUNDING * max(1.0, abs(start)))
    return float(smoothed[-1]) > start + fallen


def _smoothed(losses: Tensor) -> Tensor:
    """Exponential averages, each divided by its weights' sum."""
    total, found = 0.0, []
    for t, loss in enumerate(losses.tolist(), start=1):
        total = _SMOOTHING * total + (1 - _SMOOTHING) * loss
        found.append(total / (1 - _SMOOTHING**t))
    return torch.tensor(found, dtype=torch.float64, device="cpu")


def _found(
    training: Training,
    rates: Tensor,
    ramp: tuple[float, list[float], float | None],
    rule: Any,
) -> FoundRate:
    start, losses, diverged = ramp
    seen, rates = torch.tensor(losses, dtype=torch.float64, device="cpu"), rates[: len(losses)]
    smoothed = _smoothed(seen)
    least = int(smoothed.argmin()) if len(smoothed) else 0
    if least < 2 or start - float(smoothed[least]) < _ROUNDING * max(1.0, abs(start)):
        raise UsageError(
            "the loss falls at no rate of the ramp: the pair is at its best already, or has "
            "nothing to learn; or give a lower lr_min and more steps"
        )
    name = rule if isinstance(rule, str) else getattr(rule, "__name__", "a rule of one's own")
    suggest: Rule = RULES[rule] if isinstance(rule, str) else rule
    with in_one_line(f"the rule {name}"):
        suggestion = float(suggest(rates[: least + 1], smoothed[: least + 1]))
    of: Mapping[str, Any] = {"objective": training.objective.name, "unit": training.objective.unit}
    return FoundRate(suggestion, name, start, rates, seen, smoothed, diverged, **of)
