"""Which point next: acquisition functions, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any, Protocol, cast

from torch import Tensor

from gp_bo.optimize.acquisition.bridge import NoisyImprovement, botorch_model
from gp_bo.optimize.acquisition.closed_form import (
    LogExpectedImprovement,
    Maximized,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
    log_h,
)
from gp_bo.optimize.acquisition.entropy import MaxValueEntropy
from gp_bo.optimize.acquisition.knowledge_gradient import KnowledgeGradient
from gp_bo.optimize.acquisition.thompson import ThompsonSampling, joint_draw
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models import UsageError
from pyro_models.options import check_types
from pyro_models.registry import Registry

__all__ = [
    "ACQUISITIONS",
    "Acquisition",
    "KnowledgeGradient",
    "LogExpectedImprovement",
    "MaxValueEntropy",
    "Maximized",
    "NoisyImprovement",
    "ProbabilityOfImprovement",
    "ThompsonSampling",
    "UpperConfidenceBound",
    "acquisition_named",
    "botorch_model",
    "joint_draw",
    "log_h",
    "make_acquisition",
    "register_acquisition",
    "stored_acquisition",
]


class Acquisition(Protocol):
    """Proposes the next point."""

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """A point of the region, (D,), in the unit cube."""
        ...


ACQUISITIONS: Registry[Callable[..., Any]] = Registry(
    "acquisition",
    {
        "log_ei": LogExpectedImprovement,
        "pi": ProbabilityOfImprovement,
        "ucb": UpperConfidenceBound,
        "thompson": ThompsonSampling,
        "noisy_ei": NoisyImprovement,
        "knowledge_gradient": KnowledgeGradient,
        "max_value_entropy": MaxValueEntropy,
    },
)
"""What makes an acquisition function, by name; :func:`register_acquisition` adds to it."""


def register_acquisition(name: str, make: Callable[..., Any]) -> None:
    """Let an acquisition function be asked for by a new name, at the command line too.

    It is made by a class, whose constructor's arguments are the options; or it is the function
    itself, as :func:`make_acquisition` takes it.
    """
    if not callable(make):
        raise UsageError(f"an acquisition is registered by its class or function; got {make!r}")
    ACQUISITIONS.register(name, make)


def make_acquisition(acquisition: Any, options: Mapping[str, Any] | None = None) -> Acquisition:
    """An acquisition function by its name, its class, or as it is.

    Parameters
    ----------
    acquisition
        A name, or ``"mine.py:name"`` of what a file holds; a class; an :class:`Acquisition`, called
        with (surrogate, region, \\*, seed); or a function of (surrogate, z), with z (M, D) in the
        unit cube, whose values, (M,), are differentiable and largest at the next point.
    options
        Options by name, of a name or a class.

    Raises
    ------
    UsageError
        If there is none of that name, it does not take an option, it needs BoTorch, which is not
        installed, or it cannot be called like this.

    Examples
    --------
    >>> least_mean = make_acquisition(lambda surrogate, z: -surrogate.moments(z)[0].mean(0))
    >>> callable(least_mean), make_acquisition("ucb", {"beta": 1.0}).beta
    (True, 1.0)
    """
    options = dict(options or {})
    if isinstance(acquisition, str):
        if acquisition not in ACQUISITIONS and ".py:" not in acquisition:
            every = ", ".join(ACQUISITIONS)
            raise UsageError(f"acquisition is one of {every}; got {acquisition!r}")
        name, made = acquisition, ACQUISITIONS[acquisition]
    else:
        name, made = getattr(acquisition, "__name__", type(acquisition).__name__), acquisition
    if isinstance(made, type):
        known = inspect.signature(made).parameters
        unknown = [option for option in options if option not in known]
        if unknown:
            takes = f"it takes {', '.join(known)}" if known else "it takes no options"
            raise UsageError(f"{name} does not take {', '.join(unknown)}; {takes}")
        if options:
            check_types(made, options, who=name, skip=set())
        return cast(Acquisition, made(**options))
    if options:
        given = ", ".join(options)
        raise UsageError(f"{name} is a function, and has no options: leave {given} out")
    return _callable(made)


def _callable(made: Any) -> Acquisition:
    try:
        parameters = dict(inspect.signature(made).parameters)
    except (TypeError, ValueError):
        parameters = {}
    needed = [p for p in parameters.values() if p.kind <= 1 and p.default is p.empty]
    if len(needed) == 2 and "seed" in parameters:
        return cast(Acquisition, made)
    if len(needed) == 2:
        return Maximized(made)
    raise UsageError(
        "an acquisition is a name, or is called with (surrogate, region, *, seed) and gives a "
        f"point, or with (surrogate, z) and gives values; got {made!r}"
    )


def stored_acquisition(
    acquisition: Any, options: Mapping[str, Any] | None
) -> tuple[str, dict[str, Any]]:
    """The name and the options under which a file keeps it; a ``UsageError`` without a name."""
    if isinstance(acquisition, str):
        return acquisition, dict(options or {})
    instance = not isinstance(acquisition, type | FunctionType)
    kind = type(acquisition) if instance else acquisition
    name = ACQUISITIONS.name_of(kind)
    if name is not None:
        known = inspect.signature(kind).parameters if instance else ()
        return name, {each: getattr(acquisition, each) for each in known} or dict(options or {})
    raise UsageError(
        "an acquisition without a name is kept in no file: register it, with "
        "gp_bo.optimize.register_acquisition(name, it), and give the name, or leave out the state"
    )


def acquisition_named(name: str, **options: Any) -> Acquisition:
    """An acquisition function by its name, as :func:`make_acquisition` makes it."""
    return make_acquisition(name, options)
