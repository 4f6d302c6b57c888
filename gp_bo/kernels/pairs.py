"""Differences between the rows of two sets of inputs, computed once for many hyper-parameters."""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

__all__ = ["Pairs"]

_MAX_STORED = 2**23  # numbers of squared differences that are kept


class Pairs:
    """Every x_i of one set, (n, d), with every x'_j of another, (m, d).

    The second are moved to where the first are; gradients flow to both.

    Parameters
    ----------
    expanded
        Squared distances as |a|² + |b|² − 2 aᵀb: a matrix product, several times faster where
        gradients flow to many inputs. Rounding is then that of the coordinates, not of differences.
    origin
        (d,), taken off the coordinates wherever squares are expanded; 0 unless given.
    """

    def __init__(
        self, X: Tensor, Xs: Tensor, *, expanded: bool = False, origin: Tensor | None = None
    ) -> None:
        self.X, self.Xs = X, Xs.to(X.device)
        self.shape, self.dim = (len(X), len(Xs)), X.shape[1]
        self._expanded, self._origin = expanded, origin
        self._stored = not expanded and len(X) * Xs.numel() <= _MAX_STORED

    @cached_property
    def differences(self) -> Tensor:
        """x_id − x'_jd, (d, n, m)."""
        return self.X.mT[:, :, None] - self.Xs.mT[:, None, :]

    @cached_property
    def _squares(self) -> Tensor:
        return self.differences.square().reshape(self.dim, -1)

    def squared(self, weights: Tensor) -> Tensor:
        """s_ij = Σ_d w_d (x_id − x'_jd)², (C, n, m), for weights (C, d)."""
        if self._stored:
            return (weights @ self._squares).reshape(-1, *self.shape)
        root = weights.sqrt()[:, None]
        if self._expanded:
            a, b = (each * root for each in self._centered)
            norms = a.square().sum(-1)[..., None] + b.square().sum(-1)[..., None, :]
            squared = torch.baddbmm(norms, a, b.mT, alpha=-2).clamp_min(0.0)
            if self.Xs is self.X:  # where rounding would show
                itself = torch.eye(self.shape[0], dtype=torch.bool, device=squared.device)
                squared = squared.masked_fill(itself, 0.0)
            return squared
        mode = "donot_use_mm_for_euclid_dist"
        return torch.cdist(self.X * root, self.Xs * root, compute_mode=mode).square()

    def contract(self, H: Tensor) -> Tensor:
        """Σ_ij H_ij (x_id − x'_jd)², (C, d), for H (C, n, m)."""
        if self._stored:
            return H.reshape(len(H), -1) @ self._squares.mT
        X, Xs = self._centered
        squares = H.sum(-1) @ X.square() + H.sum(-2) @ Xs.square()
        return squares - 2 * ((H @ Xs) * X).sum(-2)

    @cached_property
    def _centered(self) -> tuple[Tensor, Tensor]:
        """Both sets as seen from the origin, which differences do not depend on."""
        if self._origin is None:
            return self.X, self.Xs
        return self.X - self._origin, self.Xs - self._origin
