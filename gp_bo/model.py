"""The Pyro model p(θ) p(y | X, θ) of a Gaussian process with Gaussian noise, and its densities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from gp_bo.cholesky import cholesky
from gp_bo.hyperparameters import HyperParameters
from gp_bo.kernels import Kernel, Pairs
from gp_bo.likelihoods import Gaussian, Likelihood
from gp_bo.means import mean_gradients, mean_hyperparameters, mean_values
from gp_bo.scaling import far_origin, location_and_spread
from pyro_models import UsageError

__all__ = ["Evidence", "GPModel", "HyperPosterior"]

_MAX_ELEMENTS = 2**22  # numbers in the covariances of one chunk


class GPModel(nn.Module):
    """θ ~ p(θ), y | X, θ ~ N(m_θ(X), K_θ + σ_n² I).

    Called without arguments it is an ordinary Pyro model: one ``pyro.sample`` per hyper-parameter
    that is not fixed, and ``y`` observed. Plates around it are allowed: particles are vectorised.

    Inputs (n, d) and outputs (n,) are float64, on the device where everything is computed. Priors
    are Pyro distributions by name, or numbers, which fix θ; ``noise`` is σ_n².

    >>> from gp_bo.kernels import RBF
    >>> X = torch.linspace(0, 1, 5, dtype=torch.float64)[:, None]
    >>> gp = GPModel(X, X.sin()[:, 0], kernel=RBF(), mean="zero", priors={"noise": 1e-4})
    >>> gp.hyperparameters.column_names()
    ['lengthscale', 'variance']
    """

    def __init__(
        self,
        X: Tensor,
        y: Tensor,
        *,
        kernel: Kernel,
        mean: str,
        priors: Mapping[str, Any],
        likelihood: Likelihood | None = None,
    ) -> None:
        super().__init__()
        self.X, self.y = X, y
        self.kernel, self.mean = kernel, mean
        self.likelihood = Gaussian() if likelihood is None else likelihood
        self.evidence = Evidence(X, y, kernel)
        self.origin = far_origin(X)
        dim = X.shape[1]
        declared = [*kernel.hyperparameters(dim), *mean_hyperparameters(mean, dim)]
        declared += self.likelihood.hyperparameters()
        names = [h.name for h in declared]
        twice = ", ".join(sorted({name for name in names if names.count(name) > 1}))
        if twice:
            raise UsageError(
                f"{twice} is a hyper-parameter of the kernel, and of mean or noise as well: give "
                "it another name in the kernel"
            )
        self.hyperparameters = HyperParameters(declared, priors, device=X.device)

    def with_data(self, X: Tensor, y: Tensor) -> GPModel:
        """The same kernel, mean and priors with other data, (n, d) and (n,)."""
        return GPModel(X, y, kernel=self.kernel, mean=self.mean, priors=self.priors)

    @property
    def priors(self) -> dict[str, Any]:
        """Every hyper-parameter by name: its prior, or what it is fixed at."""
        hyper = self.hyperparameters
        return {**{s.parameter.name: s.prior for s in hyper.sites}, **hyper.fixed}

    @property
    def location(self) -> float:
        """About where f lies."""
        return float(self.y.mean())

    @property
    def spread(self) -> float:
        """The unit of f: the standard deviation of the outputs."""
        return float(location_and_spread(self.y)[1])

    @property
    def device(self) -> torch.device:
        """Where its data are."""
        return self.y.device

    def forward(self) -> dict[str, Tensor]:
        """Sample every hyper-parameter and observe y; returns θ by name."""
        theta, flat, batch = self._sampled()
        loc, covariance = self.evidence.moments(flat)
        loc, tril = loc.reshape(*batch, -1), cholesky(covariance)[0]
        tril = tril.reshape(*batch, *tril.shape[-2:])
        # a covariance without a factor has density NaN, which who evaluates it must expect
        normal = dist.MultivariateNormal(loc, scale_tril=tril, validate_args=False)
        pyro.sample("y", normal, obs=self.y)
        return theta

    def _sampled(self) -> tuple[dict[str, Tensor], dict[str, Tensor], torch.Size]:
        """θ by name, each (\\*batch, \\*shape), the same as (C, \\*shape), and the batch."""
        theta = dict(self.hyperparameters.fixed)
        for site in self.hyperparameters.sites:
            theta[site.parameter.name] = pyro.sample(site.parameter.name, site.prior)
        own = {name: h.shape for name, h in self.hyperparameters.declared.items()}
        leading = (v.shape[: v.dim() - len(own[name])] for name, v in theta.items())
        batch = torch.broadcast_shapes(*leading)
        flat = {n: v.expand((*batch, *own[n])).reshape(-1, *own[n]) for n, v in theta.items()}
        return theta, flat, batch


class Evidence:
    """log p(y | X, θ) = −½ (y − m)ᵀ Σ⁻¹ (y − m) − ½ log |Σ| − (n/2) log 2π, Σ = K_θ + σ_n² I.

    Rasmussen & Williams (2006), eq. 5.8 and 5.9. X is (n, d), y is (n,), both float64.
    """

    def __init__(self, X: Tensor, y: Tensor, kernel: Kernel) -> None:
        self.X, self.y, self.kernel = X, y, kernel

    @cached_property
    def _pairs(self) -> Pairs:
        return Pairs(self.X, self.X, origin=far_origin(self.X))

    def moments(self, theta: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Mean, (C, n), and covariance of y, (C, n, n)."""
        K = self.kernel.covariance(theta, self._pairs)
        mean = mean_values(theta, self.X).expand(len(K), len(self.y))
        return mean, _with_noise(K, theta["noise"])

    def factor(self, theta: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """L with L Lᵀ = Σ, (C, n, n), and Σ⁻¹ (y − m), (C, n)."""
        mean, covariance = self.moments(theta)
        L, _ = cholesky(covariance)
        return L, torch.cholesky_solve((self.y - mean)[..., None], L)[..., 0]

    def value(self, theta: Mapping[str, Tensor]) -> Tensor:
        """log p(y | X, θ), (C,), nats; differentiable; −inf where Σ has no Cholesky factor."""
        mean, covariance = self.moments(theta)
        L, failed = cholesky(covariance)
        whitened = torch.linalg.solve_triangular(L, (self.y - mean)[..., None], upper=False)
        value = self._log_density(L, whitened[..., 0].square().sum(-1))
        return value if failed is None else torch.where(failed, -torch.inf, value)

    def value_and_gradient(self, theta: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """log p(y | X, θ), (C,), and its gradient by name, by the trace formula, without autograd.

        ∂/∂θ = ½ tr((α αᵀ − Σ⁻¹) ∂Σ/∂θ), α = Σ⁻¹ (y − m). Where Σ has no Cholesky factor the value
        is −inf and the gradient 0.
        """
        K, pull_back = self.kernel.covariance_and_pullback(theta, self._pairs)
        L, failed = cholesky(_with_noise(K, theta["noise"]))
        residual = (self.y - mean_values(theta, self.X)).expand(len(K), -1)
        inverse = torch.cholesky_inverse(L)
        alpha = (inverse @ residual[..., None])[..., 0]
        value = self._log_density(L, (residual * alpha).sum(-1))
        G = 0.5 * (alpha[..., None] * alpha[..., None, :] - inverse)
        gradients = pull_back(G)
        gradients["noise"] = G.diagonal(dim1=-2, dim2=-1).sum(-1)
        gradients |= mean_gradients(theta, self.X, alpha)
        if failed is not None:
            value = torch.where(failed, -torch.inf, value)
            gradients = {
                name: torch.where(failed.reshape(-1, *[1] * (g.dim() - 1)), 0.0, g)
                for name, g in gradients.items()
            }
        return value, gradients

    def _log_density(self, L: Tensor, distance: Tensor) -> Tensor:
        half_log_det = L.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * distance - half_log_det - 0.5 * len(self.y) * math.log(2 * math.pi)


def _with_noise(K: Tensor, noise: Tensor) -> Tensor:
    """K + σ_n² I."""
    return K + torch.diag_embed(noise[:, None].expand(-1, K.shape[-1]))


class HyperPosterior:
    """log p(y | X, θ) [+ log p(θ) [+ log |dθ/du|]] as a function of u, vectorised over points.

    Without the prior this is the log evidence alone; the Jacobian makes it a density of u.
    """

    def __init__(self, gp: GPModel, *, prior: bool = True, jacobian: bool = True) -> None:
        self.gp, self.prior, self.jacobian = gp, prior, jacobian
        self.size = gp.hyperparameters.size
        self._chunk = max(1, _MAX_ELEMENTS // len(gp.y) ** 2)

    @torch.no_grad()
    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """Value, (C,), nats, and gradient, (C, p), at u, (C, p); −inf where it is not defined."""
        parts = [self._evaluate(part) for part in u.to(self.gp.X).split(self._chunk)]
        return torch.cat([v for v, _ in parts]), torch.cat([g for _, g in parts])

    def _evaluate(self, u: Tensor) -> tuple[Tensor, Tensor]:
        hyper = self.gp.hyperparameters
        theta = hyper.constrain(u)
        value, gradients = self.gp.evidence.value_and_gradient(theta)
        gradient = hyper.pull_back(u, theta, gradients)
        if self.prior:
            log_prior, slope = hyper.log_prior(u, theta, jacobian=self.jacobian)
            value, gradient = value + log_prior, gradient + slope
        if not bool((value + gradient.sum(-1)).isfinite().all()):
            good = value.isfinite() & gradient.isfinite().all(-1)
            value = torch.where(good, value, -torch.inf)
            gradient = torch.where(good[:, None], gradient, 0.0)
        return value, gradient
