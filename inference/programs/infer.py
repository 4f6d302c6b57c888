"""``infer`` for any Pyro model: its program as a pair of one datum, in units of its posterior."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

from inference.declared import replaced
from inference.posterior.fitted import posterior_of
from inference.posterior.optimization import Optimization
from inference.precision import DEFAULT
from inference.programs.guides import program_family
from inference.programs.pair import ProgramPair
from inference.programs.pathfinder import Gaussian, StartOfChains, paths
from inference.programs.posterior import ProgramPosterior
from inference.programs.program import Program
from pyro_models import UsageError
from pyro_models.registry import check_choice
from pyro_models.seeds import seeded, stream

__all__ = ["infer_program", "program_of", "standardized"]

_PRECISIONS = (DEFAULT, "float64")
DENSE = 1500
"""Unconstrained reals beyond which a covariance of all is too large to look for."""
OPTIONS = tuple(field.name for field in dataclasses.fields(Optimization))
"""Settings of a fit; keywords of ``infer`` that are none of its own are the model's."""

OF_PROGRAMS = Optimization(num_particles=8)
"""How guides are fitted to a program unless told otherwise: eight draws a step, computed at once.

One draw of a posterior with a narrow neck throws a fit into it, from where no rate leads out.
"""


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
    found = paths(program, seed=seed) if program.dim <= DENSE else []
    if found:
        loc, scale = found[0].loc, found[0].scale
    else:  # too many to climb, or no way leads up from anywhere: as wide as the prior
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
    precision: str = DEFAULT,
    **kwargs: Any,
) -> ProgramPosterior:
    """Infer the latents of a Pyro model; see :func:`inference.posterior.infer`."""
    given = replaced(OF_PROGRAMS, {n: v for n, v in kwargs.items() if n in OPTIONS}, who="infer")
    program = program_of(model, args, {n: v for n, v in kwargs.items() if n not in OPTIONS})
    check_choice("precision", precision, _PRECISIONS, hint="leave it out")
    if precision != DEFAULT:
        program = program.double()
    if not isinstance(guide_options, Mapping | None):
        raise UsageError(f"guide_options are options by name; got {guide_options!r}")
    name, family, of_guide = program_family(guide, guide_options or {})
    began = time.perf_counter()
    pair, _ = standardized(program, seed=given.seed)
    drawing = bool(program.subsampled) and family.fitted and family.finish is None
    fitted = pair.like(minibatches=drawing, jacobian=name != "AutoDelta")
    posterior = posterior_of(fitted, lambda: pair.data, family, given, name=name, options=of_guide)
    target = dataclasses.replace(posterior.target, pair=pair)
    seconds = time.perf_counter() - began
    posterior = dataclasses.replace(posterior, target=target, seconds=seconds)
    if resample is not None:
        posterior = posterior.resampled(resample, seed=given.seed)
    return ProgramPosterior(posterior, dict(of_guide))
