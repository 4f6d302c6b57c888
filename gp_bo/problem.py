"""A regression problem: data checked and scaled, and the model of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from gp_bo.arrays import Array, as_inputs, as_outputs, gp_device, resolution
from gp_bo.kernels import Kernel, make_kernel
from gp_bo.latent.model import gp_model
from gp_bo.likelihoods import Gaussian, make_likelihood
from gp_bo.means import LOCATIONS
from gp_bo.model import GPModel
from gp_bo.prior_names import prior_for
from gp_bo.scaling import Scaling, location_and_spread, widths
from pyro_models import UsageError
from pyro_models.brief import Brief

__all__ = ["Problem", "regression_problem"]

_LEAST_SQUARE = 1e-300


@dataclass(frozen=True, eq=False)
class Problem(Brief):
    """What there is before any inference: the model with its scaled data, and what it is made of.

    X, (n, d), y, (n,), and the priors are in original units, as the user gave them.
    """

    gp: GPModel
    scaling: Scaling
    X: Tensor
    y: Tensor
    priors: Mapping[str, Any]


def regression_problem(
    X: Array,
    y: Array,
    *,
    kernel: str | Kernel,
    noise: str | float,
    mean: str,
    priors: Mapping[str, Any] | None,
    scale: bool | None,
    device: str | torch.device | None = None,
    likelihood: Any = "gaussian",
) -> Problem:
    """Check and scale the data and build the model; arguments as in :func:`gp_bo.fit_gp`."""
    place, likelihood = gp_device(device, X), make_likelihood(likelihood)
    resolutions = resolution(X), resolution(y)
    X = as_inputs(X, device=place).detach()
    y = as_outputs(y, len(X), device=place).detach()
    likelihood.check(y)
    if noise == 0 and type(likelihood) is Gaussian:
        X, y = _distinct(X, y)
    if len(X) < 2:
        raise UsageError(f"a Gaussian process needs at least two points; got {len(X)}")
    if not isinstance(priors, Mapping | None):
        raise UsageError(f"priors map names to distributions or numbers; got {priors!r}")
    if not isinstance(scale, bool | None):
        raise UsageError(f"scale is True, False or None; got {scale!r}")
    priors = {name: prior_for(prior) for name, prior in (priors or {}).items()}
    scale = not priors if scale is None else scale
    _check_spread(X, y, scale=scale)
    scaling = Scaling.none(X.shape[1], device=place)
    if scale:
        scaling = Scaling.of(X, y, resolution=resolutions)
    if not likelihood.in_unit_of_outputs:
        nothing = Scaling.none(X.shape[1], device=place)
        scaling = replace(scaling, shift=nothing.shift, spread=nothing.spread)
    own = dict(priors)
    if noise != "learned":
        if "noise" not in [h.name for h in likelihood.hyperparameters()]:
            raise UsageError("this likelihood has no noise of its own: leave noise out")
        variance = _variance(noise)
        if "noise" in priors:
            raise UsageError("a fixed noise has no prior: leave one of them out")
        own["noise"] = variance / float(scaling.spread) ** 2
    model: dict[str, Any] = {"kernel": make_kernel(kernel), "mean": mean, "likelihood": likelihood}
    name = LOCATIONS.get(mean)
    if name is not None and name not in own and not likelihood.in_unit_of_outputs:
        location = torch.tensor(likelihood.location(y), dtype=torch.float64)
        own[name] = dist.Normal(location, torch.ones_like(location))
    return Problem(gp_model(scaling, X, y, priors=own, **model), scaling, X, y, priors)


def _variance(noise: Any) -> float:
    try:
        variance = math.nan if isinstance(noise, str | bool) else float(noise)
    except (TypeError, ValueError, RuntimeError):
        variance = math.nan
    if not 0 <= variance < math.inf:
        raise UsageError(f"noise is 'learned' or a variance, at least 0 and finite; got {noise!r}")
    return variance


def _check_spread(X: Tensor, y: Tensor, *, scale: bool) -> None:
    """Data whose squares overflow would give NaN everywhere, or vanish, and say nothing."""
    width, span = X.amax(0) - X.amin(0), y.amax() - y.amin()
    checked = {"inputs": width if scale else width.square(), "outputs": span.square()}
    for name, each in checked.items():
        if not bool(each.isfinite().all()):
            raise UsageError(f"the {name} spread too far for float64: give them in another unit")
    units = {"outputs": location_and_spread(y)[1]} | ({} if scale else {"inputs": widths(X)[1]})
    for name, each in units.items():
        if bool((each.square() < _LEAST_SQUARE).any()):
            raise UsageError(
                f"the {name} spread so little that float64 has no square of it: give them in "
                "another unit"
            )


def _distinct(X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Each input once, in the order of first occurrence: a function has one output there."""
    _, group = torch.unique(X, dim=0, return_inverse=True)
    rows = torch.arange(len(X), device=X.device)
    first = torch.full_like(group, len(X)).scatter_reduce(0, group, rows, "amin")
    if bool((y != y[first[group]]).any()):
        raise UsageError(
            "one input has two different outputs, which a function without noise cannot have: "
            "allow some noise"
        )
    kept = first[first < len(X)].sort().values
    return X[kept], y[kept]
