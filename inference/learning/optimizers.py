"""Optimizers and schedules of ``torch.optim``, by name, class or function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from pyro_models import UsageError

__all__ = [
    "laid_out_as",
    "make_optimizer",
    "make_schedule",
    "named_optimizer",
    "named_schedule",
    "step_schedule",
]

Options = Mapping[str, Any]
Schedule = lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau


def named_optimizer(optimizer: Any, options: Options) -> tuple[Any, Options]:
    """A class of ``torch.optim``, or a partial of one, as its name and options; others as given."""
    return _named(optimizer, options, torch.optim)


def named_schedule(schedule: Any, options: Options) -> tuple[Any, Options]:
    """A class of ``torch.optim.lr_scheduler``, or a partial of one, as its name and options."""
    return _named(schedule, options, lr_scheduler)


def _named(thing: Any, options: Options, module: ModuleType) -> tuple[Any, Options]:
    cls, own = thing, {}
    if isinstance(thing, partial) and not thing.args:
        cls, own = thing.func, thing.keywords
    name = getattr(cls, "__name__", "") if isinstance(cls, type) else ""
    if name and getattr(module, name, None) is cls:
        return name, {**own, **options}
    return thing, options


def make_optimizer(
    optimizer: str | Callable[..., Optimizer] | Optimizer,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    options: Options | None = None,
) -> Optimizer:
    """Any optimizer of ``torch.optim``, fused where it can be.

    Parameters
    ----------
    optimizer
        A name or class of ``torch.optim``, a function of parameters and ``lr``, or an instance for
        some of the parameters.
    parameters
        The parameters to optimize.
    lr
        Learning rate, unless the options or the instance have one.
    options
        Further options.

    Raises
    ------
    UsageError
        If the name, an option or the rate is not one it takes, or an instance is for others.
    """
    if isinstance(optimizer, Optimizer):
        return _checked_instance(optimizer, parameters, options)
    make, options = _named(optimizer, options or {}, torch.optim)
    if isinstance(make, str):
        found = getattr(torch.optim, make, None)
        if not (inspect.isclass(found) and issubclass(found, Optimizer)):
            raise UsageError(f"unknown optimizer {make!r}: give a name from torch.optim")
        make = found
    if not callable(make):
        raise UsageError(f"an optimizer is a name or a class of torch.optim; got {optimizer!r}")
    _check_kind(make)
    settings = {"lr": lr, **options}
    known = inspect.signature(make).parameters
    if "fused" in known and not any(settings.get(k) for k in ("foreach", "differentiable")):
        settings.setdefault("fused", True)
    try:
        made: Optimizer = make(list(parameters), **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer {optimizer}: {error}") from error
    return made


def _check_kind(cls: Any) -> None:
    if cls is torch.optim.LBFGS:
        raise UsageError("LBFGS needs a closure over all data, which minibatches are not")
    if cls is torch.optim.SparseAdam:
        raise UsageError("SparseAdam is for sparse gradients, which these models do not have")


def _checked_instance(
    optimizer: Optimizer, parameters: Iterable[nn.Parameter], options: Options | None
) -> Optimizer:
    """An optimizer that is made already, if it is for the pair's own parameters."""
    _check_kind(type(optimizer))
    if options:
        raise UsageError(
            f"an instance of {type(optimizer).__name__} has its options: give {', '.join(options)} "
            "to it itself, or give the class"
        )
    own = {id(parameter) for parameter in parameters}
    if not all(id(p) in own for group in optimizer.param_groups for p in group["params"]):
        raise UsageError(
            f"this {type(optimizer).__name__} is for parameters that the pair does not have: make "
            "it of pair.parameters(), or give its name"
        )
    return optimizer


def laid_out_as(value: Tensor, parameter: Tensor) -> Tensor:
    """A gradient, or an optimizer's state, with the strides of its parameter.

    Fused optimizers take no others on an accelerator; ``Tensor.backward`` sees to that itself, and
    ``torch.autograd.grad`` does not.
    """
    if value.stride() == parameter.stride():
        return value
    return torch.empty_like(parameter).copy_(value)


def make_schedule(
    schedule: str | Callable[..., Schedule] | Schedule | None,
    optimizer: Optimizer,
    *,
    total_steps: int,
    options: Options | None = None,
) -> Schedule | None:
    """A learning-rate schedule from ``torch.optim.lr_scheduler``, stepped once per batch.

    ``T_max`` and ``total_steps`` default to the whole run, and ``max_lr`` to the optimizer's rate.
    ``ReduceLROnPlateau`` is stepped once per epoch with the validation bound. A function is called
    with the optimizer and the options; an instance is for an optimizer that is an instance, too.

    Raises
    ------
    UsageError
        If the name or an option is not one it takes.
    """
    if schedule is None:
        return None
    if isinstance(schedule, Schedule) and schedule.optimizer is optimizer:
        return schedule
    found, options = _named(schedule, options or {}, lr_scheduler)
    if isinstance(found, str):
        known = getattr(lr_scheduler, found, None)
        if not (inspect.isclass(known) and issubclass(known, lr_scheduler.LRScheduler)):
            raise UsageError(
                f"unknown schedule {found!r}: give a name from torch.optim.lr_scheduler"
            )
        found = known
    if not callable(found):
        raise UsageError(
            "a schedule is a name of torch.optim.lr_scheduler, or a function of the optimizer; "
            f"got {schedule!r}"
        )
    settings = dict(options or {})
    defaults = {
        "T_max": total_steps,
        "total_steps": total_steps,
        "total_iters": total_steps,
        "max_lr": optimizer.param_groups[0]["lr"],
    }
    for name, value in defaults.items() if isinstance(found, type) else ():
        spread = name == "total_steps" and {"epochs", "steps_per_epoch"} & settings.keys()
        if name in inspect.signature(found).parameters and not spread:
            settings.setdefault(name, value)
    if found is lr_scheduler.ReduceLROnPlateau:
        settings.setdefault("mode", "max")
    try:
        made: Schedule = found(optimizer, **settings)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise UsageError(f"schedule {schedule}: {error}") from error
    return made


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
