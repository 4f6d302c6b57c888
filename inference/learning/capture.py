"""One step's loss and gradient, recorded once as a flat graph and run again.

Pyro's handlers cost a constant time per step, which for small networks is as much as the
arithmetic. Here guide, model and backward pass are run once on fake tensors, the operations they
come to are written down, and later steps run that list alone: the same operations on the same
numbers in the same order, so values, gradients and random draws agree bit for bit.

What is recorded is what the Python code did the first time. A model whose Python depends on the
values of tensors cannot be recorded, and that is an error; one whose Python changes from step to
step (a counter) must not be: its first step would be repeated for ever.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx

from inference.learning.objectives import Objective, OfParticles
from pyro_models import UsageError

__all__ = ["Captured"]

Graph = Callable[..., tuple[Tensor, ...]]


class Captured:
    """An objective over particles whose steps are recorded, one graph for each shape of a batch.

    Parameters
    ----------
    objective
        One of :data:`inference.learning.bounds.BOUNDS`, for a pair.

    Raises
    ------
    UsageError
        If the objective is a Pyro ELBO: these report numbers along the way.

    Examples
    --------
    >>> from inference.learning.objectives import make_objective
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
        assert isinstance(objective.pair, nn.Module)
        self.objective = objective
        self.module: nn.Module = objective.pair
        self.graphs: dict[tuple[Any, ...], Graph] = {}

    def backward(self, x: Tensor, *, y: Tensor | None = None, beta: float = 1.0) -> float:
        """As :meth:`Objective.backward`."""
        tempered = beta != 1
        weight = torch.tensor(beta) if tempered else None
        key = (x.shape, x.dtype, y is None, tempered, torch.is_autocast_enabled(x.device.type))
        parameters = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        fixed = {n: p for n, p in self.module.named_parameters() if not p.requires_grad}
        others: dict[str, Tensor] = {**fixed, **dict(self.module.named_buffers())}
        inputs = ([p.detach() for p in parameters.values()], list(others.values()), x, y, weight)
        if key not in self.graphs:
            self.graphs[key] = self._record(list(parameters), list(others), inputs)
        with torch.no_grad():
            mean, *gradients = self.graphs[key](*inputs)
        _add_gradients(list(parameters.values()), gradients)
        return float(mean)

    def _record(self, names: list[str], other_names: list[str], inputs: tuple[Any, ...]) -> Graph:
        holder = _Holder(self.module, self.objective)

        def step(
            values: list[Tensor], others: list[Tensor], x: Tensor, y: Tensor | None, beta: Any
        ) -> tuple[Tensor, ...]:
            leaves = [value.detach().requires_grad_() for value in values]
            state = dict(zip(names, leaves, strict=True)) | dict(
                zip(other_names, others, strict=True)
            )
            state = {f"module.{name}": tensor for name, tensor in state.items()}
            with torch.enable_grad(), pyro.validation_enabled(False):
                mean = functional_call(holder, state, (x, y, 1.0 if beta is None else beta))
                gradients = torch.autograd.grad(-mean, leaves, allow_unused=True)
            zeros = (torch.zeros_like(leaf) for leaf in leaves)
            return mean.detach(), *(
                z if g is None else g for g, z in zip(gradients, zeros, strict=True)
            )

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of the recorder, about its own parts
                graph = make_fx(step, tracing_mode="fake", _allow_non_fake_inputs=True)(*inputs)
        except UsageError:
            raise
        except Exception as error:  # whatever stops a recording
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise UsageError(
                f"a step of {type(self.module).__name__} cannot be captured, since its Python "
                f"depends on values of tensors ({reason}): leave capture out"
            ) from error
        graph.graph.eliminate_dead_code()
        graph.recompile()
        recorded: Graph = graph
        return recorded


class _Holder(nn.Module):
    """Calls the objective of a module, so that the module's tensors can be given from outside."""

    def __init__(self, module: nn.Module, objective: OfParticles) -> None:
        super().__init__()
        self.module = module
        self.mean = objective.mean

    def forward(self, x: Tensor, y: Tensor | None, beta: float | Tensor) -> Tensor:
        """The objective's mean over the batch."""
        return self.mean(x, y=y, beta=beta)


def _add_gradients(parameters: list[nn.Parameter], gradients: list[Tensor]) -> None:
    """Add to ``.grad`` tensors that are each parameter's own and laid out as it is."""
    taken: set[int] = set()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        memory = gradient.untyped_storage().data_ptr()
        if parameter.grad is not None:
            parameter.grad.add_(gradient)
        elif memory in taken or gradient.stride() != parameter.stride():
            parameter.grad = torch.empty_like(parameter).copy_(gradient)
        else:
            parameter.grad = gradient
        taken.add(memory)
