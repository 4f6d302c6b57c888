"""Optimizers and schedules of ``torch.optim``, by name, class or function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

import torch
from pyro.optim import PyroOptim
from torch import Tensor, nn
from torch.optim import Optimizer, lr_scheduler

from pyro_models import UsageError
from pyro_models.registry import Registry

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "laid_out_as",
    "make_optimizer",
    "make_schedule",
    "named_optimizer",
    "named_schedule",
    "register_optimizer",
    "step_schedule",
]

Options = Mapping[str, Any]
Schedule = lr_scheduler.LRScheduler | lr_scheduler.ReduceLROnPlateau


_UNFIT = {
    "LBFGS": "LBFGS needs a closure over all data, which minibatches are not",
    "SparseAdam": "SparseAdam is for sparse gradients, which these models do not have",
    "Optimizer": "the optimizer Optimizer is what all others build on: choose one of them",
}
_SCHEDULE_BASES = ("LRScheduler", "_LRScheduler")


def _classes(module: ModuleType, base: type, without: Collection[str]) -> dict[str, Any]:
    found = {n: c for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base)}
    return {name: found[name] for name in sorted(found) if name not in without}


OPTIMIZERS: Registry[Callable[..., Optimizer]] = Registry(
    "optimizer",
    _classes(torch.optim, Optimizer, _UNFIT),
    hint="give a class or function of parameters and lr",
)
"""Those of ``torch.optim``, in any case of their letters, and those that are registered."""

SCHEDULES: Registry[Callable[..., Schedule]] = Registry(
    "schedule",
    _classes(lr_scheduler, lr_scheduler.LRScheduler, _SCHEDULE_BASES),
    hint="give a class or function of the optimizer",
)
"""Those of ``torch.optim.lr_scheduler``, and those that are registered."""


def register_optimizer(name: str, optimizer: Callable[..., Optimizer] | None = None) -> Any:
    """Let an optimizer be asked for by name, in Python and at the command line.

    Parameters
    ----------
    name
        The name.
    optimizer
        A class or function of parameters, ``lr`` and options. Without it, this is a decorator.

    Examples
    --------
    >>> @register_optimizer("half_rate")
    ... def half_rate(parameters, *, lr):
    ...     return torch.optim.SGD(parameters, lr=lr / 2)
    >>> make_optimizer("half_rate", [nn.Parameter(torch.zeros(2))], lr=1.0).defaults["lr"]
    0.5
    >>> del OPTIMIZERS["half_rate"]
    """
    return OPTIMIZERS.register(name, optimizer)


def named_optimizer(optimizer: Any, options: Options) -> tuple[Any, Options]:
    """A registered optimizer, a partial of one or one of Pyro's as its name and options."""
    if isinstance(optimizer, PyroOptim):
        own = optimizer.pt_optim_args
        if optimizer.pt_clip_args or not isinstance(own, Mapping):
            raise UsageError(
                "of an optimizer of Pyro, options that are a function and clip_args are not known "
                "here: give its class in torch.optim, options for all parameters, and clip_norm"
            )
        optimizer, options = optimizer.pt_optim_constructor, {**own, **options}
    return _named(optimizer, options, OPTIMIZERS)


def named_schedule(schedule: Any, options: Options) -> tuple[Any, Options]:
    """A registered schedule, or a partial of one, as its name and options; others as given."""
    return _named(schedule, options, SCHEDULES)


def _named(thing: Any, options: Options, registry: Registry[Any]) -> tuple[Any, Options]:
    thing, options = registry.named(thing, options)
    if isinstance(thing, str):
        spelled = {name.lower(): name for name in registry}
        known = thing in registry or ".py:" in thing
        return thing if known else spelled.get(thing.lower(), thing), options
    cls, own = thing, {}
    if isinstance(thing, partial) and not thing.args:
        cls, own = thing.func, thing.keywords
    name = registry.name_of(cls)
    return (thing, options) if name is None else (name, {**own, **options})


def make_optimizer(
    optimizer: str | Mapping[str, Any] | Callable[..., Any] | Optimizer,
    parameters: Iterable[nn.Parameter],
    *,
    lr: float,
    options: Options | None = None,
) -> Optimizer:
    """Any optimizer of ``torch.optim``, fused where it can be.

    Parameters
    ----------
    optimizer
        A name of :data:`OPTIMIZERS`, a class of a file (``"mine.py:MyOptimizer"``), a class or
        function of parameters and ``lr``, an optimizer of Pyro, or an instance for some of the
        parameters.
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
    make, options = named_optimizer(optimizer, options or {})
    _check_kind(make)
    make = OPTIMIZERS[make] if isinstance(make, str) else make
    if not callable(make):
        raise UsageError(f"an optimizer is a name or a class of torch.optim; got {optimizer!r}")
    settings = {"lr": lr, **options}
    known = inspect.signature(make).parameters
    if "fused" in known and not any(settings.get(k) for k in ("foreach", "differentiable")):
        settings.setdefault("fused", True)
    try:
        made: Optimizer = make(list(parameters), **settings)
    except (TypeError, ValueError) as error:
        raise UsageError(f"optimizer {optimizer}: {error}") from error
    if not isinstance(made, Optimizer):
        raise UsageError(f"the optimizer {optimizer} makes a {type(made).__name__}, and none")
    return made


def _check_kind(cls: Any) -> None:
    name = cls if isinstance(cls, str) else getattr(cls, "__name__", "")
    if name in _UNFIT and cls in (name, getattr(torch.optim, name)):
        raise UsageError(_UNFIT[name])


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
    schedule: str | Mapping[str, Any] | Callable[..., Any] | Schedule | None,
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
    found, options = named_schedule(schedule, options or {})
    found = SCHEDULES[found] if isinstance(found, str) else found
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
