"""What an acquisition function asks of a GP: its posterior under each draw of θ, differentiable."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from pyro_models import UsageError

__all__ = ["Surrogate"]

VARIANCE_FLOOR = 1e-14  # of a standardised function: rounding leaves no less


@dataclass(frozen=True)
class Surrogate:
    """S Gaussian processes with the same data, one for each draw of the hyper-parameters θ.

    m_s(z) = μ_s + k_s(z, X) (K_s + σ_s² I)⁻¹ (y − μ_s) and
    v_s(z) = k_s(z, z) − k_s(z, X) (K_s + σ_s² I)⁻¹ k_s(X, z), of the function without noise.
    Points are moved to where the data are, and to their type.

    Attributes
    ----------
    covariance
        (a, D), (b, D) → (S, a, b).
    prior_variance
        (a, D) → (S, a): the diagonal of the above.
    prior_mean
        (a, D) → (S, a).
    noise
        σ_s², (S,).
    x
        (n, D), in the unit cube.
    y
        (n,) or, where each draw believes values of its own, (S, n): standardised, to be minimised.
    real
        How many of the n were observed; the others are believed.
    messages
        What the inference of θ did not reach.
    """

    covariance: Callable[[Tensor, Tensor], Tensor]
    prior_variance: Callable[[Tensor], Tensor]
    prior_mean: Callable[[Tensor], Tensor]
    noise: Tensor
    x: Tensor
    y: Tensor
    real: int = -1
    messages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.real < 0:
            object.__setattr__(self, "real", len(self.x))

    @property
    def device(self) -> torch.device:
        """Where the data are, and points are to be."""
        return self.x.device

    @property
    def draws(self) -> int:
        """S."""
        return len(self.noise)

    @cached_property
    def cholesky(self) -> Tensor:
        """(S, n, n): L of K + σ² I."""
        gram = self.covariance(self.x, self.x)
        eye = torch.eye(len(self.x), dtype=gram.dtype, device=gram.device)
        factor, failed = cholesky(gram + self.noise[:, None, None] * eye)
        if failed is not None:
            raise UsageError("the covariance of the data is singular under some draw of θ")
        return factor

    @cached_property
    def alpha(self) -> Tensor:
        """(S, n): (K + σ² I)⁻¹ (y − μ)."""
        residual = (self.y - self.prior_mean(self.x))[..., None]
        return torch.cholesky_solve(residual, self.cholesky)[..., 0]

    @cached_property
    def means_at_data(self) -> Tensor:
        """(S, n): m_s(x) = y − σ² (K + σ² I)⁻¹ (y − μ)."""
        return self.y - self.noise[:, None] * self.alpha

    @cached_property
    def incumbent(self) -> Tensor:
        """(S,): the least m_s over the points that were observed; the value to be improved on.

        Without noise this is the least value seen.
        """
        return self.means_at_data[:, : self.real].amin(1)

    def moments(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of f, (S, M) each, at points z of the unit cube, (M, D)."""
        z = z.to(self.x)
        mean, half = self.from_data(z)
        return mean, (self.prior_variance(z) - half.square().sum(1)).clamp_min(VARIANCE_FLOOR)

    def mixture(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of f over all draws, (M,) each, at points z (M, D)."""
        means, variances = self.moments(z)
        mean = means.mean(0)
        return mean, (variances + means.square()).mean(0) - mean.square()

    def from_data(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """m_s(z), (S, M), and L⁻¹ k(X, z), (S, n, M), whose products the data take off k(z, z)."""
        cross = self.covariance(self.x, z)
        mean = self.prior_mean(z) + (cross * self.alpha[..., None]).sum(1)
        return mean, torch.linalg.solve_triangular(self.cholesky, cross, upper=False)

    def joint(self, z: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """Mean (M,) and covariance (M, M) of f at all points together, under one draw of θ."""
        one = self.under(draw)
        mean, _ = one.moments(z)
        return mean[0], one.cross_covariance(z, z)[0]

    def cross_covariance(self, a: Tensor, z: Tensor) -> Tensor:
        """Posterior covariance of f at the rows of a (A, D) and of z (M, D): (S, A, M)."""
        a, z = a.to(self.x), z.to(self.x)
        left, right = (self.from_data(each)[1] for each in (a, z))
        return self.covariance(a, z) - left.mT @ right

    def under(self, draw: int) -> Surrogate:
        """The GP under one draw of θ alone."""
        only = slice(draw, draw + 1)
        return dataclasses.replace(
            self,
            covariance=lambda a, b: self.covariance(a, b)[only],
            prior_variance=lambda a: self.prior_variance(a)[only],
            prior_mean=lambda a: self.prior_mean(a)[only],
            noise=self.noise[only],
            y=self.y[only] if self.y.dim() == 2 else self.y,
        )

    def believing(self, z: Tensor) -> Surrogate:
        """With the points z (p, D) in the data, each draw's own mean for their values."""
        z = z.to(self.x)
        y = self.y.expand(self.draws, len(self.x))
        mean, _ = self.moments(z)
        return dataclasses.replace(
            self, x=torch.cat([self.x, z]), y=torch.cat([y, mean], 1), real=self.real
        )

    def best_points(self, count: int) -> Tensor:
        """(≤ count, D): points that were observed, least mean first."""
        return self.x[self.means_at_data[:, : self.real].mean(0).argsort()[:count]]
