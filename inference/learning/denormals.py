"""Optimizer states that have decayed to nothing, made exactly nothing.

The running means of a momentum method decay by a constant factor per step where the gradient is 0:
weights of pixels that are seldom on, of units that are dead. After some hundred steps they are
denormal numbers, with which many processors compute a hundred times slower; a step of Adam then
costs several times what it should.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

__all__ = ["EVERY", "NOTHING", "flush_denormals"]

EVERY = 100
"""Steps between two flushes: 0.9¹⁰⁰ does not lead from ``NOTHING`` to a denormal number."""

NOTHING = 1e-30
"""What a float32 running mean below this would still move a weight by is lost in rounding."""


@torch.no_grad()
def flush_denormals(optimizer: Optimizer) -> None:
    """Set the float32 elements of the optimizer's states that are smaller than ``NOTHING`` to 0.

    The smallest normal float32 is 1.2e-38. Weights move by what they did before: Adam divides by
    √v + ε with ε = 1e-8, beside which a v of 1e-30 is nothing either.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> adam = torch.optim.Adam([weight])
    >>> adam.state[weight]["exp_avg"] = torch.tensor([1e-40])
    >>> flush_denormals(adam)
    >>> float(adam.state[weight]["exp_avg"])
    0.0
    """
    for state in optimizer.state.values():
        for value in state.values():
            if isinstance(value, Tensor) and value.dim() and value.dtype == torch.float32:
                value.masked_fill_(value.abs() < NOTHING, 0.0)
