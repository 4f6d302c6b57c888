"""Several seeds at once: copies of a pair are trained as one, each as it would be trained alone.

The recorded step is that of stacks of parameters (:mod:`inference.stacked`), of each copy's own
rows, pixels and noise. Clipping is of each copy's gradient, and the optimizer moves every weight by
itself, so that K copies are K trainings, equal up to rounding.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from inference.cuda_graph import launcher_of, run_directly
from inference.denormals import flush_denormals
from inference.learning.callbacks import Callback
from inference.learning.capture import RecordedGradient, Recording
from inference.learning.difference_of_steps import difference_of_steps
from inference.learning.graphed import GraphedSteps
from inference.learning.history import History
from inference.learning.nonfinite import NonFinite, first_nonfinite
from inference.learning.stacks import Copy, Stacks, why_in_turn
from inference.learning.step import Step
from inference.learning.training import REPORTED, Training
from inference.progress import bar
from inference.stacked import stacked
from pyro_models.contract import module_of
from pyro_models.observed import Observed
from pyro_models.seeds import restore_generators

__all__ = ["train_together"]

_COMPARED = 3  # epochs whose first step is also taken one by one
_BETWEEN = 50  # and later not more often than once in so many steps


def train_together(
    copies: Sequence[Copy], callbacks: Sequence[Callback], *, progress: bool
) -> list[History]:
    """Train copies of a pair to their ends: at once where that can be, or else in turn.

    Those with the fewest epochs go first, so that all are at the same epoch soon, and stay so.
    """
    for copy in copies:
        with copy.turn() as training:
            training.begin(callbacks)
    first = copies[0].training
    steps = len(copies) * first.steps_per_epoch
    done = sum(len(copy.training.epochs) for copy in copies)
    shown = bar(
        first.settings.epochs * steps,
        unit="steps",
        done=done * first.steps_per_epoch,
        shown=progress,
    )
    together: _Together | None = None
    with shown as moving:
        while left := [copy for copy in copies if not copy.training.is_done]:
            fewest = min(len(copy.training.epochs) for copy in left)
            group = [copy for copy in left if len(copy.training.epochs) == fewest]
            if together is None or together.copies != group:
                together = _Together(group)
            for copy, ended in zip(group, together.epoch(moving), strict=True):
                with copy.turn() as training:
                    training.end_epoch(*ended, callbacks)
    histories = []
    for copy in copies:
        with copy.turn() as training:
            histories.append(training.finish())
    return histories


class _Together:
    """Epochs of copies that are all at the same one.

    It stands in the place of the :class:`inference.learning.step.Step` of one copy: what it learns
    are stacks of the copies' parameters, and its bounds are K.
    """

    def __init__(self, copies: Sequence[Copy]) -> None:
        self.copies = list(copies)
        self.trainings = [copy.training for copy in copies]
        self.first = self.trainings[0]
        self.settings, self.device = self.first.settings, self.first.device
        self.pair, self.classification = self.first.pair, self.first.step.classification
        self.processes = self.first.processes
        self.generators = [torch.Generator(self.device) for _ in copies]
        self.records: dict[Any, Recording] = {}
        self.taken, self.compared_at, self.comparisons = self.first.step.taken, 0, 0
        self.steps: _Steps | None = None
        self.captured: Any = self
        self.why_in_turn = why_in_turn(self.first) if len(copies) > 1 else "one seed is left"
        if not self.why_in_turn:
            mean = self.first.step.captured.recorded.mean_of_part  # type: ignore[union-attr]
            self.gradient = RecordedGradient(module_of(self.pair), mean, in_place=False)
            self.stacks = Stacks(self.trainings)
            self.parameters, self.rest = self.stacks.parameters, self.stacks.rest
            self.optimizer, self.schedule = self.stacks.optimizer, self.stacks.schedule

    def _take_up(self) -> None:
        """The copies' weights, and the states of their generators."""
        self.stacks.take_up()
        for generator, copy in zip(self.generators, self.copies, strict=True):
            generator.set_state(copy.states[self.device.type])

    def _hand_out(self) -> None:
        """Give each copy its own of all that was moved."""
        for generator, copy in zip(self.generators, self.copies, strict=True):
            copy.states[self.device.type] = generator.get_state()
        self.stacks.hand_out()
        for training in self.trainings:
            training.step.taken = self.taken

    def epoch(self, bar: Any) -> list[tuple[float, float]]:
        """All batches of one epoch; the mean of the objective of each copy, and seconds."""
        if not self.why_in_turn:
            began = time.perf_counter()
            drawn = [training.epoch_data.drawing.get_state() for training in self.trainings]
            data, order = self._rows()
            betas = [self.first.beta(step) for step in range(self.first.steps_per_epoch)]
            try:
                self._prepare(data, order, betas)
            except Exception as error:  # whatever stops a recording, before anything has moved
                reason = " ".join(str(error).split())[:160] or type(error).__name__
                self.why_in_turn = f"a step cannot be that of several copies ({reason})"
            else:
                if not self.why_in_turn:
                    means = self._train(data, order, betas, bar)
                    seconds = time.perf_counter() - began
                    return [(mean, seconds) for mean in means]
            for training, state in zip(self.trainings, drawn, strict=True):
                training.epoch_data.drawing.set_state(state)
        return [self._in_turn(copy, bar) for copy in self.copies]

    def _in_turn(self, copy: Copy, bar: Any) -> tuple[float, float]:
        with copy.turn() as training:
            if len(self.copies) > 1:
                training.not_at_once = self.why_in_turn
            return training.train_epoch(bar)

    def _rows(self) -> tuple[Observed, Tensor]:
        """The data of this epoch, of all copies one after the other, and the rows of each, (K, N).

        Data that are the same for all are there once.
        """
        order = torch.stack([training.epoch_data.permutation for training in self.trainings])
        order = order.to(self.device)
        each = [training.epoch_data.epoch() for training in self.trainings]
        if all(data is each[0] for data in each):
            return each[0], order
        starts = torch.arange(len(each), device=self.device) * len(each[0])
        parts = (_joined([getattr(d, name) for d in each]) for name in ("x", "y", "mask"))
        return Observed.unchecked(*cast(Any, parts)), order + starts.unsqueeze(1)

    def _prepare(self, data: Observed, order: Tensor, betas: list[float]) -> None:
        """Record what this epoch needs, and see that it gives what each copy gives alone."""
        if not self.gradient.is_same():
            self.why_in_turn = "the pair was changed between epochs"
            return
        self._take_up()
        size, total = self.settings.batch_size, order.shape[1]
        for begin in {0, total - total % size} - {total}:
            self._record(data[order[:, begin : begin + size]], _weight(betas, data.x))
        due = self.comparisons < _COMPARED or self.taken - self.compared_at >= _BETWEEN
        if due and self.settings.precision == "float32":  # in bfloat16 rounding differs by more
            self.comparisons, self.compared_at = self.comparisons + 1, self.taken
            self.why_in_turn = self._difference(data[order[:, :size]], betas)
        self._take_up()

    @torch.no_grad()
    def _difference(self, batch: Observed, betas: list[float]) -> str:
        """How the gradient of a copy differs from that which it has alone; empty if none does."""
        self.optimizer.zero_grad()
        bounds = self.backward_on_device(batch.x, **batch.conditions, beta=_weight(betas, batch.x))
        gradients = [parameter.grad for parameter in self.parameters]
        self.optimizer.zero_grad()
        for k, copy in enumerate(self.copies):
            row = _Row(
                copy.training, float(bounds[k]), [g if g is None else g[k] for g in gradients]
            )
            restore_generators(copy.states, self.device)
            copy.training.optimizer.zero_grad()
            kept = [buffer.clone() for buffer in module_of(copy.training.pair).buffers()]
            with torch.enable_grad(), copy.training.step.autocast():
                _, difference = difference_of_steps(
                    copy.training.objective, cast(Any, row), batch[k], beta=betas[0], exactly=False
                )
            copy.training.optimizer.zero_grad()
            for buffer, content in zip(module_of(copy.training.pair).buffers(), kept, strict=True):
                buffer.copy_(content)
            if difference:
                return f"a step of several copies gives {difference}"
        return ""

    def _train(self, data: Observed, order: Tensor, betas: list[float], bar: Any) -> list[float]:
        """The steps of the epoch, and what each copy then is and draws next."""
        if self.steps is None:
            self.steps = _Steps(self, data, order)
        self.steps.start_epoch(data, order, betas)
        totals = [0.0] * len(self.copies)
        last, count = self.first.steps_per_epoch, order.shape[1]
        try:
            for begin in range(0, last, REPORTED):
                end = min(begin + REPORTED, last)
                sums = self.steps.run(begin, end)
                flush_denormals(self.optimizer)
                totals = [total + more for total, more in zip(totals, sums, strict=True)]
                bar.update((len(self.copies) - 1) * (end - begin))
                seen = min(end * self.settings.batch_size, count)
                self.first.report(bar, begin, end, sum(totals) / len(totals) / seen)
        except NonFinite as found:
            self._hand_out()
            with self.copies[self.steps.failing].turn() as training:
                raise training.failure(found.step or 0, str(found)) from None
        except RuntimeError as error:  # a Cholesky factor
            self._hand_out()
            step = int(self.steps.place.step)
            for k, copy in enumerate(self.copies):
                with copy.turn() as training:
                    what = first_nonfinite(training.pair, self.steps.batch(step)[k])
                    if what is not None:
                        raise training.failure(step, what) from error
            raise
        self._hand_out()
        for training in self.trainings:
            training.epoch_data.shuffle()
            training.at_once = max(training.at_once, len(self.copies))
        return [total / count for total in totals]

    def _record(self, batch: Observed, beta: Tensor | None) -> Recording:
        """The recorded step of such a batch, (K, B, \\*data_shape), and what it moves."""
        given = [v for v in (batch.y, batch.mask, beta) if v is not None]
        key = batch.x.shape, batch.y is None, batch.mask is None, beta is None
        if key not in self.records:
            own = batch[0]
            with self.autocast():
                one = self.gradient.recording(own.x, own.y, own.mask, beta, size=len(own))
            held = [*self.parameters, *self.rest]
            inputs = [*(tensor.detach() for tensor in held), batch.x, *given]
            run = stacked(one.run.graph, inputs, int(beta is not None), self.generators)
            where = {id(p): i for i, p in enumerate(self.first.step.parameters)}
            moved = [self.parameters[where[id(leaf)]] for leaf in one.moved]
            self.records[key] = Recording(run, held, moved, one.module)
        return self.records[key]

    def backward_on_device(
        self, x: Tensor, *, y: Tensor | None, mask: Tensor | None, beta: Any = 1.0
    ) -> Tensor:
        """Add the gradient of each copy's negative bound to its parameters; the bounds, (K,)."""
        weight = beta if isinstance(beta, Tensor) else None
        recording = self._record(Observed.unchecked(x, y, mask), weight)
        return recording.backward([t for t in (x, y, mask, weight) if t is not None])

    def clip(self, most: float) -> Tensor:
        """Shorten the gradient of each copy that is longer than this; the norms before, (K,)."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
        norm = torch.linalg.vector_norm(norms, dim=0)
        factor = (most / (norm + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(factor.view(-1, *[1] * (g.dim() - 1)))
        return norm

    def autocast(self) -> AbstractContextManager[object]:
        """The precision of the networks."""
        return self.first.step.autocast()


class _Steps(GraphedSteps):
    """Whole steps of several copies, which draw from generators of their own."""

    def __init__(self, together: _Together, data: Observed, order: Tensor) -> None:
        generators = together.generators
        super().__init__(
            cast(Step, together),
            data,
            batch_size=together.settings.batch_size,
            steps_per_epoch=together.first.steps_per_epoch,
            launcher=launcher_of(together.device, generators) or run_directly,
        )
        self.together, self.failing = together, 0
        total = self.place.total.new_zeros(len(generators))
        self.place = replace(self.place, order=order.clone(), total=total)

    def _states(self) -> list[Tensor]:
        return [generator.get_state() for generator in self.together.generators]

    def _restore(self, states: list[Tensor]) -> None:
        for generator, state in zip(self.together.generators, states, strict=True):
            generator.set_state(state)

    def _rows(self, rows: Tensor) -> Observed:
        """The data of each copy, (K, B, \\*data_shape)."""
        found, shape = super()._rows(rows.flatten()), rows.shape
        parts = (found.x, found.y, found.mask)
        each = (None if part is None else part.unflatten(0, shape) for part in parts)
        return Observed.unchecked(*cast(Any, each))

    def _failure(self, failed: int, states: list[tuple[int, Any]]) -> NonFinite:
        """What was not finite, in the first copy of which something was not."""
        start, before = next(s for s in reversed(states) if s[0] <= failed)
        self._restore(before)
        for step in range(start, failed):  # the random numbers of those of its launch before it
            self._gradient(self.batch(step), self.place.betas[0] if self.tempered else 1.0)
        self.together.optimizer.zero_grad()
        before, batch = self._states(), self.batch(failed)
        bounds = self._gradient(batch, self.place.betas[failed] if self.tempered else 1.0)
        moved = [p.grad for p in self.together.parameters if p.grad is not None]
        self.together.optimizer.zero_grad()
        finite = torch.stack([bounds.isfinite(), *(g.flatten(1).isfinite().all(1) for g in moved)])
        self.failing = int(finite.all(0).int().argmin())
        self._restore(before)
        self.together._hand_out()
        with self.together.copies[self.failing].turn() as training:
            what = first_nonfinite(training.pair, batch[self.failing])
        self._restore(before)
        return NonFinite(what or "the gradient (every site is finite)", step=failed)


class _Row:
    """One copy's part of a step of several, as :func:`difference_of_steps` asks for it."""

    def __init__(self, training: Training, bound: float, gradients: list[Tensor | None]) -> None:
        self.parameters, self.bound, self.gradients = training.step.parameters, bound, gradients

    def backward(self, x: Tensor, **_: Any) -> float:
        """The gradient and bound that the step of several gave."""
        for parameter, gradient in zip(self.parameters, self.gradients, strict=True):
            parameter.grad = gradient
        return self.bound


def _joined(parts: list[Tensor | None]) -> Tensor | None:
    return None if parts[0] is None else torch.cat([part for part in parts if part is not None])


def _weight(betas: list[float], x: Tensor) -> Tensor | None:
    """β of the first step, if it is not 1 throughout."""
    return None if all(beta == 1 for beta in betas) else x.new_full((), betas[0])
