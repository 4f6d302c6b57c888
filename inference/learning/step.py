"""One update of the parameters: gradient, what must be finite, clipping, optimizer, schedule."""

from __future__ import annotations

import math
import warnings
from contextlib import AbstractContextManager, nullcontext

import pyro
import torch
from torch import nn

from inference.denormals import EVERY, flush_denormals
from inference.learning.capture import PATIENCE, Captured
from inference.learning.classification import Classification
from inference.learning.data_parallel import Processes, Share
from inference.learning.difference_of_steps import difference_of_steps
from inference.learning.nonfinite import NonFinite, first_nonfinite
from inference.learning.optimizers import make_optimizer, make_schedule, step_schedule
from inference.learning.settings import Settings
from inference.objectives import make_objective
from pyro_models import Pair, UsageError
from pyro_models.contract import module_of
from pyro_models.errors import NotPositiveDefiniteError
from pyro_models.observed import Observed
from pyro_models.seeds import generator_states, restore_generators

__all__ = ["Step"]

_COMPARED = 3  # steps at the beginning
_BETWEEN = 50  # at least so many later


class Step:
    """How a pair takes one step; it is recorded where that can be.

    The first steps, and later some, ever more seldom, are taken both ways and compared: Python that
    does not do the same in every step, such as a count of its calls, ends the recording.

    Parameters
    ----------
    pair
        Trained in place.
    settings
        How.
    device
        Where the pair is.
    steps_per_epoch
        Number of steps of one epoch.
    processes
        Who takes it together, each on its rows of a batch.

    Attributes
    ----------
    not_recorded
        Why steps are run rather than recorded; empty if they are recorded.
    """

    def __init__(
        self,
        pair: Pair,
        settings: Settings,
        *,
        device: torch.device,
        steps_per_epoch: int,
        processes: Processes | None = None,
    ) -> None:
        self.processes = processes or Processes()
        self.pair, self.settings, self.device = pair, settings, device
        self.objective = make_objective(pair, settings.objective, settings.objective_options)
        self.parameters = [p for p in pair.parameters() if p.requires_grad]
        self.optimizer = make_optimizer(
            settings.optimizer,
            self.parameters,
            lr=settings.rate,
            options=settings.optimizer_options,
        )
        self.schedule = make_schedule(
            settings.schedule,
            self.optimizer,
            total_steps=max(1, settings.epochs * steps_per_epoch),
            options=settings.schedule_options,
        )
        self.captured: Captured | None = None
        self.not_recorded = ""
        self._record(settings)
        self.classification = Classification(pair, recorded=self.captured is not None)
        self._between = max(_BETWEEN, steps_per_epoch)
        self.taken = self._comparisons = self._compared_at = 0

    def _record(self, settings: Settings) -> None:
        if settings.capture is False and not settings.compile:
            self.not_recorded = "capture is off"
            return
        try:
            if not (settings.capture or settings.compile):
                _refuse_hooks(self.pair)
            patience = 0 if settings.capture or settings.compile else PATIENCE
            self.captured = Captured(self.objective, compiled=settings.compile, patience=patience)
        except UsageError as error:
            self._run_instead(error)

    def _run_instead(self, error: Exception) -> None:
        """Go on without a record, unless one was asked for."""
        if self.settings.capture or self.settings.compile:
            raise error
        self.captured, self.not_recorded = None, str(error).replace(": leave capture out", "")

    def agree(self) -> None:
        """Record in all of several processes, or in none."""
        self.not_recorded = self.processes.first_word(self.not_recorded)
        if self.not_recorded:
            self.captured = None

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the networks."""
        if self.settings.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def prepare(self, batch: Observed, *, beta: float) -> None:
        """Record a step on a batch of the size that most have.

        Raises
        ------
        UsageError
            If a record was asked for and there can be none.
        """
        if self.captured is None:
            return
        try:
            with self.autocast():
                self.captured.prepare(batch.x, **batch.conditions, beta=beta)
        except UsageError as error:
            self._run_instead(error)

    def look_again(self) -> None:
        """The pair may have been changed since the last step; from now on it is not."""
        of_bound = None if self.captured is None else self.captured.gradient
        for gradient in (self.classification.recorded, of_bound):
            if gradient is not None:
                gradient.look_again()

    def __call__(self, batch: Observed, *, beta: float, share: Share | None = None) -> float:
        """Take it; returns the bound on the batch before it.

        Of several processes each is given its rows, and what ``share`` of the batch they are.

        Raises
        ------
        NonFinite
            If the bound or its gradient is not finite. Parameters and generators are as before.
        """
        before = generator_states(self.device)
        for parameter in self.parameters:
            parameter.grad = None
        try:
            with pyro.validation_enabled(self.taken == 0), self.autocast():
                self.classification.backward(batch, share=share)  # beside the bound
                bound = self._gradient(batch, beta)
        except (ValueError, RuntimeError) as error:  # a distribution of NaN, or a Cholesky factor
            restore_generators(before, self.device)
            mistake = isinstance(error, UsageError)
            mistake = mistake and not isinstance(error, NotPositiveDefiniteError)
            if mistake and self.captured is not None and self.processes.size == 1:
                self._run_instead(error)  # a shape of its own; a mistake is met again
                return self(batch, beta=beta, share=share)
            what = None if mistake else first_nonfinite(self.pair, batch)
            if what is None:
                raise
            raise NonFinite(what) from error
        if share is not None:
            weight, moved = (
                share.own / share.whole,
                torch.tensor(bound, dtype=torch.float64, device="cpu"),
            )
            bound = float(self.processes.sum_gradients(self.parameters, moved, weight=weight))
        finite = math.isfinite(bound)
        if finite and self.settings.clip_norm is not None:
            finite = bool(self.clip(self.settings.clip_norm).isfinite())
        if not finite:
            restore_generators(before, self.device)
            raise self.nonfinite(batch)
        self.optimizer.step()
        self.taken += 1
        if self.taken % EVERY == 0:
            flush_denormals(self.optimizer)
        step_schedule(self.schedule)
        return bound

    def nonfinite(self, batch: Observed, *, step: int | None = None) -> NonFinite:
        """What is not finite in a step on a batch, or on another's, that was so."""
        what = (first_nonfinite(self.pair, batch) if len(batch) else "") or ""
        what = self.processes.first_word(what or self.objective.nonfinite())
        return NonFinite(what or "the gradient (every site is finite)", step=step)

    def clip(self, most: float) -> torch.Tensor:
        """Shorten the gradient, if it is longer than this; returns its norm before."""
        return nn.utils.clip_grad_norm_(self.parameters, most)

    @property
    def is_compared(self) -> bool:
        """Whether the next step is taken both ways; compiled, it is equal only up to rounding."""
        if self.captured is None or self.settings.compile:
            return False
        return self._comparisons < _COMPARED or self.taken - self._compared_at >= self._between

    @property
    def may_be_graphed(self) -> bool:
        """Whether the next step may be in a graph, which must not make the optimizer's state."""
        made = bool(self.optimizer.state)
        return made and self.captured is not None and not self.is_compared

    def _gradient(self, batch: Observed, beta: float) -> float:
        if self.is_compared:
            return self._both_ways(batch, beta)
        if not len(batch):  # of several processes this one may have none
            return 0.0
        step = self.captured or self.objective
        return step.backward(batch.x, **batch.conditions, beta=beta)

    def _both_ways(self, batch: Observed, beta: float) -> float:
        """A step that is run, and recorded beside it."""
        assert self.captured is not None
        exactly = self.captured.is_same and self.device.type == "cpu"
        first = self._comparisons < _COMPARED
        since, self._compared_at = self._compared_at, self.taken
        self._comparisons += 1
        self._between *= 1 if first else 2
        value, difference = 0.0, ""
        if len(batch):
            value, difference = difference_of_steps(
                self.objective, self.captured, batch, beta=beta, exactly=exactly
            )
        difference = self.processes.first_word(difference)
        if difference:
            reason = (
                f"its Python does not do the same in every step (recorded, one gives {difference})"
            )
            if self.settings.capture:
                raise UsageError(f"the record of a step is not the step: {reason}")
            if not first:
                warnings.warn(
                    f"steps are recorded no longer, since {type(self.pair).__name__} has changed "
                    f"since step {since}: {reason}; give capture=False",
                    stacklevel=2,
                )
            self.captured, self.not_recorded = None, reason
        return value


def _refuse_hooks(pair: Pair) -> None:
    """What is hooked to a module is Python for every step."""
    for name, module in module_of(pair).named_modules():
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise UsageError(
                f"{name or type(pair).__name__} has hooks, which are to run in every step: leave "
                "capture out"
            )
