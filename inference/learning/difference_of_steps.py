"""Whether a recorded step is the step that is run: value and gradient, from the same generators."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inference.objectives import Objective
from pyro_models.contract import module_of
from pyro_models.observed import Observed
from pyro_models.seeds import generator_states, restore_generators

if TYPE_CHECKING:
    from inference.learning.capture import Captured

__all__ = ["difference_of_steps"]

Seen = Tensor | None


def difference_of_steps(
    eager: Objective, recorded: Captured, batch: Observed, *, beta: float, exactly: bool
) -> tuple[float, str]:
    """What a step that is run gives, and how the recorded one differs; empty if it does not.

    The gradients of the one that is run are left in the parameters, and the generators and buffers
    as it left them. Values that are not finite are not compared.
    """
    module = module_of(eager.pair)
    parameters = [p for p in module.parameters() if p.requires_grad]
    buffers = [(buffer, buffer.clone()) for buffer in module.buffers()]
    before = [p.grad for p in parameters]
    states = generator_states(batch.x.device)
    found = []
    for step in (recorded, eager):
        restore_generators(states, batch.x.device)
        for p, had in zip(parameters, before, strict=True):
            p.grad = None if had is None else had.clone()
        with torch.no_grad():
            for buffer, content in buffers:
                buffer.copy_(content)
        value = step.backward(batch.x, **batch.conditions, beta=beta)
        found.append((value, [p.grad for p in parameters]))
    (value_recorded, moved), (value, gradients) = found
    close = _equal if exactly else _close
    names = [name for name, p in module.named_parameters() if p.requires_grad]
    if not math.isfinite(value):
        difference = ""
    elif not close(*torch.tensor([value_recorded, value], device="cpu")):
        difference = f"{value_recorded:.7g} nats per datum instead of {value:.7g}"
    else:
        pairs = zip(names, moved, gradients, strict=True)
        others = [name for name, *both in pairs if not _both(close, *both)]
        difference = f"another gradient of {others[0]}" if others else ""
    return value, difference


def _both(close: Callable[[Tensor, Tensor], bool], one: Seen, other: Seen) -> bool:
    """Whether both are missing, or both are there and close."""
    return one is other if one is None or other is None else close(one, other)


def _equal(one: Tensor, other: Tensor) -> bool:
    return torch.equal(one, other) or bool(((one == other) | (one.isnan() & other.isnan())).all())


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether they differ by no more than sums taken in another order."""
    tolerance = torch.finfo(other.dtype).eps ** 0.5
    return bool((one - other).abs().max() <= tolerance * (1e-3 + other.abs().max()))
