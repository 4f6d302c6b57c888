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

    Parameters
    ----------
    prior
        The prior.
    name, shape
        Name and shape of the hyper-parameter.
    """
    own: Any = None
    names: tuple[str, ...] = ()
    for kind in type(prior).__mro__:
        if kind.__module__.startswith("torch.distributions"):  # the first is what it extends
            if kind is not torch.distributions.Distribution and not _is_transformed(prior):
                own, names = getattr(dist, kind.__name__, None), tuple(prior.arg_constraints)
            break
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
    return made if len(own_shape) <= len(shape) else _squeezed(made, shape)


def _is_transformed(prior: Any) -> bool:
    """Whether it is a prior of a function of the hyper-parameter."""
    return getattr(prior, "_transform", None) is not None


def _squeezed(prior: Any, shape: tuple[int, ...]) -> Any:
    """A prior of a shape like (1, d) in the shape of the hyper-parameter."""
    values = {name: getattr(prior, name).reshape(shape) for name in prior.arg_constraints}
    return type(prior)(**values)
