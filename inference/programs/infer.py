"""``infer`` for any Pyro model: its program as a pair of one datum, in units of its posterior."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

from inference.declared import replaced
from inference.posterior.fitted import posterior_of
from inference.posterior.guides import GUIDES, guide_family
from inference.posterior.optimization import Optimization
from inference.programs.pair import ProgramPair
from inference.programs.pathfinder import Gaussian, StartOfChains, paths
from inference.programs.posterior import ProgramPosterior
from inference.programs.program import Program
from pyro_models.contract import fulfills
from pyro_models.pair import Pair
from pyro_models.seeds import seeded, stream

__all__ = ["infer_program", "is_program", "or_program", "program_of", "standardized"]

F = TypeVar("F", bound=Callable[..., Any])
OPTIONS = tuple(field.name for field in dataclasses.fields(Optimization))
OWN = ("guide", "guide_options", "resample", *OPTIONS)
"""Keywords of ``infer`` that a program has a use for; all others are the model's."""


def is_program(thing: object) -> bool:
    """Whether a thing is a program, or a Pyro model that is no pair, nor meant as one."""
    if isinstance(thing, Program):
        return True
    if isinstance(thing, type) or not callable(thing) or fulfills(thing, Pair):
        return False
    return not any(hasattr(thing, name) for name in ("guide", "pair", "latent_sites"))


def or_program(function: F) -> F:
    """Let a function of a pair take any Pyro model with its arguments in the place of it."""

    @wraps(function)
    def door(*args: Any, **options: Any) -> Any:
        if args and is_program(args[0]):
            return infer_program(*args, **options)
        return function(*args, **options)

    return door  # type: ignore[return-value]


def program_of(
    model: Program | Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Program:
    """The program of a model with its arguments; one that is there takes none."""
    if not isinstance(model, Program):
        return Program(model, *args, **kwargs)
    return (
        Program(model.model, *model.args, *args, **{**model.kwargs, **kwargs})
        if (args or kwargs)
        else model
    )


def standardized(program: Program, *, seed: int = 0) -> tuple[ProgramPair, list[Gaussian]]:
    """A pair in units of the best of some paths, and what they found."""
    found = paths(program, seed=seed)
    if found:
        loc, scale = found[0].loc, found[0].scale
    else:  # no way leads up from anywhere: as wide as the prior
        with seeded(stream(seed, "moments"), program.device):
            drawn = program.draw_prior(200)
        low, loc, high = drawn.quantile(drawn.new_tensor([0.25, 0.5, 0.75]), 0)
        scale = (high - low).clamp_min(1e-3) / 1.35
    start = StartOfChains(found, loc=loc, scale=scale) if found else None
    return ProgramPair(program, loc=loc, scale=scale, chain_start=start), found


def infer_program(
    model: Program | Callable[..., Any],
    *args: Any,
    guide: Any = "full_covariance",
    guide_options: Mapping[str, Any] | None = None,
    resample: int | None = None,
    **kwargs: Any,
) -> ProgramPosterior:
    """Infer the latents of a Pyro model; see :func:`inference.posterior.infer`."""
    given = replaced(Optimization(), {n: v for n, v in kwargs.items() if n in OPTIONS}, who="infer")
    program = program_of(model, args, {n: v for n, v in kwargs.items() if n not in OPTIONS})
    guide, of_guide = GUIDES.named(guide, guide_options or {})
    name, family = guide_family(guide)
    pair, _ = standardized(program, seed=given.seed)
    posterior = posterior_of(pair, lambda: pair.data, family, given, name=name, options=of_guide)
    if resample is not None:
        posterior = posterior.resampled(resample, seed=given.seed)
    return ProgramPosterior(posterior)
