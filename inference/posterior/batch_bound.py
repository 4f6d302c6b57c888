"""Bound and gradients of a batch of guides; recorded once the batch has stayed the same a while."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from inference.particles import draw
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import Fitting
from inference.record import Recorded, places_of
from pyro_models.observed import Observed
from pyro_models.seeds import same_generators

__all__ = ["BatchBound", "bound_of", "bounds_of"]

STEADY = 50
"""Steps after which a batch that others have left is worth recording: it may shrink again."""

Step = Callable[[list[Tensor], Tensor, Tensor | None, Tensor | None], tuple[Tensor, ...]]


def bound_of(target: LogDensity, guide: nn.Module, settings: Fitting) -> Tensor:
    """The mean of :func:`bounds_of` as the settings have it, (B,), nats."""
    return bounds_of(target, guide, settings.num_particles, settings.objective).mean(0)


def bounds_of(target: LogDensity, guide: nn.Module, num_particles: int, objective: str) -> Tensor:
    """Estimates of one of ``inference.posterior.optimization.OBJECTIVES``, (K, B), nats."""
    drawn = draw(target.pair.model, guide, target.data, num_particles=num_particles)
    if objective == "path":
        rest = drawn.log_prior - drawn.log_q_stopped
    elif objective == "kl":
        rest = -drawn.kl
    else:
        rest = drawn.log_prior
    return drawn.log_likelihood + rest


class BatchBound:
    """The bound of every datum of a batch, and the gradients of the guide's parameters.

    Pyro's handlers take about as long for one datum as for many. The operations behind a step are
    the same as long as the batch is; after some steps they are recorded and run without Pyro, if
    the recording then gives the same numbers. What cannot be recorded is run as it is.

    The guide's parameters may change, its shapes may not; ``steady`` steps are run before it is
    recorded.
    """

    def __init__(
        self,
        target: LogDensity,
        guide: nn.Module,
        settings: Fitting,
        *,
        steady: int = STEADY,
    ) -> None:
        self.target, self.holder = target, _Holder(guide, settings)
        self.parameters = list(self.holder.parameters())
        self.places = places_of(self.holder, self.parameters)
        self.run: Step = self._step
        self.seen, self.steady = 0, steady

    def __call__(self) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The bound, (B,), and minus its sum's gradients."""
        self.seen += 1
        if self.seen == self.steady + 1:
            self.run = self._recorded()
        bound, *gradients = self.run(*self._inputs())
        return bound, tuple(gradients)

    @property
    def is_recorded(self) -> bool:
        """Whether the next step is the record's."""
        return isinstance(self.run, Recorded)

    def _inputs(self) -> tuple[list[Tensor], Tensor, Tensor | None, Tensor | None]:
        return [p.detach() for p in self.parameters], self.target.x, self.target.y, self.target.mask

    def _step(
        self, values: list[Tensor], x: Tensor, y: Tensor | None, mask: Tensor | None
    ) -> tuple[Tensor, ...]:
        leaves = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            target = replace(self.target, data=Observed.unchecked(x, y, mask))
            state = {place: leaves[i] for place, i in self.places.items()}
            bound: Tensor = functional_call(self.holder, state, (target,), tie_weights=False)
            gradients = torch.autograd.grad(
                -bound.sum(), leaves, allow_unused=True, materialize_grads=True
            )
        return bound.detach(), *gradients

    def _recorded(self) -> Step:
        device = self.target.x.device
        with same_generators(device):
            try:  # a recorder takes no bound method
                inputs = self._inputs()
                data = [given for given in inputs[1:] if isinstance(given, Tensor)]
                run = Recorded(partial(self._step), inputs, constants=data)
            except Exception:  # whatever stops a recording: Pyro runs it every time
                return self._step
        found = []
        for step_by in (self._step, run):  # from the same state of the generators
            with same_generators(device):
                found.append(step_by(*self._inputs()))
        same = all(torch.allclose(a, b, equal_nan=True) for a, b in zip(*found, strict=True))
        return run if same else self._step


class _Holder(nn.Module):
    """Calls the bound of a guide, so that the guide's parameters can be given from outside."""

    def __init__(self, guide: nn.Module, settings: Fitting) -> None:
        super().__init__()
        self.guide, self.settings = guide, settings

    def forward(self, target: LogDensity) -> Tensor:
        """The bound of every datum, (B,)."""
        return bound_of(target, self.guide, self.settings)
