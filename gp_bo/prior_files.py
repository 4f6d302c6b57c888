"""A prior as plain values that JSON can hold, and back: names of classes and numbers, no code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import transforms

from gp_bo.kernels.kernel import Above
from pyro_models import UsageError

__all__ = ["describe_prior", "rebuild_prior"]

# what a transform is made from
_TRANSFORMS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Above": (Above, ("loc", "scale")),
    "AffineTransform": (transforms.AffineTransform, ("loc", "scale")),
    "ExpTransform": (transforms.ExpTransform, ()),
    "PowerTransform": (transforms.PowerTransform, ("exponent",)),
    "SigmoidTransform": (transforms.SigmoidTransform, ()),
    "SoftplusTransform": (transforms.SoftplusTransform, ()),
}


def describe_prior(prior: Any) -> dict[str, Any]:
    """A prior as its class and the numbers of its parameters, or as what it is a transform of.

    What cannot be written so is a ``UsageError``.

    >>> describe_prior(dist.LogNormal(torch.tensor(0.0), torch.tensor(2.0)))
    {'class': 'LogNormal', 'parameters': {'loc': 0.0, 'scale': 2.0}}
    """
    base = prior.base_dist if isinstance(prior, dist.Independent) else prior
    name = type(base).__name__
    described: dict[str, Any] = {"class": name}
    if type(base) in (dist.TransformedDistribution, dist.FoldedDistribution):
        described["base"] = describe_prior(base.base_dist)
        if name == "TransformedDistribution":
            described["transforms"] = [_describe_transform(t) for t in base.transforms]
    else:
        described["parameters"] = _parameters(base)
    try:
        same = rebuild_prior(described).batch_shape == base.batch_shape
    except (AttributeError, TypeError, ValueError, RuntimeError):
        same = False
    if not same:
        raise UsageError(
            f"a prior of class {name} cannot be saved: take one of pyro.distributions whose "
            "parameters are tensors"
        )
    return described


def rebuild_prior(description: Mapping[str, Any]) -> Any:
    """The prior that :func:`describe_prior` described, in float64."""
    kind = getattr(dist, description["class"])
    if "base" not in description:
        return kind(**_tensors(description["parameters"]))
    base = rebuild_prior(description["base"])
    if "transforms" not in description:
        return kind(base)
    parts = [(each["class"], _tensors(each["parameters"])) for each in description["transforms"]]
    return kind(base, [_TRANSFORMS[name][0](**values) for name, values in parts])


def _parameters(base: Any) -> dict[str, Any]:
    names = [name for name in base.arg_constraints if hasattr(base, name)]
    if isinstance(base, dist.MultivariateNormal):
        names = ["loc", "scale_tril"]  # one of three ways to give its covariance
    values = {name: getattr(base, name) for name in names}
    plain = all(isinstance(v, Tensor) for v in values.values())
    return {name: value.tolist() for name, value in values.items()} if plain else {}


def _describe_transform(transform: Any) -> dict[str, Any]:
    name = type(transform).__name__
    if name not in _TRANSFORMS:
        raise UsageError(
            f"a prior through {name} cannot be saved: take one of {', '.join(_TRANSFORMS)}"
        )
    values = {n: torch.as_tensor(getattr(transform, n)).tolist() for n in _TRANSFORMS[name][1]}
    return {"class": name, "parameters": values}


def _tensors(values: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: torch.tensor(v, dtype=torch.float64) for name, v in values.items()}
