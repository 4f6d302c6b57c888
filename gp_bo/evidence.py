"""log p(y | X, θ) of a Gaussian process, and its gradient, for many θ at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cached_property

import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.kernels import Kernel, Pairs
from gp_bo.means import mean_gradients, mean_values
from gp_bo.scaling import far_origin

__all__ = ["Evidence"]


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
        weights = torch.cholesky_solve((self.y - mean)[..., None], L)[..., 0]
        return L, weights

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
