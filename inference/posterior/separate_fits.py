"""Many guides fitted at once: a batch of images, each with parameters and a stop of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from inference.cuda_graph import Launch, can_skip, launch_of, launcher_of
from inference.learning.optimizers import laid_out_as
from inference.posterior.batch_bound import STEADY, BatchBound, bound_of
from inference.posterior.conditioning import impossible_data, without_density
from inference.posterior.guides.per_datum import (
    copy_parameters,
    for_data,
    parameters_of,
    select_rows,
    where_rows,
)
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import (
    CONVERGED,
    DIVERGED,
    NON_FINITE,
    REASONS,
    STEP_LIMIT,
    Fitting,
    Outcome,
)
from inference.posterior.paired import FEW, paired_bounds, rising, surely_higher
from inference.progress import Bar

__all__ = ["Record", "SeparateFits"]

# no image leaves the first batch for some windows
_FIRST = 10

# nats that a fit may lie below its own averages, which are what is kept
JITTER = 0.5

# windows over which the direction is taken in which an image came
_WAY = 4

# steps of one launch, on a device
STEPS = 10


@dataclass
class Record:
    """Where an image's result goes: its row in the guide of all, why it stopped, and when."""

    full: nn.Module
    outcome: Outcome
    rows: Tensor
    bar: Bar
    by_step: bool

    def moved(self, steps: int) -> None:
        """So many steps were taken."""
        if self.by_step:
            self.bar.update(steps)

    def leave(
        self, who: Tensor, values: Mapping[str, Tensor], *, reason: int, steps: int | Tensor
    ) -> None:
        """Images ``who``, (B,) booleans of those in the batch, stop with these parameters."""
        gone = self.rows[who]
        copy_parameters(select_rows(values, who), self.full, gone)
        self.outcome.reason[gone.cpu()] = reason
        self.outcome.steps[gone.cpu()] = steps[who].cpu() if isinstance(steps, Tensor) else steps
        if not self.by_step:
            self.bar.update(len(gone))


class SeparateFits:
    """The images of one chunk that have not stopped yet.

    On a device, several steps are one launch. Images that have converged stay in the batch there,
    going on for nothing, until half of it has: every size of a batch is a launch of its own.
    """

    def __init__(
        self, target: LogDensity, guide: nn.Module, settings: Fitting, *, record: Record
    ) -> None:
        self.target, self.guide, self.settings, self.record = target, guide, settings, record
        self.optimizer = settings.new_optimizer(guide)
        self.watch = settings.rule.watch(len(target), target.x)
        self.kept = parameters_of(guide)  # where an image goes back to if it fails
        self.way = [self.kept]  # of the last windows
        self._paired_bounds = partial(
            paired_bounds,
            objective=settings.objective,
            at_once=len(target) * settings.num_particles,
        )
        self.launcher = launcher_of(target.x.device)
        self.launches: dict[bool, Launch] = {}
        self.here = torch.ones(len(target), dtype=torch.bool, device=target.x.device)
        # of the window: how many steps it has, mean of the bounds so far and the squares of their
        # deviations from it, the first step that was not finite, how much slower each image is
        zeros = torch.zeros(len(target), dtype=torch.float64, device=target.x.device)
        self.count, self.mean, self.squares = zeros.new_zeros(()), zeros, zeros.clone()
        self.failed, self.factor = zeros.clone(), self.watch.factor.clone()
        self.total = {name: torch.zeros_like(value) for name, value in self.kept.items()}
        self._open_window()
        self.bound = BatchBound(target, guide, settings, steady=_FIRST)

    def run(self) -> None:
        """Fit all, until the last has stopped."""
        step, most = 0, self.settings.max_steps
        while step < most:
            before, step = step, step + self._advance(step, most - step)
            self.record.moved(step - before)
            failed = (self.failed > 0) & self.here
            if bool(failed.any()):
                self._leave(failed, NON_FINITE, step - self.seen + self.failed.long())
            if self.seen == self.settings.rule.window and len(self.target):
                self._leave_without_density(self._averages(), step)
                if len(self.target):
                    self._close_window(step)
            if not len(self.target):
                return
        self._leave_without_density(parameters_of(self.guide), step)
        if len(self.target):
            self.kept = parameters_of(self.guide)
            self._leave(self.here, STEP_LIMIT, step)

    def _window(self) -> tuple[Tensor, Tensor]:
        """Mean of the bounds in the window so far, and its standard error, (B,)."""
        return self.mean, (self.squares / self.seen / (self.seen - 1)).sqrt()

    def _close_window(self, step: int) -> None:
        mean, error = self._window()
        worse = self.watch.is_worse(mean, error)
        done = self.watch.look(mean, error) & self.here
        self._keep(worse)
        if bool(done.any()):
            done = done & ~self._go_on(done)
        if bool(done.any()):
            self._leave(done, CONVERGED, step)
        self._open_window()

    def _advance(self, step: int, most: int) -> int:
        """The steps of a launch, or one; returns how many."""
        launch = (
            self._launch() if min(most, self.settings.rule.window - self.seen) >= STEPS else None
        )
        if launch is not None:
            launch()
            self.seen += STEPS
            return STEPS
        while len(self.target):
            try:
                self._step()
                self.seen += 1
                break
            except torch.linalg.LinAlgError:  # some covariance is none any more
                call = partial(bound_of, settings=self.settings)
                who = impossible_data(self.target, self.guide, call) & self.here
                self._leave(who, NON_FINITE, step + 1)
        return 1

    def _launch(self) -> Launch | None:
        """So many steps at once, where nothing is in the way."""
        if self.launcher is None or not self.bound.is_recorded or not can_skip(self.optimizer):
            return None
        if self.slowed not in self.launches:

            def steps() -> None:
                for _ in range(STEPS):
                    self._step()

            made = launch_of(steps, self.launcher, self.optimizer, what="steps of a fit")
            if made is None:
                self.launcher = None
                return None
            self.launches[self.slowed] = made
        return self.launches[self.slowed]

    def _step(self) -> None:
        """One step of all, nothing of which is read by the host."""
        bound, gradients = self.bound()
        parameters = dict(self.guide.named_parameters())
        finite = bound.isfinite()
        for parameter, gradient in zip(parameters.values(), gradients, strict=True):
            finite = finite & ((0 * gradient.flatten(1)).sum(1) == 0)  # ∞ or NaN times 0 is NaN
            parameter.grad = laid_out_as(gradient, parameter)
        before = [p.detach().clone() for p in parameters.values()] if self.slowed else []
        self.optimizer.step()
        with torch.no_grad():
            for parameter, old in zip(parameters.values(), before, strict=bool(before)):
                factor = self.factor.reshape(-1, *(1,) * (parameter.dim() - 1))
                parameter.copy_(torch.lerp(old, parameter, factor))
            for name, parameter in parameters.items():
                self.total[name] += parameter
        self.count += 1
        # Welford (1962): squares of deviations, which lose nothing to a bound far from 0
        deviation = bound.double() - self.mean
        self.mean += deviation / self.count
        self.squares += deviation * (bound.double() - self.mean)
        self.failed.copy_(torch.where((self.failed > 0) | finite, self.failed, self.count))

    def _averages(self) -> dict[str, Tensor]:
        """The parameters over the window so far."""
        return {name: total / self.seen for name, total in self.total.items()}

    def _leave_without_density(self, values: Mapping[str, Tensor], step: int) -> None:
        """Images leave if log q could not be computed at parameters that they would keep."""
        if self.settings.objective == "log_joint":
            return
        there = for_data(self.guide, ..., len(self.target))
        copy_parameters(values, there)
        lost = without_density(self.target, there) & self.here
        if bool(lost.any()):
            self._leave(lost, DIVERGED, step)

    @torch.no_grad()
    def _in_doubt(self, rows: Tensor) -> Tensor:
        """Those of some images that may still be on their way, or jump too far.

        Their last averages went on as those before did; or a few samples of the bound are higher
        where they were heading, or far higher at the averages than where the fit is. Images that
        only move a little to and fro are in no doubt.
        """
        target, guide = self.target.select(rows), for_data(self.guide, rows, len(self.target))
        tables = self.way[0], self.way[len(self.way) // 2], self.kept
        first, middle, last = (select_rows(table, rows) for table in tables)
        ahead = sum(
            ((last[n] - middle[n]) * (middle[n] - first[n])).flatten(1).double().sum(1)
            for n in last
        )
        few = self._paired_bounds(target, guide, draws=FEW)
        here = few(last)
        try:
            gain = few({n: v + (v - first[n]) for n, v in last.items()}) - here
        except torch.linalg.LinAlgError:
            gain = torch.zeros_like(here)
        lost = here - few(parameters_of(self.guide, rows))
        return rows[(torch.as_tensor(ahead) > 0) | (gain.mean(0) > 0) | (lost.mean(0) > JITTER)]

    @torch.no_grad()
    def _go_on(self, done: Tensor) -> Tensor:
        """Images of those that seem to be done that are not, (B,).

        Those whose bound still rises are moved on. Those that jump about an optimum much narrower
        than their steps go on from their averages, at the slower rate that the watch gives them.
        """
        rows = self._in_doubt(done.nonzero().flatten())
        if not len(rows):
            return torch.zeros_like(done)
        target, guide = self.target.select(rows), for_data(self.guide, rows, len(self.target))
        bounds = self._paired_bounds(target, guide)
        now, before = select_rows(self.kept, rows), select_rows(self.way[0], rows)
        tolerance = self.settings.rule.min_improvement
        still, values = rising(bounds, now, before, tolerance=tolerance)
        _, lost = surely_higher(
            bounds(now), bounds(parameters_of(self.guide, rows)), tolerance=tolerance + JITTER
        )
        jumping = (lost > 0) & (self.settings.rule.decay < 1)
        going = torch.zeros_like(done)
        going[rows[still]] = True
        self.watch.go_on(going)
        moved = rows[still | jumping]
        on = select_rows(values, still | jumping)
        copy_parameters(on, self.guide, moved)
        for name, value in on.items():
            self.kept[name][moved] = value
        going[moved] = True
        return going

    @torch.no_grad()
    def _keep(self, worse: Tensor) -> None:
        """Keep the window's average; where the window was worse than the best, go back to that."""
        self.way = [*self.way[1 - _WAY :], dict(self.kept)]
        averages = self._averages()
        for name, parameter in self.guide.named_parameters():
            self.kept[name] = where_rows(worse, self.kept[name], averages[name])
            parameter.copy_(where_rows(worse, self.kept[name], parameter))

    def _open_window(self) -> None:
        self.seen = 0
        for of_window in (self.count, self.mean, self.squares, self.failed, *self.total.values()):
            of_window.zero_()
        self.factor.copy_(self.watch.factor)
        self.slowed = bool((self.factor != 1).any())

    def _leave(self, who: Tensor, reason: str, steps: int | Tensor) -> None:
        """Images stop: their parameters are kept, and the batch is made smaller."""
        self.record.leave(who, self.kept, reason=REASONS.index(reason), steps=steps)
        self.here = self.here & ~who
        stay = self.here.nonzero().flatten()
        size, state = len(self.target), self.optimizer.state
        if self.launcher is not None and reason == CONVERGED and 2 * len(stay) > size:
            return
        old = list(self.guide.parameters())
        self.target = self.target.select(stay)
        self.guide = for_data(self.guide, stay, size)
        self.watch.keep(stay)
        self.kept, self.total, *self.way = (
            select_rows(table, stay) for table in (self.kept, self.total, *self.way)
        )
        for name in ("here", "mean", "squares", "failed", "factor"):
            setattr(self, name, getattr(self, name)[stay])
        self.record.rows = self.record.rows[stay]
        self.launches = {}
        if len(stay):
            steady = STEADY if self.launcher is None else _FIRST
            self.bound = BatchBound(self.target, self.guide, self.settings, steady=steady)
            self.optimizer = self.settings.new_optimizer(self.guide)
            for before, parameter in zip(old, self.guide.parameters(), strict=True):
                own = self.optimizer.state[parameter] = dict(state[before])
                for name, value in own.items():
                    if isinstance(value, Tensor) and value.shape == before.shape:
                        own[name] = laid_out_as(value[stay], parameter)
