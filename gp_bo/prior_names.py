"""Priors of hyper-parameters by name, with their numbers beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch

from pyro_models.errors import in_one_line
from pyro_models.registry import Registry

__all__ = ["PRIORS", "prior_for"]

_NAMES = (
    "Beta",
    "Exponential",
    "Gamma",
    "HalfCauchy",
    "HalfNormal",
    "InverseGamma",
    "LogNormal",
    "Normal",
    "StudentT",
    "Uniform",
    "Weibull",
)

PRIORS: Registry[Callable[..., Any]] = Registry(
    "prior",
    {name: getattr(dist, name) for name in _NAMES},
    hint="give a distribution of pyro.distributions, or a number, which fixes it",
)


def prior_for(prior: Any) -> Any:
    """A prior by its name with its numbers; a distribution, or a number, as it is.

    Parameters
    ----------
    prior
        ``{class_path: NAME, init_args: {PARAMETER: VALUE}}``, a name of ``PRIORS`` or
        ``"mine.py:my_prior"`` where what it stands for needs no parameter, or anything else.

    Examples
    --------
    >>> prior_for({"class_path": "LogNormal", "init_args": {"loc": 0.0, "scale": 2.0}}).mean
    tensor(7.3891, dtype=torch.float64)

    Raises
    ------
    UsageError
        If the name is unknown, or a parameter is not one that it may have.
    """
    name, options = PRIORS.named(prior, {})
    if not isinstance(name, str):
        return prior
    make = PRIORS[name]
    if not callable(make):
        return make
    with in_one_line(f"the prior {name}"):
        return make(**{n: torch.as_tensor(v, dtype=torch.float64) for n, v in options.items()})
