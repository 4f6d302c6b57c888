"""p(f* | y, θ_s) in closed form, for every draw θ_s of the hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from gp_bo.kernels import Pairs
from gp_bo.means import mean_values
from gp_bo.model import GPModel

__all__ = ["Conditional"]

_Named = dict[str, Tensor]

_MAX_ELEMENTS = 2**22  # numbers of one chunk's covariances
_MAX_KEPT = 2**24  # numbers of Cholesky factors that are kept


class Conditional:
    """m_s(x) = m + k*ᵀ Σ⁻¹ (y − m), Σ_s(x, x') = k(x, x') − k*ᵀ Σ⁻¹ k*'.

    Rasmussen & Williams (2006), eq. 2.25 and 2.26. Differentiable in the inputs; memory is bounded
    by going through draws and inputs in chunks.

    Parameters
    ----------
    gp
        The model with its data.
    theta
        Hyper-parameters by name, (S, \\*shape). They and all inputs are moved to where the data
        are.
    """

    def __init__(self, gp: GPModel, theta: Mapping[str, Tensor]) -> None:
        self.gp = gp
        self.theta = {name: value.to(gp.X) for name, value in theta.items()}
        self.num_draws = len(self.theta["noise"])

    @cached_property
    def _kept(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            return self.gp.evidence.factor(self.theta)

    def _chunks(
        self, indices: Tensor | None, size: int
    ) -> Iterator[tuple[dict[str, Tensor], dict[str, Tensor]]]:
        """θ with its factors, in pieces whose covariances hold at most ``_MAX_ELEMENTS``."""
        device = self.gp.device
        indices = torch.arange(self.num_draws) if indices is None else indices
        indices = indices.to(device)
        keep = self.num_draws * len(self.gp.y) ** 2 <= _MAX_KEPT
        for part in indices.split(max(1, _MAX_ELEMENTS // max(1, size))):
            theta = {name: value[part] for name, value in self.theta.items()}
            if keep:
                L, weights = (kept[part] for kept in self._kept)
            else:
                with torch.no_grad():
                    L, weights = self.gp.evidence.factor(theta)
            yield theta, {"L": L, "weights": weights}

    def marginal(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and variances of f*, each (S, M), at inputs (M, d), of all draws or some."""
        n, Xs = len(self.gp.y), Xs.to(self.gp.X)
        means, variances = [], []
        for theta, factor in self._chunks(indices, n * max(n, min(len(Xs), 256))):
            columns = [
                self._marginal(theta, factor, part)
                for part in Xs.split(max(1, _MAX_ELEMENTS // (n * len(factor["weights"]))))
            ]
            means.append(torch.cat([m for m, _ in columns], -1))
            variances.append(torch.cat([v for _, v in columns], -1))
        return torch.cat(means), torch.cat(variances)

    def joint(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means (S, M) and covariances (S, M, M) of f*."""
        Xs = Xs.to(self.gp.X)
        size = max(len(Xs), len(self.gp.y)) ** 2
        parts = [self._joint(theta, L, Xs) for theta, L in self._chunks(indices, size)]
        return torch.cat([m for m, _ in parts]), torch.cat([c for _, c in parts])

    def _cross(
        self, theta: Mapping[str, Tensor], factor: Mapping[str, Tensor], Xs: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means (C, M) and L⁻¹ k*, (C, n, M)."""
        cross = self.gp.kernel.covariance(theta, Pairs(self.gp.X, Xs))
        mean = (factor["weights"][:, None] @ cross)[:, 0]
        prior_mean = mean_values(theta, Xs)
        mean = mean if prior_mean is None else mean + prior_mean
        return mean, torch.linalg.solve_triangular(factor["L"], cross, upper=False)

    def _marginal(
        self, theta: Mapping[str, Tensor], factor: Mapping[str, Tensor], Xs: Tensor
    ) -> tuple[Tensor, Tensor]:
        mean, whitened = self._cross(theta, factor, Xs)
        variance = self.gp.kernel.variance(theta, Xs) - whitened.square().sum(1)
        return mean, variance.clamp_min(0.0)

    def _joint(
        self, theta: Mapping[str, Tensor], factor: Mapping[str, Tensor], Xs: Tensor
    ) -> tuple[Tensor, Tensor]:
        mean, whitened = self._cross(theta, factor, Xs)
        covariance = self.gp.kernel.covariance(theta, Pairs(Xs, Xs)) - whitened.mT @ whitened
        return mean, covariance
