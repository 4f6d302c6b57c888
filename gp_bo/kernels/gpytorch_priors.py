"""A prior that is registered with a kernel of GPyTorch, as a distribution of Pyro."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from pyro_models import UsageError

__all__ = ["of_pyro"]


def of_pyro(prior: Any, *, name: str, shape: tuple[int, ...]) -> Any:
    """A prior of GPyTorch as the distribution of Pyro that it extends, or what to do if none is.

    ``name`` and ``shape`` are those of the hyper-parameter.
    """
    own: Any = None
    of_torch = (k for k in type(prior).__mro__ if k.__module__.startswith("torch.distributions"))
    kind = next(of_torch, torch.distributions.Distribution)  # the first is what it extends
    of_a_function = getattr(prior, "_transform", None) is not None
    if kind is not torch.distributions.Distribution and not of_a_function:
        own = getattr(dist, kind.__name__, None)
    names = () if own is None else tuple(prior.arg_constraints)
    if isinstance(prior, torch.distributions.MultivariateNormal):
        names = ("loc", "scale_tril")
    values: Mapping[str, Any] = {n: getattr(prior, n, None) for n in names}
    if own is None or not all(isinstance(v, Tensor) for v in values.values()):
        return UsageError(
            f"the prior of {name}, a {type(prior).__name__}, is not known to Pyro: give "
            f"priors={{{name!r}: a distribution of pyro.distributions}}"
        )
    made = own(**{each: value.detach().double() for each, value in values.items()})
    own_shape = made.batch_shape + made.event_shape
    if len(own_shape) <= len(shape):
        return made
    # a shape like (1, d) in the shape of the hyper-parameter
    return own(**{each: getattr(made, each).reshape(shape) for each in made.arg_constraints})
