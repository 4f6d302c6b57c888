"""Hyper-parameters with their priors, and their unconstrained coordinates u ∈ R^p.

θ = t(u) where t is Pyro's bijection to the prior's support: exp for a positive hyper-parameter,
the identity for a real one, a scaled sigmoid for an interval.
"""

from __future__ import annotations

import copy
import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.transforms import ExpTransform, IndependentTransform

from gp_bo.kernels import HyperParameter
from pyro_models import UsageError

__all__ = ["HyperParameters", "Site"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class Site:
    """One unknown: where it stands in u, and its prior with all of its shape in the event.

    Attributes
    ----------
    parameter
        Name, shape and unit.
    start, stop
        Its columns in u.
    prior
        A Pyro distribution of event shape ``parameter.shape``.
    transform
        From u to θ, elementwise.
    kind
        ``exp``, ``identity`` or ``other``: which closed form the gradients take.
    """

    parameter: HyperParameter
    start: int
    stop: int
    prior: Any
    transform: Any
    kind: str


class HyperParameters:
    """All hyper-parameters of one Gaussian process.

    Parameters
    ----------
    declared
        What kernel, mean and noise leave open.
    priors
        Name to a Pyro distribution, or to a number, which fixes it.

    Raises
    ------
    UsageError
        If a name is unknown, or a prior does not fit.
    """

    def __init__(self, declared: Sequence[HyperParameter], priors: Mapping[str, Any]) -> None:
        self.declared = {h.name: h for h in declared}
        unknown = [name for name in priors if name not in self.declared]
        if unknown:
            raise UsageError(
                f"no hyper-parameter {', '.join(unknown)}: this Gaussian process has "
                f"{', '.join(self.declared)}"
            )
        self.fixed: dict[str, Tensor] = {}
        sites, start = [], 0
        for name, h in self.declared.items():
            prior = priors.get(name, h.prior)
            if isinstance(prior, numbers.Real | Tensor):
                self.fixed[name] = _fixed(h, prior)
                continue
            stop = start + math.prod(h.shape)
            sites.append(_site(h, prior, start, stop))
            start = stop
        self.sites = tuple(sites)
        self.size = start
        self._exp = torch.cat(
            [torch.zeros(0, dtype=torch.bool)]
            + [torch.full((s.stop - s.start,), s.kind == "exp") for s in sites]
        )
        self._gaussian = _GaussianPriors.of(self.sites)

    def column_names(self) -> list[str]:
        """One name per column of u: ``lengthscale[0]`` for the first of several."""
        names = []
        for site in self.sites:
            h, count = site.parameter, site.stop - site.start
            names += [h.name] if count == 1 else [f"{h.name}[{i}]" for i in range(count)]
        return names

    def constrain(self, u: Tensor) -> dict[str, Tensor]:
        """θ = t(u) by name, each (C, \\*shape), for u (C, p); fixed ones are expanded to C."""
        theta = {name: v.expand(len(u), *v.shape) for name, v in self.fixed.items()}
        moved = torch.where(self._exp, u.exp(), u)
        for site in self.sites:
            value = moved[:, site.start : site.stop].reshape(len(u), *site.parameter.shape)
            theta[site.parameter.name] = site.transform(value) if site.kind == "other" else value
        return theta

    def unconstrain(self, theta: Mapping[str, Tensor]) -> Tensor:
        """u, (C, p), of θ by name, each (C, \\*shape)."""
        columns = []
        for site in self.sites:
            value = site.transform.inv(theta[site.parameter.name])
            columns.append(value.reshape(len(value), site.stop - site.start))
        return torch.cat(columns, dim=1)

    def pull_back(
        self, u: Tensor, theta: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """∂L/∂u, (C, p), from ∂L/∂θ by name."""
        columns = []
        for site in self.sites:
            name = site.parameter.name
            gradient = gradients[name].reshape(len(u), -1)
            if site.kind == "exp":
                gradient = gradient * theta[name].reshape(len(u), -1)
            elif site.kind == "other":
                own = u[:, site.start : site.stop].reshape(len(u), *site.parameter.shape)
                gradient = gradient * _derivative(site, own).reshape(len(u), -1)
            columns.append(gradient)
        return torch.cat(columns, dim=1)

    def log_prior(
        self, u: Tensor, theta: Mapping[str, Tensor], *, jacobian: bool
    ) -> tuple[Tensor, Tensor]:
        """log p(θ), (C,), and its gradient in u, (C, p).

        Parameters
        ----------
        u, theta
            The same point in both coordinates.
        jacobian
            Add log |dθ/du|: the density of u, rather than that of θ.
        """
        total, gradient = self._gaussian.log_density(u, jacobian=jacobian)
        if not self._gaussian.others:
            return total, gradient
        for site in self._gaussian.others:
            own = u[:, site.start : site.stop]
            value, slope = _log_density(site, own, theta[site.parameter.name], jacobian)
            total = total + value
            gradient[:, site.start : site.stop] = slope
        return total, gradient

    def sample(self, n: int) -> dict[str, Tensor]:
        """``n`` draws from the prior by name, each (n, \\*shape), float64; fixed ones included."""
        theta = {name: v.expand(n, *v.shape) for name, v in self.fixed.items()}
        for site in self.sites:
            theta[site.parameter.name] = site.prior.sample((n,)).double()
        return theta


@dataclass(frozen=True)
class _GaussianPriors:
    """All sites that are Normal in u, a LogNormal θ being one of them, as one vector.

    For each column: mean, precision (0 where it is not of this kind), and whether θ = exp(u).
    """

    loc: Tensor
    precision: Tensor
    is_exp: Tensor
    constant: float
    others: tuple[Site, ...]

    @classmethod
    def of(cls, sites: Sequence[Site]) -> _GaussianPriors:
        size = sites[-1].stop if sites else 0
        loc, precision, is_exp = (torch.zeros(size, dtype=torch.float64) for _ in range(3))
        constant, others = 0.0, []
        for site in sites:
            base, own = _base(site.prior), slice(site.start, site.stop)
            kinds = {"exp": dist.LogNormal, "identity": dist.Normal}
            if type(base) is not kinds.get(site.kind):
                others.append(site)
                continue
            loc[own] = base.loc.reshape(-1)
            precision[own] = base.scale.reshape(-1).pow(-2)
            is_exp[own] = float(site.kind == "exp")
            constant -= float((base.scale.log() + _HALF_LOG_2PI).sum())
        return cls(loc, precision, is_exp, constant, tuple(others))

    def log_density(self, u: Tensor, *, jacobian: bool) -> tuple[Tensor, Tensor]:
        """Value (C,) and gradient (C, p); of θ rather than u it has −u for each LogNormal."""
        offset = u - self.loc
        pull = offset * self.precision
        value = self.constant - 0.5 * (offset * pull).sum(-1)
        if jacobian:
            return value, -pull
        return value - u @ self.is_exp, -pull - self.is_exp


def _derivative(site: Site, value: Tensor) -> Tensor:
    """dθ/du, elementwise."""
    with torch.enable_grad():
        u = value.detach().requires_grad_()
        (slope,) = torch.autograd.grad(site.transform(u).sum(), u)
    return slope


def _log_density(site: Site, u: Tensor, theta: Tensor, jacobian: bool) -> tuple[Tensor, Tensor]:
    """log p(θ) of one site, (C,), and its gradient in u, (C, k)."""
    if site.kind != "exp" or type(_base(site.prior)) not in _CLOSED_FORMS:
        return _by_autograd(site, u, jacobian)
    base = _base(site.prior)
    closed = _CLOSED_FORMS[type(base)]
    value, gradient = closed(base, u, theta.reshape(len(u), -1))
    if jacobian:
        value, gradient = value + u, gradient + 1
    return value.sum(-1), gradient.expand(u.shape)


def _base(prior: Any) -> Any:
    return prior.base_dist if isinstance(prior, dist.Independent) else prior


def _flat(value: Tensor) -> Tensor:
    return value.reshape(-1)


def _gamma(d: Any, u: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    a, b = _flat(d.concentration), _flat(d.rate)
    value = (a - 1) * u - b * theta + a * b.log() - a.lgamma()
    return value, a - 1 - b * theta


# Closed forms of common priors; those that are Normal in u go together, any other by autograd.
_CLOSED_FORMS = {dist.Gamma: _gamma}


def _by_autograd(site: Site, u: Tensor, jacobian: bool) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        own = u.detach().requires_grad_()
        shaped = own.reshape(len(u), *site.parameter.shape)
        theta = site.transform(shaped)
        value = site.prior.log_prob(theta)
        if jacobian and site.kind != "identity":
            inner = site.transform
            while isinstance(inner, IndependentTransform):
                inner = inner.base_transform
            value = value + inner.log_abs_det_jacobian(shaped, theta).reshape(len(u), -1).sum(-1)
        if not value.requires_grad:  # Uniform: the same everywhere
            return value.detach(), torch.zeros_like(u)
        (gradient,) = torch.autograd.grad(value.sum(), own)
    return value.detach(), gradient


def _fixed(h: HyperParameter, value: numbers.Real | Tensor) -> Tensor:
    tensor = torch.as_tensor(value, dtype=torch.float64)
    try:
        tensor = tensor.expand(h.shape)
    except RuntimeError as error:
        raise UsageError(f"{h.name} has shape {h.shape}; got {tuple(tensor.shape)}") from error
    if not bool(tensor.isfinite().all()):
        raise UsageError(f"{h.name} must be finite; got {tensor.tolist()}")
    # a function may be without noise
    if h.positive and not bool((tensor >= 0 if h.name == "noise" else tensor > 0).all()):
        least = "at least 0" if h.name == "noise" else "positive"
        raise UsageError(f"{h.name} must be {least}; got {tensor.tolist()}")
    return tensor


def _site(h: HyperParameter, prior: Any, start: int, stop: int) -> Site:
    if not (isinstance(prior, torch.distributions.Distribution) and hasattr(prior, "to_event")):
        raise UsageError(
            f"the prior of {h.name} must be a distribution of pyro.distributions, or a number that "
            f"fixes it; got {type(prior).__name__}"
        )
    prior = _double(prior)
    try:
        if not prior.event_shape:
            prior = prior.expand(h.shape)
        if prior.batch_shape + prior.event_shape != torch.Size(h.shape):
            raise ValueError
    except (ValueError, RuntimeError) as error:
        raise UsageError(
            f"the prior of {h.name} has shape {tuple(prior.batch_shape + prior.event_shape)}, the "
            f"hyper-parameter {h.shape}"
        ) from error
    if isinstance(prior, dist.ImproperUniform):
        raise UsageError(
            f"the prior of {h.name} is improper and cannot be drawn from: take a wide one instead"
        )
    prior = _lenient(prior).to_event(len(prior.batch_shape))
    support = prior.support
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    if support.is_discrete:
        raise UsageError(f"the prior of {h.name} must be continuous")
    if h.positive and not _above_zero(support):
        raise UsageError(f"{h.name} is positive, its prior is not: take LogNormal or Gamma, say")
    transform = biject_to(support)
    kind = "other"
    if support is constraints.real or support is constraints.real_vector:
        kind = "identity"
    elif _is_exp(transform):
        kind, transform = "exp", ExpTransform()
    return Site(h, start, stop, prior, transform, kind)


def _lenient(prior: Any) -> Any:
    """A copy whose density is 0, rather than an error, where what it is made of has none.

    The support of exp(Uniform(−3, 1)) is said to be all positive numbers.
    """
    prior = copy.copy(prior)
    prior._validate_args = False
    if hasattr(prior, "base_dist"):
        prior.base_dist = _lenient(prior.base_dist)
    return prior


def _is_exp(transform: Any) -> bool:
    """Whether a bijection is exp, in whichever way it is composed."""
    u = torch.tensor([-2.0, 0.3, 1.5], dtype=torch.float64)
    try:
        return bool(torch.allclose(transform(u), u.exp(), rtol=1e-12))
    except RuntimeError:  # bounds of another shape: no exp
        return False


def _above_zero(support: Any) -> bool:
    if support is constraints.positive or support is constraints.nonnegative:
        return True
    lower = getattr(support, "lower_bound", None)
    return lower is not None and bool((torch.as_tensor(lower) >= 0).all())


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
