"""Inducing points: what is known of a function, held at M inputs instead of all.

Titsias (2009), Variational learning of inducing variables; whitened as in Hensman, Matthews &
Ghahramani (2015).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.kernels import Pairs
from gp_bo.means import mean_values
from gp_bo.model import GPModel
from pyro_models import UsageError

__all__ = ["CHUNK", "InducingPoints", "SparseConditional"]

CHUNK = 4096
"""Rows whose covariances with Z are held at once."""


@dataclass(eq=False)
class InducingPoints:
    """q(v) = N(m, Λ⁻¹) of the whitened values v = L⁻¹ (f(Z) − m(Z)) at M inducing inputs.

    L Lᵀ = k(Z, Z), so the prior is p(v) = N(0, I). Z is (M, d) in scaled units, ``weighted_mean``
    Λ m, (M,), and ``precision`` Λ, (M, M).
    """

    Z: Tensor
    weighted_mean: Tensor
    precision: Tensor

    def moments(self) -> tuple[Tensor, Tensor]:
        """m, (M,), and a factor F with Λ⁻¹ = Fᵀ F, (M, M)."""
        L, _ = cholesky(self.precision)
        mean = torch.cholesky_solve(self.weighted_mean[:, None], L)[:, 0]
        return mean, torch.linalg.inv(L)

    def project(self, gp: GPModel, theta: Mapping[str, Tensor], X: Tensor) -> Tensor:
        """A = L⁻¹ k(Z, X), (M, B); differentiable in θ and Z."""
        own = Pairs(self.Z, self.Z, expanded=True, origin=gp.origin)
        L, failed = cholesky(gp.kernel.covariance(theta, own))
        if failed is not None:
            raise UsageError(
                "the covariance of the inducing inputs is singular: take fewer, or a smaller lr"
            )
        pairs = Pairs(self.Z, X, expanded=True, origin=gp.origin)
        cross = gp.kernel.covariance(theta, pairs)
        return torch.linalg.solve_triangular(L, cross, upper=False)[0]


class SparseConditional:
    """q(f*) = ∫ p(f* | v) q(v) dv in place of p(f* | y); the face of ``Conditional``, one draw."""

    def __init__(self, gp: GPModel, theta: Mapping[str, Tensor], inducing: InducingPoints) -> None:
        self.gp, self.inducing = gp, inducing
        self.theta = {name: value.to(gp.X) for name, value in theta.items()}
        self.num_draws = 1
        with torch.no_grad():
            self._mean, self._factor = inducing.moments()

    def marginal(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and variances of f*, each (S, M*)."""
        parts = [self._marginal(part) for part in Xs.to(self.gp.X).split(CHUNK)]
        mean, variance = (torch.cat(column)[None] for column in zip(*parts, strict=True))
        return self._repeat(mean, indices), self._repeat(variance, indices)

    def joint(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means (S, M*) and covariances (S, M*, M*) of f*."""
        Xs = Xs.to(self.gp.X)
        A = self.inducing.project(self.gp, self.theta, Xs)
        spread = self._factor @ A
        prior = self.gp.kernel.covariance(self.theta, Pairs(Xs, Xs))[0]
        covariance = prior - A.mT @ A + spread.mT @ spread
        mean = self._mean @ A + mean_values(self.theta, Xs)
        return self._repeat(mean, indices), self._repeat(covariance[None], indices)

    def _marginal(self, Xs: Tensor) -> tuple[Tensor, Tensor]:
        A = self.inducing.project(self.gp, self.theta, Xs)
        spread = (self._factor @ A).square().sum(0)
        prior = self.gp.kernel.variance(self.theta, Xs)[0]
        variance = (prior - A.square().sum(0)).clamp_min(0.0) + spread
        return self._mean @ A + mean_values(self.theta, Xs)[0], variance

    @staticmethod
    def _repeat(value: Tensor, indices: Tensor | None) -> Tensor:
        return value if indices is None else value[indices.to(value.device)]
