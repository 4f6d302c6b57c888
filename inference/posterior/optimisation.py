"""Many guides fitted at once: a batch of images, each with parameters and a stop of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from inference.learning.optimisers import make_optimiser
from inference.posterior.batch_bound import STEADY, BatchBound, bound_of
from inference.posterior.given import Given
from inference.posterior.guides.rows import copy_rows, is_per_datum, rows_of, with_rows
from inference.posterior.plateau import Plateau
from pyro_models import UsageError

__all__ = [
    "CONVERGED",
    "NON_FINITE",
    "OBJECTIVES",
    "STEP_LIMIT",
    "Optimisation",
    "Outcome",
    "optimise",
]

CONVERGED = "converged"
STEP_LIMIT = "step limit"
NON_FINITE = "non-finite"
REASONS = (STEP_LIMIT, CONVERGED, NON_FINITE)

OBJECTIVES = ("path", "kl", "log_joint")
"""Estimates of the bound that are maximised, by name, each of one or more samples z ~ q:

- ``"path"``: log p(x_seen, z) − log q(z), its gradient taken through z alone (Roeder, Wu &
  Duvenaud 2017). Where q comes close to the posterior the noise of both terms cancels, in the
  gradient and in the bound that the stopping rule sees.
- ``"kl"``: log p(x_seen | z) − KL(q ‖ p), the second in closed form where there is one.
- ``"log_joint"``: log p(x_seen, z), for a guide without a density.
"""

# no image leaves the first batch for some windows
_FIRST = 10

# these move a row by what the others are
_MIX_ROWS = ("LBFGS", "SparseAdam", "Adafactor", "Muon")


@dataclass(frozen=True)
class Optimisation:
    """How guides are fitted: Ψ* = argmax E_q[log p(x_seen | z)] − KL(q ‖ p), image by image.

    Attributes
    ----------
    num_particles
        Samples of z for each step's estimate.
    optimizer, lr, optimizer_options
        One of ``torch.optim`` that treats every number on its own, and its settings; a rate of
        ``None`` is that of the guide's family.
    stopping
        When an image slows down and stops.
    max_steps
        Steps after which it stops in any case.

    Raises
    ------
    UsageError
        If a setting is out of range, or the optimiser mixes rows.
    """

    num_particles: int = 1
    optimizer: str | Callable[..., Optimizer] = "Adam"
    lr: float | None = None
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    stopping: Plateau = field(default_factory=Plateau)
    max_steps: int = 2000

    def __post_init__(self) -> None:
        for name in ("num_particles", "max_steps"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be at least 1; got {getattr(self, name)}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise UsageError(f"lr must be a positive number; got {self.lr}")
        name = self.optimizer if isinstance(self.optimizer, str) else ""
        if name in _MIX_ROWS:
            raise UsageError(
                f"{name} moves one image's parameters by what another's are: choose an optimizer "
                "that treats every number on its own, such as Adam"
            )

    @property
    def rate(self) -> float:
        """The learning rate, 0.1 unless given."""
        return 0.1 if self.lr is None else self.lr

    def optimiser(self, guide: nn.Module) -> Optimizer:
        """A new optimiser of the guide's parameters."""
        return make_optimiser(
            self.optimizer, guide.parameters(), lr=self.rate, options=self.optimizer_options
        )


@dataclass(frozen=True)
class Outcome:
    """Why every image stopped, and after how many steps, each (B,)."""

    reason: Tensor
    steps: Tensor

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(REASONS[i] for i in self.reason.tolist())

    def after(self, first: Outcome) -> Outcome:
        """This one with the steps of a first fit added."""
        return Outcome(self.reason, self.steps + first.steps)


def optimise(
    given: Given,
    guide: nn.Module,
    settings: Optimisation,
    *,
    objective: str,
    chunk: int,
    progress: bool = False,
) -> Outcome:
    """Fit a guide in place, at most ``chunk`` images at a time.

    Images whose bound has stopped rising leave the batch; those that remain go on in a smaller one,
    with their rows of the optimiser's state. Where a guide's weights are shared by the images
    (amortised) no image can leave alone: all are fitted until their mean bound has stopped rising.

    Parameters
    ----------
    given
        The data, and the pair, frozen.
    guide
        For all of the data.
    settings
        See :class:`Optimisation`.
    objective
        One of :data:`OBJECTIVES`.
    chunk
        How many images are in memory at once.
    progress
        Show a progress bar of images.
    """
    size = len(given)
    outcome = Outcome(torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long))
    separate = is_per_datum(guide, size)
    bar = tqdm(total=size, disable=not progress, unit="image", leave=False)
    with bar, torch.enable_grad(), pyro.validation_enabled(False):
        if not separate:
            _Shared(given, guide, settings, objective=objective, chunk=chunk).run(outcome)
            bar.update(size)
            return outcome
        for i in range(0, size, chunk):
            rows = torch.arange(i, min(i + chunk, size), device=given.x.device)
            part = with_rows(guide, rows, size)
            record = _Record(guide, outcome, rows, bar)
            _Separate(given.select(rows), part, settings, record=record, objective=objective).run()
    return outcome


@dataclass
class _Record:
    """Where an image's result goes: its row in the guide of all, why it stopped, and when."""

    full: nn.Module
    outcome: Outcome
    rows: Tensor
    bar: Any

    def leave(self, who: Tensor, values: Mapping[str, Tensor], *, reason: int, steps: int) -> None:
        """Images ``who``, (B,) booleans of those that are left, stop with these parameters."""
        gone = self.rows[who]
        copy_rows({name: value[who] for name, value in values.items()}, self.full, gone)
        self.outcome.reason[gone.cpu()] = reason
        self.outcome.steps[gone.cpu()] = steps
        self.bar.update(len(gone))
        self.rows = self.rows[~who]


class _Separate:
    """The images of one chunk that have not stopped yet."""

    def __init__(
        self,
        given: Given,
        guide: nn.Module,
        settings: Optimisation,
        *,
        record: _Record,
        objective: str,
    ) -> None:
        self.given, self.guide, self.record = given, guide, record
        self.settings, self.objective = settings, objective
        self.optimiser = settings.optimiser(guide)
        self.watch = settings.stopping.watch(len(given), given.x)
        self.kept = rows_of(guide, slice(None))  # where an image goes back to if it fails
        self._open_window()
        self.bound = self._new_bound(steady=_FIRST)

    def _new_bound(self, *, steady: int = STEADY) -> BatchBound:
        of = self.given, self.guide, self.settings.num_particles, self.objective
        return BatchBound(*of, steady=steady)

    def run(self) -> None:
        """Fit all, until the last has stopped."""
        for step in range(1, self.settings.max_steps + 1):
            finite = self._step()
            if not bool(finite.all()):
                self._leave(~finite, NON_FINITE, step)
            if self.seen == self.settings.stopping.window and len(self.given):
                mean, error = self._window()
                worse = self.watch.is_worse(mean, error)
                done = self.watch.look(mean, error)
                self._keep(worse)
                if bool(done.any()):
                    self._leave(done, CONVERGED, step)
                self._open_window()
            if not len(self.given):
                return
        self.kept = rows_of(self.guide, slice(None))
        everything = torch.ones(len(self.given), dtype=torch.bool, device=self.given.x.device)
        self._leave(everything, STEP_LIMIT, self.settings.max_steps)

    def _step(self) -> Tensor:
        """One step of all; where bound and gradient were finite, (B,)."""
        parameters = dict(self.guide.named_parameters())
        bound, gradients = self.bound()
        finite = bound.isfinite()
        for parameter, gradient in zip(parameters.values(), gradients, strict=True):
            finite = finite & gradient.flatten(1).isfinite().all(1)
            parameter.grad = gradient
        slowed = bool((self.watch.factor < 1).any())
        before = [p.detach().clone() for p in parameters.values()] if slowed else []
        self.optimiser.step()
        with torch.no_grad():
            for parameter, old in zip(parameters.values(), before, strict=bool(before)):
                factor = self.watch.factor.reshape(-1, *(1,) * (parameter.dim() - 1))
                parameter.copy_(torch.lerp(old, parameter, factor))
            for name, parameter in parameters.items():
                self.total[name] += parameter
        self.seen += 1
        if self.seen == 1:
            self.first = bound.double()
        value = bound.double() - self.first
        self.sum += value
        self.squares += value.square()
        return finite

    @torch.no_grad()
    def _keep(self, worse: Tensor) -> None:
        """Keep the window's average; where the window was worse than the best, go back to that."""
        for name, parameter in self.guide.named_parameters():
            back = worse.reshape(-1, *(1,) * (parameter.dim() - 1))
            self.kept[name] = torch.where(back, self.kept[name], self.total[name] / self.seen)
            parameter.copy_(torch.where(back, self.kept[name], parameter))

    def _open_window(self) -> None:
        self.seen = 0
        self.total = {name: torch.zeros_like(p) for name, p in self.guide.named_parameters()}
        zeros = torch.zeros(len(self.given), dtype=torch.float64, device=self.given.x.device)
        self.first, self.sum, self.squares = zeros, zeros.clone(), zeros.clone()

    def _window(self) -> tuple[Tensor, Tensor]:
        """Mean of the window's bounds, and its standard error; sums are relative to the first."""
        mean = self.sum / self.seen
        variance = (self.squares / self.seen - mean.square()).clamp_min(0)
        return self.first + mean, (variance / (self.seen - 1)).sqrt()

    def _leave(self, who: Tensor, reason: str, steps: int) -> None:
        """Images stop: their parameters are kept, and the batch is made smaller."""
        self.record.leave(who, self.kept, reason=REASONS.index(reason), steps=steps)
        stay = (~who).nonzero().flatten()
        size, state = len(self.given), self.optimiser.state
        old = list(self.guide.parameters())
        self.given = self.given.select(stay)
        self.guide = with_rows(self.guide, stay, size)
        self.watch.keep(stay)
        self.kept, self.total = (
            {name: values[stay] for name, values in table.items()}
            for table in (self.kept, self.total)
        )
        self.first, self.sum, self.squares = (
            values[stay] for values in (self.first, self.sum, self.squares)
        )
        if len(stay):
            self.bound = self._new_bound()
            self.optimiser = self.settings.optimiser(self.guide)
            for before, parameter in zip(old, self.guide.parameters(), strict=True):
                self.optimiser.state[parameter] = {
                    name: _rows_of_state(value, stay, before)
                    for name, value in state[before].items()
                }


def _rows_of_state(value: Any, rows: Tensor, parameter: Tensor) -> Any:
    is_like_it = isinstance(value, Tensor) and value.shape == parameter.shape
    return value[rows] if is_like_it else value


class _Shared:
    """All images, under weights that they share."""

    def __init__(
        self, given: Given, guide: nn.Module, settings: Optimisation, *, objective: str, chunk: int
    ) -> None:
        self.guide, self.settings, self.objective = guide, settings, objective
        self.optimiser = settings.optimiser(guide)
        self.size = len(given)
        # weights that are shared see the images in parts; where some are of one image, all at once
        step = chunk if getattr(guide, "shared", False) else self.size
        rows = [slice(i, i + step) for i in range(0, self.size, step)]
        self.parts = [(given.select(r), with_rows(guide, r, self.size)) for r in rows]

    def run(self, outcome: Outcome) -> None:
        """Fit until the mean bound stops rising."""
        window = self.settings.stopping.window
        watch = self.settings.stopping.watch(1, self.parts[0][0].x)
        parameters = dict(self.guide.named_parameters())
        kept, bounds = {name: p.detach().clone() for name, p in parameters.items()}, []
        total = {name: torch.zeros_like(p) for name, p in parameters.items()}
        step, reason = 0, 0
        while step < self.settings.max_steps and reason == 0:
            step += 1
            mean = self._step()
            if not math.isfinite(mean):
                reason = REASONS.index(NON_FINITE)
                break
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.rate * float(watch.factor)
            bounds.append(mean)
            for name, parameter in parameters.items():
                total[name] += parameter.detach()
            if len(bounds) == window:
                values = torch.tensor(bounds, dtype=torch.float64)
                error = values.std() / math.sqrt(window)
                done = watch.look(values.mean()[None], error[None])
                kept = {name: values / window for name, values in total.items()}
                bounds, total = [], {name: torch.zeros_like(v) for name, v in total.items()}
                reason = int(done)
        if reason:
            with torch.no_grad():
                for name, parameter in parameters.items():
                    parameter.copy_(kept[name])
        outcome.reason.fill_(reason)
        outcome.steps.fill_(step)

    def _step(self) -> float:
        self.optimiser.zero_grad()
        total = 0.0
        for part, guide in self.parts:
            bound = bound_of(part, guide, self.settings.num_particles, objective=self.objective)
            (-bound.sum() / self.size).backward()
            total += float(bound.detach().sum())
        if math.isfinite(total):
            self.optimiser.step()
        return total / self.size
