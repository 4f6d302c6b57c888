"""The steps of an epoch on a device that nobody waits for: rows, gradient, update, running sum.

A step of a small network takes an accelerator less time than Python takes to ask for it. So all
of it is one graph: rows are gathered by a counter that lives on the device, the recorded gradient
is taken, clipped and handed to the optimizer, and the bound is added to a running sum. The host
launches several such steps at once and reads the sum when it reports.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from inference.cuda_graph import Launch, Launcher, can_skip, launch_of, run_directly
from inference.learning.nonfinite import NonFinite
from inference.learning.optimizers import step_schedule
from inference.learning.step import Step
from pyro_models.observed import Observed
from pyro_models.seeds import generator_states, restore_generators

__all__ = ["GraphedSteps", "can_be_graphed"]

STEPS = 8
"""Steps of one launch, where nothing happens on the host between them."""


def can_be_graphed(step: Step, *, labelled_per_batch: int) -> str:
    """Why whole steps cannot be one graph; empty if they can."""
    if step.captured is None:
        return step.not_recorded
    if not step.processes.can_be_graphed:
        return "several processes share a device, and gloo is on the host"
    if step.classification.pair is not None or labelled_per_batch:
        return "batches differ in how many data have labels"
    if not can_skip(step.optimizer):
        return f"{type(step.optimizer).__name__} cannot skip a step that is not finite by itself"
    return ""


@dataclass(frozen=True)
class _Place:
    """What the steps of an epoch read and write on the device, always in the same memory.

    Attributes
    ----------
    data
        The data of this epoch.
    order
        Their order, (N,).
    betas
        β of each step.
    step
        The step that is next.
    total
        Sum of the bound over the data of all steps since the last report, of each copy that is
        trained, (K,), in float64.
    failed
        The first step that was not finite, or −1.
    """

    data: Observed
    order: Tensor
    betas: Tensor
    step: Tensor
    total: Tensor
    failed: Tensor

    @classmethod
    def of(cls, data: Observed, steps_per_epoch: int) -> _Place:
        """Place in the memory of the data of the first epoch, and beside it."""
        x = data.x
        return cls(
            data=data,
            order=torch.arange(len(data), device=x.device),
            betas=x.new_ones(steps_per_epoch),
            step=torch.zeros((), dtype=torch.long, device=x.device),
            total=torch.zeros(1, dtype=torch.float64, device=x.device),
            failed=torch.full((), -1, dtype=torch.long, device=x.device),
        )


class GraphedSteps:
    """Whole steps as graphs, one for full batches and one for the last, uneven one.

    Parameters
    ----------
    step
        How a single step is taken.
    data
        Data like those of every epoch, on the device.
    batch_size, steps_per_epoch
        Of the epochs.
    launcher
        What makes a launch of some steps: see :func:`inference.cuda_graph.launcher_of`.
    """

    def __init__(
        self,
        step: Step,
        data: Observed,
        *,
        batch_size: int,
        steps_per_epoch: int,
        launcher: Launcher,
    ) -> None:
        self.taken, self.launcher = step, launcher
        self.batch_size, self.steps_per_epoch = batch_size, steps_per_epoch
        self.place = _Place.of(data, steps_per_epoch)
        self.tempered = False
        self.moved: list[torch.nn.Parameter] = []  # in some process, where there are several
        self._launches: dict[tuple[int, int, bool], Launch] = {}

    def start_epoch(self, data: Observed, order: Tensor, betas: list[float]) -> None:
        """Take up the data of an epoch, their order and the weights of its steps."""
        place = self.place
        for own, new in zip(_parts(place.data), _parts(data), strict=True):
            if own is not None and new is not None and own.data_ptr() != new.data_ptr():
                own.copy_(new)
        place.order.copy_(order)
        place.betas.copy_(torch.tensor(betas, dtype=place.betas.dtype, device="cpu"))
        place.failed.fill_(-1)
        self.tempered = any(beta != 1 for beta in betas)
        if self.taken.captured is None or not self.taken.captured.gradient.is_same():
            self._launches.clear()  # they are of tensors that the pair has no longer

    def run(self, first: int, last: int) -> list[float]:
        """The steps from ``first`` up to ``last``; the sum of their bounds over data, of each copy.

        Raises
        ------
        NonFinite
            If one was not finite: parameters are as before it, and so are the generators.
        """
        place = self.place
        plan = self._launches_of(first, last)
        launches = [self._launch(self._size(start), count) for start, count in plan]
        place.step.fill_(first)
        place.total.zero_()
        states = []
        for (start, count), launch in zip(plan, launches, strict=True):
            states.append((start, self._states()))
            launch()
            for _ in range(count):
                step_schedule(self.taken.schedule)
        self.taken.taken += last - first
        self.taken.processes.wait()  # where one is gone, its share of a sum would never come
        *totals, failed = torch.cat([place.total, place.failed.double().view(1)]).tolist()
        if failed >= 0:
            self.taken.taken -= last - int(failed)
            raise self._failure(int(failed), states)
        return totals

    def _launches_of(self, first: int, last: int) -> list[tuple[int, int]]:
        """Where launches begin, and how many steps each has."""
        found, start = [], first
        most = STEPS if self.taken.schedule is None else 1
        while start < last:
            full = start + most <= last and self._size(start + most - 1) == self.batch_size
            count = most if full else 1
            found.append((start, count))
            start += count
        return found

    def _size(self, step: int) -> int:
        return min(self.batch_size, self.place.order.shape[-1] - step * self.batch_size)

    def _launch(self, size: int, count: int) -> Launch:
        key = size, count, self.tempered
        if key not in self._launches:
            self._warm_up(size)

            def steps() -> None:
                for _ in range(count):
                    self._step(size)

            made = launch_of(steps, self.launcher, self.taken.optimizer, what="whole steps")
            if made is None:
                self._forget_gradients()
                self.launcher, made = run_directly, steps
            self._launches[key] = made
        return self._launches[key]

    def _warm_up(self, size: int) -> None:
        """Record, and compile if so, what a launch is made of; nothing is moved by it."""
        processes = self.taken.processes
        states, rows = self._states(), self.place.order[..., :size][..., processes.own(size)]
        bound = self._gradient(self._rows(rows), self.place.betas[0] if self.tempered else 1.0)
        if processes.size > 1:  # the first sum makes the connections, which no graph can
            here = [p.grad is not None for p in self.taken.parameters]
            by_any = map(any, zip(*processes.gathered(here), strict=True))
            self.moved = [p for p, m in zip(self.taken.parameters, by_any, strict=True) if m]
            self._sum_gradients(bound, size)
        self._forget_gradients()
        self._restore(states)

    def _states(self) -> Any:
        """States of the generators that a step draws from."""
        return generator_states(self.place.order.device)

    def _restore(self, states: Any) -> None:
        restore_generators(states, self.place.order.device)

    def _rows(self, rows: Tensor) -> Observed:
        return self.place.data.rows(rows)

    def _gradient(self, batch: Observed, beta: float | Tensor) -> Tensor:
        assert self.taken.captured is not None
        if not len(batch):  # of several processes this one may have none
            return batch.x.new_zeros(())
        with self.taken.autocast():
            return self.taken.captured.backward_on_device(batch.x, **batch.conditions, beta=beta)

    def _sum_gradients(self, bound: Tensor, size: int) -> Tensor:
        processes = self.taken.processes
        if processes.size == 1:
            return bound
        weight = processes.share(size)
        return processes.sum_gradients(self.moved, bound, weight=weight, moved=True)

    def _forget_gradients(self) -> None:
        for parameter in self.taken.parameters:
            parameter.grad = None

    def _step(self, size: int) -> None:
        """One step on what is in its place; nothing of it is read by the host."""
        place, step = self.place, self.taken
        own = torch.arange(size, device=place.order.device)[step.processes.own(size)]
        where = place.step * self.batch_size + own
        batch = self._rows(place.order.index_select(-1, where))
        beta = place.betas.index_select(0, place.step.view(1)).squeeze(0) if self.tempered else 1.0
        self._forget_gradients()
        bound = self._sum_gradients(self._gradient(batch, beta), size)
        finite = bound.isfinite().all()
        if step.settings.clip_norm is not None:
            finite = finite & step.clip(step.settings.clip_norm).isfinite().all()
        failed = place.failed >= 0
        place.failed.copy_(torch.where(failed | finite, place.failed, place.step))
        skip = place.failed >= 0  # this step and all after it leave the parameters alone
        _step_unless(skip, step.optimizer)
        place.total.add_(torch.where(skip, 0.0, bound.double() * size))
        place.step.add_(1)

    def _failure(self, failed: int, states: list[tuple[int, Any]]) -> NonFinite:
        """What was not finite in a step, looked for with the random numbers that it had."""
        start, before = next(s for s in reversed(states) if s[0] <= failed)
        self._restore(before)
        for step in range(start, failed):  # the random numbers of those of its launch before it
            self._gradient(self.batch(step), 1.0)
        self._forget_gradients()
        before = self._states()
        found = self.taken.nonfinite(self.batch(failed), step=failed)
        self._restore(before)
        return found

    def batch(self, step: int) -> Observed:
        """The data of a step of this epoch."""
        begin = step * self.batch_size
        rows = self.place.order[..., begin : begin + self._size(step)]
        return self._rows(rows[..., self.taken.processes.own(self._size(step))])


def _step_unless(skip: Tensor, optimizer: Any) -> None:
    """A step of a fused optimizer, which itself leaves all as it is where ``skip`` is true."""
    if not can_skip(optimizer):  # on a CPU, which waits for nothing
        if not skip:
            optimizer.step()
        return
    optimizer.found_inf, optimizer.grad_scale = skip.to(torch.float32), None
    optimizer.step()
    del optimizer.found_inf, optimizer.grad_scale


def _parts(data: Observed) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    return data.x, data.y, data.mask
