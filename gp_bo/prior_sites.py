"""A prior, or a fixed value, that a user gives to a hyper-parameter: checked, and in its shape."""

from __future__ import annotations

import copy
import numbers
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, biject_to, constraints
from torch.distributions.transforms import ExpTransform

from gp_bo.kernels import HyperParameter
from pyro_models import UsageError

__all__ = ["Site", "fixed_value", "moved_prior", "site_of"]

_PARTS = (Distribution, Transform, constraints.Constraint)


@dataclass(frozen=True)
class Site:
    """One unknown: its columns in u, and its prior with all of its shape in the event."""

    parameter: HyperParameter
    start: int
    stop: int
    prior: Any
    transform: Any  # from u to θ, elementwise
    kind: str  # exp, identity or other: which closed form the gradients take

    def derivative(self, u: Tensor) -> Tensor:
        """dθ/du at u, elementwise, in the shape of u."""
        with torch.enable_grad():
            at = u.detach().requires_grad_()
            (slope,) = torch.autograd.grad(self.transform(at).sum(), at)
        return slope


def fixed_value(h: HyperParameter, value: numbers.Real | Tensor, *, device: torch.device) -> Tensor:
    """What a hyper-parameter is fixed at, finite and in its shape, float64, on a device."""
    kept = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    tensor = kept.to(device).to(torch.float64)
    try:
        tensor = tensor.expand(h.shape)
    except RuntimeError as error:
        raise UsageError(f"{h.name} has shape {h.shape}; got {tuple(tensor.shape)}") from error
    if not bool(tensor.isfinite().all()):
        raise UsageError(f"{h.name} must be finite; got {tensor.tolist()}")
    may_be_zero = h.name == "noise"  # a function may be without noise
    if h.positive and not bool((tensor >= 0 if may_be_zero else tensor > 0).all()):
        least = "at least 0" if may_be_zero else "positive"
        raise UsageError(f"{h.name} must be {least}; got {tensor.tolist()}")
    return tensor


def site_of(
    h: HyperParameter, prior: Any, *, start: int, stop: int, device: torch.device | None = None
) -> Site:
    """A hyper-parameter under a prior, in columns ``start`` to ``stop`` of u.

    The prior is moved to the device; None is the CPU. One that is no distribution of Pyro, is of
    another shape, improper or discrete, or lies below 0 where it must not, is a ``UsageError``.

    >>> noise = HyperParameter("noise", (), dist.LogNormal(-4.0, 1.0), output_power=2)
    >>> site_of(noise, dist.HalfNormal(0.1), start=0, stop=1).kind
    'exp'
    """
    device = torch.device("cpu") if device is None else device
    prior = _shaped(h, prior, device)
    if isinstance(prior, dist.ImproperUniform):
        raise UsageError(
            f"the prior of {h.name} is improper and cannot be drawn from: take a wide one instead"
        )
    prior = _lenient(prior).to_event(len(prior.batch_shape))
    support = _support(h, prior)
    transform = biject_to(support)
    if support is constraints.real or support is constraints.real_vector:
        return Site(h, start, stop, prior, transform, "identity")
    if _is_exp(transform, device):
        return Site(h, start, stop, prior, ExpTransform(), "exp")
    return Site(h, start, stop, prior, transform, "other")


def _shaped(h: HyperParameter, prior: Any, device: torch.device) -> Any:
    """The prior in float64 on a device, expanded to the shape of the hyper-parameter."""
    if not (isinstance(prior, torch.distributions.Distribution) and hasattr(prior, "to_event")):
        raise UsageError(
            f"the prior of {h.name} must be a distribution of pyro.distributions, or a number that "
            f"fixes it; got {type(prior).__name__}"
        )
    prior = _double(moved_prior(prior, device))
    try:
        if not prior.event_shape:
            prior = prior.expand(h.shape)
        if prior.batch_shape + prior.event_shape != torch.Size(h.shape):
            raise ValueError
    except (ValueError, RuntimeError) as error:
        own = tuple(prior.batch_shape + prior.event_shape)
        what = f"the prior of {h.name} has shape {own}, the hyper-parameter {h.shape}"
        raise UsageError(what) from error
    return prior


def _support(h: HyperParameter, prior: Any) -> Any:
    """Where one value of the prior may lie."""
    support = prior.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support.is_discrete:
        raise UsageError(f"the prior of {h.name} must be continuous")
    if h.positive and not bool((torch.as_tensor(getattr(support, "lower_bound", -1)) >= 0).all()):
        raise UsageError(f"{h.name} is positive, its prior is not: take LogNormal or Gamma, say")
    return support


def _lenient(prior: Any) -> Any:
    """A copy whose density is 0, rather than an error, where what it is made of has none.

    The support of exp(Uniform(−3, 1)) is said to be all positive numbers.
    """
    prior = copy.copy(prior)
    prior._validate_args = False
    if hasattr(prior, "base_dist"):
        prior.base_dist = _lenient(prior.base_dist)
    return prior


def _is_exp(transform: Any, device: torch.device) -> bool:
    """Whether a bijection is exp, in whichever way it is composed."""
    u = torch.tensor([-2.0, 0.3, 1.5], dtype=torch.float64).to(device)
    try:
        return bool(torch.allclose(transform(u), u.exp(), rtol=1e-12))
    except RuntimeError:  # bounds of another shape: no exp
        return False


def _double(prior: Any) -> Any:
    """The same distribution in float64, where its parameters say all of it."""
    found = {n: getattr(prior, n, None) for n in prior.arg_constraints}
    values = {n: v.double() for n, v in found.items() if isinstance(v, Tensor)}
    if not values or len(values) < len(found):
        return prior
    try:
        return type(prior)(**values)
    except (TypeError, ValueError):
        return prior


def moved_prior(prior: Any, device: torch.device) -> Any:
    """The same prior with its tensors on ``device``; itself, where they are there already.

    Distributions that are made of others, by transforms, mixtures or masks, are moved with all that
    they are made of.

    >>> import pyro.distributions as dist
    >>> moved_prior(dist.LogNormal(0.0, 1.0), torch.device("meta")).base_dist.loc.device
    device(type='meta')
    """
    done: dict[int, Any] = {}
    moved = _moved(prior, device, done)
    return moved if any(isinstance(each, Tensor) for each in done.values()) else prior


def _moved(part: Any, device: torch.device, done: dict[int, Any]) -> Any:
    """A copy with everything that it is made of; a transform and its inverse hold each other."""
    if isinstance(part, Tensor):
        return part if part.device == device else done.setdefault(id(part), part.to(device))
    if isinstance(part, list):
        return [_moved(each, device, done) for each in part]
    if not isinstance(part, _PARTS):
        return part
    if id(part) not in done:
        other = done[id(part)] = copy.copy(part)
        vars(other).update({n: _moved(v, device, done) for n, v in vars(part).items()})
    return done[id(part)]
