"""Cholesky factors of covariances that rounding may have made indefinite."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["JITTERS", "cholesky"]

JITTERS = (1e-12, 1e-10, 1e-8, 1e-6)
"""What is added to the diagonal, relative to its mean, one after the other until it works."""


def cholesky(K: Tensor, *, jitters: Sequence[float] = JITTERS) -> tuple[Tensor, Tensor | None]:
    """Lower factors of matrices (…, n, n), each with the least jitter that it needs.

    Most need none. Jitters are relative to the mean of the diagonal, the least first. A matrix that
    is not finite, or that the largest does not mend, has a factor of NaN; where that is so is said
    by the second of the pair, (…) booleans, which is None where all went well.
    """
    if torch._C._functorch.is_batchedtensor(K):
        return _vectorized(K, jitters), None
    L, info = torch.linalg.cholesky_ex(K)
    if not info.any():  # a factor of NaN has info > 0
        return L, None
    eye = torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    with torch.no_grad():
        added, info = torch.zeros_like(K[..., 0, 0]), info.clone()
        for jitter in jitters:
            bad = info > 0
            held = K[bad]
            added[bad] = jitter * held.diagonal(dim1=-2, dim2=-1).mean(-1)
            info[bad] = torch.linalg.cholesky_ex(held + added[bad][:, None, None] * eye)[1]
            if not info.any():
                break
    # factored anew: a gradient through the attempt that failed is NaN
    L, info = torch.linalg.cholesky_ex(K + added[..., None, None] * eye)
    if not info.any():
        return L, None
    failed = info > 0
    L = torch.where(failed[..., None, None], torch.nan, L)
    return L, failed


def _vectorized(K: Tensor, jitters: Sequence[float]) -> Tensor:
    """The same under ``torch.func.vmap``, where no step can depend on values: all are tried."""
    eye = torch.eye(K.shape[-1], dtype=K.dtype, device=K.device)
    size = K.detach().diagonal(dim1=-2, dim2=-1).mean(-1)
    added, (L, info) = torch.zeros_like(size), torch.linalg.cholesky_ex(K)
    for jitter in jitters:
        added = torch.where(info > 0, jitter * size, added)
        L, info = torch.linalg.cholesky_ex(K + added[..., None, None] * eye)
    return torch.where((info > 0)[..., None, None], torch.nan, L)
