"""p(f* | y, θ_s) in closed form, for every draw θ_s of the hyper-parameters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.kernels import Pairs
from gp_bo.means import mean_values
from gp_bo.model import GPModel

__all__ = ["Conditional", "draw_functions"]

_Theta = Mapping[str, Tensor]
_Factor = tuple[Tensor, Tensor]  # L, and the weights Σ⁻¹ (y − m)

_MAX_ELEMENTS = 2**22  # numbers of one chunk's covariances
_MAX_KEPT = 2**24  # numbers of Cholesky factors that are kept
_MAX_DRAWN = 2**24  # numbers of the covariances of one chunk of functions that are drawn


class Conditional:
    """m_s(x) = m + k*ᵀ Σ⁻¹ (y − m), Σ_s(x, x') = k(x, x') − k*ᵀ Σ⁻¹ k*'.

    Rasmussen & Williams (2006), eq. 2.25 and 2.26. Differentiable in the inputs; memory is bounded
    by going through draws and inputs in chunks. Hyper-parameters θ by name, (S, \\*shape), and all
    inputs are moved to where the data of the model are.
    """

    def __init__(self, gp: GPModel, theta: _Theta) -> None:
        self.gp = gp
        self.theta = {name: value.to(gp.X) for name, value in theta.items()}
        self.num_draws = len(next(iter(self.theta.values())))

    @cached_property
    def _kept(self) -> _Factor:
        with torch.no_grad():
            return self.gp.evidence.factor(self.theta)

    def _chunks(self, indices: Tensor | None, size: int) -> Iterator[tuple[_Theta, _Factor]]:
        """θ with its factors, in pieces whose covariances hold at most ``_MAX_ELEMENTS``."""
        indices = torch.arange(self.num_draws) if indices is None else indices
        keep = self.num_draws * len(self.gp.y) ** 2 <= _MAX_KEPT
        for part in indices.to(self.gp.device).split(max(1, _MAX_ELEMENTS // max(1, size))):
            theta = {name: value[part] for name, value in self.theta.items()}
            if keep:
                L, weights = (kept[part] for kept in self._kept)
            else:
                with torch.no_grad():
                    L, weights = self.gp.evidence.factor(theta)
            yield theta, (L, weights)

    def marginal(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and variances of f*, each (S, M), at inputs (M, d), of all draws or some."""
        n, Xs = len(self.gp.y), Xs.to(self.gp.X)
        means, variances = [], []
        for theta, factor in self._chunks(indices, n * max(n, min(len(Xs), 256))):
            columns = []
            for part in Xs.split(max(1, _MAX_ELEMENTS // (n * len(factor[1])))):
                mean, left, right = self._cross(theta, factor, part)
                variance = self.gp.kernel.variance(theta, part) - (left * right).sum(1)
                columns.append((mean, variance.clamp_min(0.0)))
            means.append(torch.cat([m for m, _ in columns], -1))
            variances.append(torch.cat([v for _, v in columns], -1))
        return torch.cat(means), torch.cat(variances)

    def joint(self, Xs: Tensor, *, indices: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means (S, M) and covariances (S, M, M) of f*."""
        Xs = Xs.to(self.gp.X)
        means, covariances = [], []
        for theta, factor in self._chunks(indices, max(len(Xs), len(self.gp.y)) ** 2):
            mean, left, right = self._cross(theta, factor, Xs)
            prior = self.gp.kernel.covariance(theta, Pairs(Xs, Xs))
            means.append(mean)
            covariances.append(prior - left.mT @ right)
        return torch.cat(means), torch.cat(covariances)

    def _cross(self, theta: _Theta, factor: _Factor, Xs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Means (C, M), and two (C, n, M) by whose product the data reduce the covariance."""
        cross = self.gp.kernel.covariance(theta, Pairs(self.gp.X, Xs))
        mean = (factor[1][:, None] @ cross)[:, 0] + mean_values(theta, Xs)
        return mean, *self._reduced(factor, cross)

    def _reduced(self, factor: _Factor, cross: Tensor) -> tuple[Tensor, Tensor]:
        """L⁻¹ k*, twice."""
        whitened = torch.linalg.solve_triangular(factor[0], cross, upper=False)
        return whitened, whitened


def draw_functions(
    conditional: Conditional,
    Xs: Tensor,
    *,
    chosen: Tensor,
    normal: Tensor,
    extra: Tensor,
    joint: bool,
) -> Tensor:
    """f_i = m_s + L_s ε_i with L_s L_sᵀ = Σ_s + extra_s I and s = chosen_i: (n, M), scaled units.

    Each function has a draw of θ, ``chosen``, (n,), and ε, ``normal``, (n, M); ``extra``, (S,), is
    σ_s² for measurements, 0 for the function. Where inputs, (M, d), are not drawn together, L_s is
    the root of the diagonal alone.
    """
    used, position = chosen.unique(return_inverse=True)
    drawn = torch.empty_like(normal)
    size = max(1, _MAX_DRAWN // len(Xs) ** (2 if joint else 1))
    for start in range(0, len(used), size):
        part = used[start : start + size]
        own = (position >= start) & (position < start + len(part))
        which = position[own] - start
        if joint:
            means, covariances = conditional.joint(Xs, indices=part)
            L = _root(covariances + torch.diag_embed(extra[part, None].expand_as(means)))
            spread = (L[which] @ normal[own][..., None])[..., 0]
        else:
            means, variances = conditional.marginal(Xs, indices=part)
            spread = (variances + extra[part, None]).sqrt()[which] * normal[own]
        drawn[own] = means[which] + spread
    return drawn


def _root(covariances: Tensor) -> Tensor:
    """L; where there is none, by eigenvalues, those that rounding made negative taken as 0."""
    L, failed = cholesky(covariances)
    if failed is None:
        return L
    values, vectors = torch.linalg.eigh(covariances)
    root = vectors * values.clamp_min(0.0).sqrt()[..., None, :]
    return torch.where(failed[:, None, None], root, L)
