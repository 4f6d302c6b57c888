"""log p(θ) of hyper-parameters and its gradient in u: closed forms, and autograd for the rest."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions.transforms import IndependentTransform

from gp_bo.prior_sites import Site

__all__ = ["GaussianPriors", "log_density"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


@dataclass(frozen=True)
class GaussianPriors:
    """All sites that are Normal in u, a LogNormal θ being one of them, as one vector.

    log p(u) = −½ Σ_i τ_i (u_i − m_i)² + constant, and log p(θ) = log p(u) − Σ u_i over LogNormals;
    m and τ of each column of u are (p,), τ = 0 where it is of one of the ``others``.
    """

    loc: Tensor
    precision: Tensor
    is_exp: Tensor
    constant: float
    others: tuple[Site, ...]

    @classmethod
    def of(cls, sites: Sequence[Site], *, device: torch.device) -> GaussianPriors:
        """Those of all sites that are Normal in u; ``others`` are left to :func:`log_density`."""
        size = sites[-1].stop if sites else 0
        loc, precision, is_exp = (
            torch.zeros(size, dtype=torch.float64, device=device) for _ in range(3)
        )
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
