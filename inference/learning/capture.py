"""One step's loss and gradient, recorded once as a flat graph and run again.

Pyro's handlers cost a constant time per step, which for small networks is as much as the
arithmetic. Here guide, model and backward pass are run once on fake tensors, the operations they
come to are written down, and later steps run that list alone: the same operations on the same
numbers in the same order, so values, gradients and random draws agree bit for bit (dropout alone,
which the recording takes apart, draws others).

What is recorded is what the Python code did the first time. A model whose Python depends on the
values of tensors cannot be recorded, and that is an error; one whose Python changes from step to
step (a counter) must not be: its first step would be repeated for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call

from inference.learning.optimizers import laid_out_as
from inference.objectives import Objective, OfParticles
from inference.record import Recorded, places_of
from pyro_models import UsageError
from pyro_models.contract import module_of

__all__ = ["Captured"]


class Captured:
    """An objective over particles whose steps are recorded, one graph for each shape of a batch.

    Parameters
    ----------
    objective
        One of :data:`inference.objectives.OBJECTIVES`, for a pair.

    Raises
    ------
    UsageError
        If the objective is a Pyro ELBO: these report numbers along the way.

    Examples
    --------
    >>> from inference.objectives import make_objective
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), hidden=[16])
    >>> captured = Captured(make_objective(vae, "iwae"))
    >>> captured.backward(torch.rand(5, 1, 8, 8).round()) < 0
    True
    """

    def __init__(self, objective: Objective) -> None:
        if not isinstance(objective, OfParticles):
            raise UsageError(
                f"capture records objectives over particles, and {objective.name} is a Pyro ELBO: "
                "leave capture out, or choose another objective"
            )
        self.objective = objective
        self.module = module_of(objective.pair)
        self.recordings: dict[tuple[Any, ...], _Recording] = {}

    def backward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        mask: Tensor | None = None,
        beta: float = 1.0,
    ) -> float:
        """As :meth:`Objective.backward`."""
        inputs = x, y, mask, None if beta == 1 else x.new_full((), beta)
        recording = self._recording(*inputs)
        mean, *gradients = recording.run(recording.leaves, recording.others, *inputs)
        _add_gradients(recording.moved, gradients)
        return float(mean)

    def prepare(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        mask: Tensor | None = None,
        beta: float = 1.0,
    ) -> None:
        """Record a batch like this one before the first step.

        Raises
        ------
        UsageError
            If it cannot be recorded.
        """
        self._recording(x, y, mask, None if beta == 1 else x.new_full((), beta))

    def _recording(self, x: Tensor, *others: Tensor | None) -> _Recording:
        """The recording for x, and for labels, mask and β, each of which may be ``None``."""
        autocast = torch.is_autocast_enabled(x.device.type)
        key = (x.shape, x.dtype, x.device, *(other is None for other in others), autocast)
        if key not in self.recordings or not self.recordings[key].module.is_same():
            self.recordings[key] = self._record(x, *others)
        return self.recordings[key]

    def _record(self, x: Tensor, *given_with_x: Tensor | None) -> _Recording:
        learned = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        fixed = {n: p for n, p in self.module.named_parameters() if not p.requires_grad}
        others: dict[str, Tensor] = {**fixed, **dict(self.module.named_buffers())}
        holder = _Holder(self.module, self.objective)
        held = places_of(holder, [*learned.values(), *others.values()])

        def step(
            values: list[Tensor], rest: list[Tensor], x: Tensor, *given_with_x: Any
        ) -> tuple[Tensor, ...]:
            y, mask, beta = given_with_x
            leaves = [value.detach().requires_grad_() for value in values]
            given = [*leaves, *rest]
            state = {place: given[i] for place, i in held.items()}
            with torch.enable_grad(), pyro.validation_enabled(False):
                mean = functional_call(
                    holder, state, (x, y, mask, 1.0 if beta is None else beta), tie_weights=False
                )
                gradients = torch.autograd.grad(-mean, leaves, allow_unused=True)
            unmoved[:] = [i for i, gradient in enumerate(gradients) if gradient is None]
            return mean.detach(), *(g for g in gradients if g is not None)

        inputs = [p.detach() for p in learned.values()], list(others.values()), x, *given_with_x
        unmoved: list[int] = []
        try:
            run = Recorded(step, inputs)
        except UsageError:
            raise
        except Exception as error:  # whatever stops a recording
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UsageError(
                f"a step of {type(self.module).__name__} cannot be captured, since its Python "
                f"depends on values of tensors ({reason}): leave capture out"
            ) from error
        leaves = list(learned.values())
        moved = [leaf for i, leaf in enumerate(leaves) if i not in unmoved]
        return _Recording(run, leaves, list(others.values()), moved, _Snapshot(self.module))


@dataclass(frozen=True)
class _Recording:
    """A recorded step, the module's tensors that it is run on, and those its gradients are of."""

    run: Callable[..., tuple[Tensor, ...]]
    leaves: list[nn.Parameter]
    others: list[Tensor]
    moved: list[nn.Parameter]
    module: _Snapshot


class _Snapshot:
    """Which tensors and submodules a module had, in which mode: what a recording holds for."""

    def __init__(self, module: nn.Module) -> None:
        self.modes = [(m, m.training) for m in module.modules()]
        self.held = [
            (table, list(table.items()))
            for m, _ in self.modes
            for table in (m._parameters, m._buffers, m._modules)
        ]
        self.learned = [(p, p.requires_grad) for p in module.parameters()]

    def is_same(self) -> bool:
        """Whether all of it is still so."""
        return (
            all(
                len(table) == len(items) and all(table.get(name) is value for name, value in items)
                for table, items in self.held
            )
            and all(m.training is training for m, training in self.modes)
            and all(p.requires_grad is learned for p, learned in self.learned)
        )


class _Holder(nn.Module):
    """Calls the objective of a module, so that the module's tensors can be given from outside."""

    def __init__(self, module: nn.Module, objective: OfParticles) -> None:
        super().__init__()
        self.module = module
        self.mean = objective.mean

    def forward(
        self, x: Tensor, y: Tensor | None, mask: Tensor | None, beta: float | Tensor
    ) -> Tensor:
        """The objective's mean over the batch."""
        return self.mean(x, y=y, mask=mask, beta=beta)


def _add_gradients(parameters: list[nn.Parameter], gradients: list[Tensor]) -> None:
    """Add to ``.grad`` tensors that are each parameter's own and laid out as it is."""
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        memory = gradient.untyped_storage().data_ptr()
        if parameter.grad is not None:
            parameter.grad.add_(gradient)
        elif memory in taken:
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        else:
            parameter.grad = laid_out_as(gradient, parameter)
        taken.add(memory)
