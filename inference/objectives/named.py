"""Objectives by name, class, function or instance: what each of them is, and is called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import partial
from typing import Any

from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor

from inference.objectives.elbo import MeanFieldELBO, MonteCarloELBO, PairELBO, StickTheLanding
from inference.objectives.importance_weighted import IWAE, DReG, ReweightedWakeSleep
from inference.objectives.jensen_shannon import GeometricJensenShannon, JensenShannon
from inference.objectives.renyi import Renyi
from inference.particles import Particles, checked_count
from pyro_models import UsageError
from pyro_models.registry import Registry

__all__ = [
    "OBJECTIVES",
    "OfFunction",
    "Options",
    "canonical",
    "chosen",
    "instance_of",
    "name_of",
    "refuse_options",
    "register_objective",
]

Options = Mapping[str, Any] | None

OBJECTIVES: Registry[Callable[..., Any]] = Registry(
    "objective",
    {
        "elbo": PairELBO,
        "mean_field": MeanFieldELBO,
        "monte_carlo": MonteCarloELBO,
        "stl": StickTheLanding,
        "iwae": IWAE,
        "dreg": DReG,
        "renyi": Renyi,
        "rws": ReweightedWakeSleep,
        "js": JensenShannon,
        "geometric_js": GeometricJensenShannon,
        "trace": Trace_ELBO,
        "trace_mean_field": TraceMeanField_ELBO,
        "trace_graph": TraceGraph_ELBO,
        "trace_enum": TraceEnum_ELBO,
    },
    hint="give a function over particles, or an instance of a Pyro ELBO",
)


def register_objective(name: str, objective: Callable[..., Any] | None = None) -> Any:
    """Let an objective be asked for by name, in Python and at the command line.

    Parameters
    ----------
    name
        The name.
    objective
        A function of :class:`inference.particles.Particles` (and of options, and of a weight
        ``beta`` of the latent terms, where it has one) that returns (B,) nats per datum; or a class
        whose instances are such functions. Without it, this is a decorator.

    Examples
    --------
    >>> @register_objective("largest")
    ... def largest(p, *, power=1.0):
    ...     return power * p.log_weight.amax(0)
    >>> instance_of("largest", {"num_particles": 8, "power": 2.0}).num_particles
    8
    >>> del OBJECTIVES["largest"]
    """
    return OBJECTIVES.register(name, objective)


class OfFunction:
    """A function over particles with its options, as an objective that is an object."""

    def __init__(
        self, function: Callable[..., Tensor], *, num_particles: int = 1, **options: Any
    ) -> None:
        self.function, self.options = function, options
        self.num_particles = checked_count(num_particles)
        self.beta = options.pop("beta", 1.0)
        self.reparameterised = getattr(function, "reparameterised", True)
        self.remark = getattr(function, "remark", "")
        self.__signature__ = inspect.signature(function)

    def __call__(self, p: Particles, **weight: Any) -> Tensor:
        """What the function returns."""
        return self.function(p, **self.options, **weight)


def instance_of(objective: Any, options: Options = None) -> Any:
    """The objective as an object: a bound over particles, a Pyro ELBO or :class:`PairELBO`."""
    objective, options = OBJECTIVES.named(objective, dict(options or {}))
    options = dict(options)
    thing = OBJECTIVES[objective] if isinstance(objective, str) else objective
    if isinstance(thing, type) and issubclass(thing, ELBO):
        count = checked_count(options.pop("num_particles", 1))
        made = thing(max_plate_nesting=1, num_particles=count, vectorize_particles=count > 1)
        refuse_options(made, options)
        return made
    if isinstance(thing, type) or inspect.isroutine(thing) or isinstance(thing, partial):
        make = thing if isinstance(thing, type) else partial(OfFunction, thing)
        _check_names(thing, options, who=f"the objective {name_of(objective)}")
        return make(**options)
    refuse_options(thing, options)
    if not callable(thing) and not any(hasattr(thing, n) for n in ("loss_and_grads", "of_pair")):
        raise UsageError(
            f"{thing!r} is no objective: give a name of {OBJECTIVES.help()}, a function over "
            "particles, or an instance of a Pyro ELBO"
        )
    return thing


def _check_names(thing: Callable[..., Any], options: Mapping[str, Any], *, who: str) -> None:
    """Refuse options that a class does not take, or a function beside particles."""
    parameters = list(inspect.signature(thing).parameters.values())
    known = [p.name for p in parameters if p.kind is not p.VAR_KEYWORD]
    if not isinstance(thing, type):
        known[:1] = ["num_particles"]
    unknown = sorted(set(options) - set(known))
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters):
        raise UsageError(
            f"{who} has no option {', '.join(unknown)}; it has {', '.join(known) or 'none'}"
        )


def refuse_options(objective: Any, options: Mapping[str, Any]) -> None:
    """Refuse options beside an object that has its own."""
    if options:
        raise UsageError(
            f"{type(objective).__name__} takes no option {', '.join(options)} here: choose an "
            "objective over particles by name or class, or give the option to the instance itself"
        )


def name_of(objective: Any) -> str:
    """What an objective is called: the name that it is registered by, or its own."""
    if isinstance(objective, str):
        return objective
    if isinstance(objective, ELBO):  # an instance has options of its own, the name has ours
        return type(objective).__name__
    thing = objective if hasattr(objective, "__name__") else type(objective)
    return OBJECTIVES.name_of(thing) or str(getattr(thing, "__name__", thing))


def chosen(objective: Any) -> dict[str, Any]:
    """The options of an objective that is a dataclass, where they are not their defaults."""
    if not is_dataclass(objective) or isinstance(objective, type):
        return dict(getattr(objective, "options", {}))
    found = ((f, getattr(objective, f.name)) for f in fields(objective))
    return {f.name: value for f, value in found if value != f.default}


def canonical(objective: Any, options: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """A registered objective as its name and options, so that a file can hold it; others as given.

    ``IWAE(num_particles=3)`` is ``("iwae", {"num_particles": 3})``.
    """
    objective, options = OBJECTIVES.named(objective, options)
    if isinstance(objective, str):
        return objective, options
    if OBJECTIVES.name_of(objective) is not None:
        return name_of(objective), options
    if is_dataclass(objective) and OBJECTIVES.name_of(type(objective)) is not None:
        refuse_options(objective, options)
        return name_of(objective), chosen(objective)
    return objective, options
