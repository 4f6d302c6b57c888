"""What copies of a pair learn and hold, stacked, with an optimizer of the stacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inference.learning.graphed import can_be_graphed
from inference.learning.nonfinite import NonFiniteError
from inference.learning.optimizers import laid_out_as, make_optimizer, make_schedule
from inference.learning.training import Training
from pyro_models.contract import module_of
from pyro_models.seeds import generator_states, restore_generators

__all__ = ["BY_ITSELF", "Copy", "Stacks", "why_in_turn"]

BY_ITSELF = (
    *("ASGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Adamax"),
    *("NAdam", "RAdam", "RMSprop", "Rprop", "SGD"),
)
"""Optimizers of torch that move every weight by its own gradient alone."""

COUNTS = ("step", "mu_product", "eta", "mu")
"""States of theirs that follow from the number of steps, and so are those of all copies."""


class Copy:
    """One of several trainings, and the global generators as it left them."""

    def __init__(self, training: Training) -> None:
        self.training = training
        self.states = generator_states(training.device)

    @contextmanager
    def turn(self) -> Iterator[Training]:
        """Inside, the global generators are its own."""
        restore_generators(self.states, self.training.device)
        try:
            yield self.training
        except NonFiniteError as error:
            raise NonFiniteError(f"seed {self.training.settings.seed}: {error}") from error
        self.states = generator_states(self.training.device)


def why_in_turn(training: Training) -> str:
    """Why copies of such a training cannot be trained as one; empty if they can."""
    step, settings = training.step, training.settings
    on_device = training.device.type != "cpu"
    if step.captured is None or training.epoch_data.streams:
        return step.not_recorded or "each copy reads its own batches"
    if settings.compile:
        return "a compiled step is of one copy"
    if settings.optimizer not in BY_ITSELF:
        return "the optimizer is not known to move each weight by itself"
    if not isinstance(settings.schedule, str | None) or settings.schedule == "ReduceLROnPlateau":
        return "the schedule may follow each copy's own bound"
    if on_device or step.classification.pair is not None or settings.labelled_per_batch:
        return can_be_graphed(step, labelled_per_batch=settings.labelled_per_batch)
    return ""


class Stacks:
    """Stacks of the tensors of copies that have taken as many steps.

    Parameters
    ----------
    trainings
        Of the copies.

    Attributes
    ----------
    parameters, rest
        What the copies learn, (K, ...) each, and what else they hold, in the order of a record.
    optimizer, schedule
        Of the stacks, in the state of the copies' own.
    """

    @torch.no_grad()
    def __init__(self, trainings: Sequence[Training]) -> None:
        self.trainings, first = list(trainings), trainings[0]
        settings, count = first.settings, len(first.step.parameters)
        stacks = [torch.stack(own) for own in zip(*map(_tensors, trainings), strict=True)]
        self.parameters = [nn.Parameter(stack) for stack in stacks[:count]]
        self.rest = stacks[count:]
        self.optimizer = make_optimizer(
            settings.optimizer,
            self.parameters,
            lr=settings.rate,
            options=settings.optimizer_options,
        )
        self.schedule = make_schedule(
            settings.schedule,
            self.optimizer,
            total_steps=max(1, settings.epochs * first.steps_per_epoch),
            options=settings.schedule_options,
        )
        _set_alike(self.optimizer, first.optimizer)
        if self.schedule is not None and first.step.schedule is not None:
            self.schedule.load_state_dict(deepcopy(first.step.schedule.state_dict()))
        for i, parameter in enumerate(self.parameters):
            states = [t.optimizer.state.get(t.step.parameters[i], {}) for t in trainings]
            for name in states[0]:
                self.optimizer.state[parameter][name] = _stack(name, [s[name] for s in states])

    @torch.no_grad()
    def take_up(self) -> None:
        """Take the weights that the copies have."""
        for k, stack, own in self._each():
            stack[k].copy_(own)

    @torch.no_grad()
    def hand_out(self) -> None:
        """Give each copy its own weights, and its optimizer and schedule their state."""
        for k, stack, own in self._each():
            own.copy_(stack[k])
        for k, training in enumerate(self.trainings):
            _set_alike(training.optimizer, self.optimizer)
            for own, stack in zip(training.step.parameters, self.parameters, strict=True):
                state = self.optimizer.state.get(stack, {})
                own_state = training.optimizer.state[own] if state else {}
                own_state.update({name: _row(name, v, k, own) for name, v in state.items()})
            if self.schedule is not None and training.step.schedule is not None:
                training.step.schedule.load_state_dict(deepcopy(self.schedule.state_dict()))

    def _each(self) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Each copy's number, and a stack with the copy's own of it."""
        for k, training in enumerate(self.trainings):
            for stack, own in zip((*self.parameters, *self.rest), _tensors(training), strict=True):
                yield k, stack, own


def _tensors(training: Training) -> list[Tensor]:
    """What a pair learns and what else it holds, in the order of a record's inputs."""
    module = module_of(training.pair)
    fixed = [p.detach() for p in module.parameters() if not p.requires_grad]
    return [*(p.detach() for p in training.step.parameters), *fixed, *module.buffers()]


def _set_alike(optimizer: Optimizer, other: Optimizer) -> None:
    """Give an optimizer the rate and the options that another has."""
    for own, theirs in zip(optimizer.param_groups, other.param_groups, strict=True):
        own.update({name: deepcopy(v) for name, v in theirs.items() if name != "params"})


def _stack(name: str, values: list[Any]) -> Any:
    if not isinstance(values[0], Tensor):
        return values[0]
    return values[0].clone() if name in COUNTS else torch.stack(values)


def _row(name: str, value: Any, k: int, parameter: Tensor) -> Any:
    """One copy's part of a state of the optimizer."""
    if not isinstance(value, Tensor):
        return value
    return value.clone() if name in COUNTS else laid_out_as(value[k].clone(), parameter)
