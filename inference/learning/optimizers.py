"""Optimizers and schedules of ``torch.optim``, by name, class or function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from pyro_models import UsageError

__all__ = ["laid_out_as", "make_optimizer", "make_schedule", "step_schedule"]

Schedule = lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau


def make_optimizer(
    optimizer: str | Callable[..., Optimizer],
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    options: Mapping[str, Any] | None = None,
) -> Optimizer:
    """Any optimizer of ``torch.optim``, fused where it can be.

    Raises
    ------
    UsageError
        If the name, an option or the rate is not one it takes.
    """
    make = optimizer
    if isinstance(optimizer, str):
        found = getattr(torch.optim, optimizer, None)
        if not (inspect.isclass(found) and issubclass(found, Optimizer)):
            raise UsageError(f"unknown optimizer {optimizer!r}: give a name from torch.optim")
        make = found
    if not callable(make):
        raise UsageError(f"an optimizer is a name or a class of torch.optim; got {optimizer!r}")
    if make is torch.optim.LBFGS:
        raise UsageError("LBFGS needs a closure over all data, which minibatches are not")
    if make is torch.optim.SparseAdam:
        raise UsageError("SparseAdam is for sparse gradients, which these models do not have")
    settings = {"lr": lr, **(options or {})}
    known = inspect.signature(make).parameters
    if "fused" in known and not any(settings.get(k) for k in ("foreach", "differentiable")):
        settings.setdefault("fused", True)
    try:
        return make(list(parameters), **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer {optimizer}: {error}") from error


def laid_out_as(value: Tensor, parameter: Tensor) -> Tensor:
    """A gradient, or an optimizer's state, with the strides of its parameter.

    Fused optimizers take no others on an accelerator; ``Tensor.backward`` sees to that itself, and
    ``torch.autograd.grad`` does not.
    """
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter).copy_(value)


def make_schedule(
    schedule: str | Callable[[Optimizer], Schedule] | None,
    optimizer: Optimizer,
    *,
    total_steps: int,
    options: Mapping[str, Any] | None = None,
) -> Schedule | None:
    """A learning-rate schedule from ``torch.optim.lr_scheduler``, stepped once per batch.

    ``T_max`` and ``total_steps`` default to the whole run, and ``max_lr`` to the optimizer's rate.
    ``ReduceLROnPlateau`` is stepped once per epoch with the validation bound.

    Raises
    ------
    UsageError
        If the name or an option is not one it takes.
    """
    if schedule is None:
        return None
    if not isinstance(schedule, str):
        if not callable(schedule):
            raise UsageError(
                "a schedule is a name of torch.optim.lr_scheduler, or a function of the optimizer; "
                f"got {schedule!r}"
            )
        return schedule(optimizer)
    found = getattr(lr_scheduler, schedule, None)
    if not (inspect.isclass(found) and issubclass(found, lr_scheduler.LRScheduler)):
        raise UsageError(
            f"unknown schedule {schedule!r}: give a name from torch.optim.lr_scheduler"
        )
    settings = dict(options or {})
    defaults = {
        "T_max": total_steps,
        "total_steps": total_steps,
        "total_iters": total_steps,
        "max_lr": optimizer.param_groups[0]["lr"],
    }
    for name, value in defaults.items():
        spread = name == "total_steps" and {"epochs", "steps_per_epoch"} & settings.keys()
        if name in inspect.signature(found).parameters and not spread:
            settings.setdefault(name, value)
    if found is lr_scheduler.ReduceLROnPlateau:
        settings.setdefault("mode", "max")
    try:
        return found(optimizer, **settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"schedule {schedule}: {error}") from error


def step_schedule(schedule: Schedule | None, *, bound: float | None = None) -> None:
    """Advance by a batch, or, where ``bound`` is given, a plateau schedule by an epoch."""
    if isinstance(schedule, lr_scheduler.ReduceLROnPlateau):
        if bound is not None:
            schedule.step(bound)
    elif schedule is not None and bound is None:
        try:
            schedule.step()
        except ArithmeticError as error:
            raise UsageError(f"schedule {type(schedule).__name__}: {error}") from error
