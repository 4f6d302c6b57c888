"""Hyper-parameters with their priors, and their unconstrained coordinates u ∈ R^p.

θ = t(u) where t is Pyro's bijection to the prior's support: exp for a positive hyper-parameter,
the identity for a real one, a scaled sigmoid for an interval.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import IndependentTransform

from gp_bo.kernels import HyperParameter
from gp_bo.prior_sites import Site, fixed_value, site_of
from pyro_models import UsageError

__all__ = ["HyperParameters"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class HyperParameters:
    """All hyper-parameters of one Gaussian process, ``declared`` by kernel, mean and noise.

    Priors are Pyro distributions by name, moved to the device, or numbers, which fix θ. One that
    does not fit, or is of no hyper-parameter, is a ``UsageError``.

    >>> import pyro.distributions as dist
    >>> variance = HyperParameter("variance", (), dist.LogNormal(0.0, 1.0), output_power=2)
    >>> HyperParameters([variance], {}).constrain(torch.zeros(3, 1))["variance"]
    tensor([1., 1., 1.])
    """

    def __init__(
        self,
        declared: Sequence[HyperParameter],
        priors: Mapping[str, Any],
        *,
        device: torch.device | None = None,
    ) -> None:
        device = torch.device("cpu") if device is None else device
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
            if isinstance(prior, UsageError):
                raise prior
            if isinstance(prior, numbers.Real | Tensor):
                self.fixed[name] = fixed_value(h, prior, device=device)
                continue
            stop = start + math.prod(h.shape)
            sites.append(site_of(h, prior, start=start, stop=stop, device=device))
            start = stop
        self.sites = tuple(sites)
        self.size = start
        self._exp = torch.zeros(start, dtype=torch.bool, device=device)
        # sites that are Normal in u, a LogNormal θ being one of them, as one vector:
        # log p(u) = −½ Σ_i τ_i (u_i − m_i)² + constant, log p(θ) = log p(u) − Σ u_i over LogNormals
        zeros = torch.zeros(3, start, dtype=torch.float64, device=device)
        self._loc, self._precision, self._log_normal = zeros
        self._constant = 0.0
        self._others: list[Site] = []
        for site in sites:
            base, own = _base(site.prior), slice(site.start, site.stop)
            self._exp[own] = site.kind == "exp"
            if type(base) is not {"exp": dist.LogNormal, "identity": dist.Normal}.get(site.kind):
                self._others.append(site)  # τ = 0 in its columns
                continue
            self._loc[own] = base.loc.reshape(-1)
            self._precision[own] = base.scale.reshape(-1).pow(-2)
            self._log_normal[own] = float(site.kind == "exp")
            self._constant -= float((base.scale.log() + _HALF_LOG_2PI).sum())

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
        like = next(iter(theta.values()))
        columns = [like.new_zeros(len(like), 0)]  # all there is where every one is fixed
        for site in self.sites:
            value = site.transform.inv(theta[site.parameter.name])
            columns.append(value.reshape(len(value), site.stop - site.start))
        return torch.cat(columns, dim=1)

    def pull_back(
        self, u: Tensor, theta: Mapping[str, Tensor], gradients: Mapping[str, Tensor]
    ) -> Tensor:
        """∂L/∂u, (C, p), from ∂L/∂θ by name; 0 for what L does not depend on."""
        columns = [u.new_zeros(len(u), 0)]
        for site in self.sites:
            name = site.parameter.name
            gradient = gradients.get(name, torch.zeros_like(theta[name])).reshape(len(u), -1)
            if site.kind == "exp":
                gradient = gradient * theta[name].reshape(len(u), -1)
            elif site.kind == "other":
                own = u[:, site.start : site.stop].reshape(len(u), *site.parameter.shape)
                gradient = gradient * site.derivative(own).reshape(len(u), -1)
            columns.append(gradient)
        return torch.cat(columns, dim=1)

    def log_prior(
        self, u: Tensor, theta: Mapping[str, Tensor], *, jacobian: bool
    ) -> tuple[Tensor, Tensor]:
        """log p(θ), (C,), and its gradient in u, (C, p), at one point in both coordinates.

        With the Jacobian log |dθ/du| is added: the density of u, rather than that of θ.
        """
        offset = u - self._loc
        pull = offset * self._precision
        total, gradient = self._constant - 0.5 * (offset * pull).sum(-1), -pull
        if not jacobian:
            total, gradient = total - u @ self._log_normal, gradient - self._log_normal
        for site in self._others:
            own = u[:, site.start : site.stop]
            value, slope = log_density(site, own, theta[site.parameter.name], jacobian=jacobian)
            total = total + value
            gradient[:, site.start : site.stop] = slope
        return total, gradient

    def sample(self, n: int) -> dict[str, Tensor]:
        """``n`` draws from the prior by name, each (n, \\*shape), float64; fixed ones included."""
        theta = {name: v.expand(n, *v.shape) for name, v in self.fixed.items()}
        for site in self.sites:
            theta[site.parameter.name] = site.prior.sample((n,)).double()
        return theta


def log_density(site: Site, u: Tensor, theta: Tensor, *, jacobian: bool) -> tuple[Tensor, Tensor]:
    """log p(θ) of one site, (C,), and its gradient in its columns u, (C, k), at θ (C, \\*shape).

    log Gamma(θ; a, b) = (a − 1) u − b θ + a log b − log Γ(a); of any other prior by autograd. With
    the Jacobian log |dθ/du| is added: the density of u, rather than that of θ.
    """
    base = _base(site.prior)
    if site.kind != "exp" or type(base) is not dist.Gamma:
        return _by_autograd(site, u, jacobian=jacobian)
    a, b = base.concentration.reshape(-1), base.rate.reshape(-1)
    theta = theta.reshape(len(u), -1)
    value = (a - 1) * u - b * theta + a * b.log() - a.lgamma()
    gradient = a - 1 - b * theta
    if jacobian:
        value, gradient = value + u, gradient + 1
    return value.sum(-1), gradient.expand(u.shape)


def _base(prior: Any) -> Any:
    return prior.base_dist if isinstance(prior, dist.Independent) else prior


def _by_autograd(site: Site, u: Tensor, *, jacobian: bool) -> tuple[Tensor, Tensor]:
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
