"""One step's loss and gradient, recorded once as a flat graph and run again.

Pyro's handlers cost a constant time per step, which for small networks is as much as the
arithmetic. Here guide, model and backward pass are run once on fake tensors, the operations they
come to are written down, and later steps run that list alone: the same operations on the same
numbers in the same order, so values, gradients and random draws agree bit for bit on a CPU.

What is recorded is what the Python code did the first time. A model whose Python depends on the
values of tensors cannot be recorded, and that is an error; one whose Python changes from step to
step (a counter) must not be, and :func:`difference_of_steps` finds it out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro
import torch
from torch import Tensor, nn
from torch.func import functional_call

from inference.learning.difference_of_steps import difference_of_steps
from inference.objectives import Objective
from inference.record import Recorded, places_of
from pyro_models import UsageError
from pyro_models.contract import module_of
from pyro_models.observed import Observed

__all__ = ["PATIENCE", "Captured", "RecordedGradient", "Recording"]

PATIENCE = 30
"""How many steps of a shape a training runs before it records one, but for the first shape."""

Mean = Callable[..., Tensor]
Seen = Tensor | None


class Captured:
    """An objective whose steps are recorded, one graph for each shape of a batch.

    Parameters
    ----------
    objective
        One of :data:`inference.objectives.OBJECTIVES`, for a pair. One of Pyro's ELBOs is recorded
        as the bound over particles that is the same estimate, whose value and gradient are
        compared with its own when a first batch is prepared.
    compiled
        Whether what is recorded is compiled by inductor.
    patience
        How often a shape that was not prepared is met before it is recorded; 0 records it at once.

    Raises
    ------
    UsageError
        If no such bound is known.

    Examples
    --------
    >>> from inference.objectives import make_objective
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), hidden=[16])
    >>> captured = Captured(make_objective(vae, "iwae"))
    >>> captured.backward(torch.rand(5, 1, 8, 8).round()) < 0
    True
    """

    def __init__(self, objective: Objective, *, compiled: bool = False, patience: int = 0) -> None:
        recorded = objective.over_particles()
        if objective.why_not_recorded:
            raise UsageError(f"{objective.why_not_recorded}: leave capture out")
        if recorded is None:
            raise UsageError(
                f"{objective.name} cannot be recorded, since no bound over particles is known to "
                "be the same: leave capture out, or choose another objective"
            )
        self.objective, self.recorded = objective, recorded
        self.is_same = recorded is objective
        module, mean = module_of(objective.pair), recorded.mean_of_part
        self.gradient = RecordedGradient(module, mean, compiled, patience=patience)

    def backward(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float | Tensor = 1.0
    ) -> float:
        """As :meth:`Objective.backward`."""
        return float(self.backward_on_device(x, y=y, mask=mask, beta=beta))

    def backward_on_device(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float | Tensor = 1.0
    ) -> Tensor:
        """The same, its value left where it is: nothing waits for it."""
        means = [
            self.gradient.backward(rows, given["y"], given["mask"], _weight(beta, x), size=len(x))
            for rows, given in self.recorded.parts(x, y=y, mask=mask)
        ]
        return sum(means[1:], means[0])

    def prepare(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float | Tensor = 1.0
    ) -> None:
        """Record a batch like this one before the first step.

        Raises
        ------
        UsageError
            If it cannot be recorded, or is not the same as what Pyro computes.
        """
        for rows, given in self.recorded.parts(x, y=y, mask=mask):
            self.gradient.prepare(rows, given["y"], given["mask"], _weight(beta, x), size=len(x))
        if not self.is_same:
            _, difference = difference_of_steps(
                self.objective, self, Observed.unchecked(x, y, mask), beta=1.0, exactly=False
            )
            if difference:
                raise UsageError(f"{self.objective.name} cannot be recorded: it gives {difference}")


class RecordedGradient:
    """The gradient of a scalar function of tensors and a module's parameters, recorded by shape.

    Parameters
    ----------
    module
        The module whose parameters are learned.
    mean
        A function of x, y, mask, β and the size of the batch, to maximise.
    compiled
        Whether what is recorded is compiled by inductor.
    in_place
        Whether memory that is read no more may be written to.
    patience
        How often a shape that was not prepared is met before it is recorded. A recording takes as
        long as some dozens of steps, and batches with few labels come in many shapes.
    """

    def __init__(
        self,
        module: nn.Module,
        mean: Mean,
        compiled: bool = False,
        *,
        in_place: bool = True,
        patience: int = 0,
    ) -> None:
        self.module, self.mean = module, mean
        self.compiled, self.in_place = compiled, in_place
        self.patience, self._met = patience, Counter[tuple[Any, ...]]()
        self.recordings: dict[tuple[Any, ...], Recording] = {}
        self._looked_at: set[tuple[Any, ...]] | None = None

    def is_same(self) -> bool:
        """Whether the module is as it was whenever it was recorded."""
        return all(recording.module.is_same() for recording in self.recordings.values())

    def look_again(self) -> None:
        """From now on look once, rather than at every step, whether the module is as it was."""
        self._looked_at = set()

    def backward(self, x: Tensor, y: Seen, mask: Seen, beta: Tensor | None, *, size: int) -> Tensor:
        """Add the gradient of −mean to the parameters; return the mean."""
        if self._is_too_rare(x, y, mask, beta, size=size):
            with torch.enable_grad(), pyro.validation_enabled(False):
                weight = 1.0 if beta is None else beta
                mean = self.mean(x, y=y, mask=mask, beta=weight, size=size)
                (-mean).backward()
            return mean.detach()
        recording = self.recording(x, y, mask, beta, size=size)
        return recording.backward([t for t in (x, y, mask, beta) if t is not None])

    def _is_too_rare(self, *given: Tensor | None, size: int) -> bool:
        """Whether the step is run, since its shapes were met too seldom to be recorded."""
        if not self.patience:
            return False
        key = self._key(*given, size=size)
        if key in self.recordings or self._met[key] >= self.patience:
            return False
        self._met[key] += 1
        return True

    def prepare(self, x: Tensor, y: Seen, mask: Seen, beta: Tensor | None, *, size: int) -> None:
        """Record it for such shapes.

        Raises
        ------
        UsageError
            If it cannot be recorded.
        """
        self.recording(x, y, mask, beta, size=size)

    def recording(self, x: Tensor, *others: Tensor | None, size: int) -> Recording:
        """The recording for x, and for labels, mask and β, each of which may be ``None``."""
        key = self._key(x, *others, size=size)
        if self._looked_at is not None and key in self._looked_at:
            return self.recordings[key]
        if key not in self.recordings or not self.recordings[key].module.is_same():
            self.recordings[key] = self._record(x, *others, size=size)
        if self._looked_at is not None:
            self._looked_at.add(key)
        return self.recordings[key]

    @staticmethod
    def _key(x: Tensor | None, *others: Tensor | None, size: int) -> tuple[Any, ...]:
        """What a recording is for."""
        assert x is not None
        autocast = torch.is_autocast_enabled(x.device.type)
        return x.shape, x.dtype, x.device, *(_kind(other) for other in others), autocast, size

    def _record(self, x: Tensor, *given_with_x: Tensor | None, size: int) -> Recording:
        learned = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        fixed = {n: p for n, p in self.module.named_parameters() if not p.requires_grad}
        others: dict[str, Tensor] = {**fixed, **dict(self.module.named_buffers())}
        holder = _Holder(self.module, self.mean)
        held = places_of(holder, [*learned.values(), *others.values()])

        def step(
            values: list[Tensor], rest: list[Tensor], x: Tensor, *given_with_x: Any
        ) -> tuple[Tensor, ...]:
            y, mask, beta = given_with_x
            leaves = [value.detach().requires_grad_() for value in values]
            given = [*leaves, *rest]
            state = {place: given[i] for place, i in held.items()}
            conditions = {"y": y, "mask": mask, "beta": 1.0 if beta is None else beta, "size": size}
            with torch.enable_grad(), pyro.validation_enabled(False):
                mean = functional_call(holder, state, (x,), conditions, tie_weights=False)
                gradients = torch.autograd.grad(-mean, leaves, allow_unused=True)
            unmoved[:] = [i for i, gradient in enumerate(gradients) if gradient is None]
            return mean.detach(), *(g for g in gradients if g is not None)

        inputs = [p.detach() for p in learned.values()], list(others.values()), x, *given_with_x
        unmoved: list[int] = []
        try:
            run = Recorded(step, inputs, in_place=self.in_place, compiled=self.compiled)
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
        held_tensors = [*leaves, *others.values()]
        return Recording(run, held_tensors, moved, _Snapshot(self.module))


@dataclass
class Recording:
    """A recorded step, the module's tensors that it is run on, and those its gradients are of."""

    run: Recorded
    held: list[Tensor]
    moved: list[nn.Parameter]
    module: _Snapshot
    as_they_are: bool | None = None  # whether gradients can be, not known before the first

    @torch.no_grad()
    def backward(self, given: list[Tensor]) -> Tensor:
        """Add the gradient of −mean to the parameters; return the mean."""
        mean, *gradients = self.run.operations(*self.held, *given)
        self._add(gradients)
        found: Tensor = mean
        return found

    def _add(self, gradients: list[Tensor]) -> None:
        """Add to ``.grad`` tensors that are each parameter's own and laid out as it is."""
        if self.as_they_are is None:
            memory = _memory_of(gradients)
            strides = zip(self.moved, gradients, strict=True)
            alike = all(p.stride() == gradient.stride() for p, gradient in strides)
            self.as_they_are = alike and len(memory) == len(gradients)
        for parameter, gradient in zip(self.moved, gradients, strict=True):
            if parameter.grad is not None:
                parameter.grad.add_(gradient)
            elif self.as_they_are:
                parameter.grad = gradient
            else:
                parameter.grad = torch.empty_like(parameter).copy_(gradient)


def _memory_of(tensors: list[Tensor]) -> set[int]:
    """Where tensors lie; empty where a device does not tell."""
    try:
        return {tensor.untyped_storage().data_ptr() for tensor in tensors}
    except RuntimeError:
        return set()


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
    """Calls a function of a module, so that the module's tensors can be given from outside."""

    def __init__(self, module: nn.Module, function: Mean) -> None:
        super().__init__()
        self.module = module
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """What the function returns."""
        return self.function(*args, **kwargs)


def _kind(tensor: Tensor | None) -> Any:
    """What a recording holds for of one of its inputs."""
    return None if tensor is None else (tensor.shape, tensor.dtype)


def _weight(beta: float | Tensor, x: Tensor) -> Tensor | None:
    if isinstance(beta, Tensor):
        return beta
    return None if beta == 1 else x.new_full((), beta)
