"""Functions drawn from p(f* | y, θ_s), in chunks over the draws of θ."""

from __future__ import annotations

import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.conditional import Conditional

__all__ = ["draw_functions"]

_MAX_ELEMENTS = 2**24  # numbers of one chunk's covariances


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
    size = max(1, _MAX_ELEMENTS // len(Xs) ** (2 if joint else 1))
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
