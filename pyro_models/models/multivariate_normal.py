"""A multivariate Normal over one datum of any shape, with exact marginals over seen pixels."""

from __future__ import annotations

import math
from copy import copy

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

__all__ = ["ImageMultivariateNormal"]


class ImageMultivariateNormal(TorchDistribution):
    """N(x; μ, L Lᵀ) over events of shape ``event_shape``, flattened inside: μ (\\*batch, D).

    Under a mask, True where seen and broadcastable to (\\*batch, \\*event_shape), the unseen pixels
    are integrated out: with S the seen set, the density is N(x_S; μ_S, Σ_SS), from Σ with unseen
    rows and columns replaced by those of the identity.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    has_rsample = True

    def __init__(
        self,
        loc: Tensor,
        scale_tril: Tensor,
        event_shape: tuple[int, ...],
        *,
        mask: Tensor | None = None,
    ) -> None:
        self._flat = dist.MultivariateNormal(loc, scale_tril=scale_tril, validate_args=False)
        self._seen = None if mask is None else mask.flatten(-len(event_shape))
        batch = self._flat.batch_shape
        if mask is not None:
            batch = torch.broadcast_shapes(batch, mask.shape[: -len(event_shape)])
        super().__init__(batch, torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """All real arrays of the event shape."""
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """μ, (\\*batch, \\*event_shape)."""
        return self._of_event(self._flat.mean)

    @property
    def variance(self) -> Tensor:
        """diag(L Lᵀ), (\\*batch, \\*event_shape)."""
        return self._of_event(self._flat.variance)

    def _of_event(self, flat: Tensor) -> Tensor:
        return flat.unflatten(-1, self.event_shape).expand(self.batch_shape + self.event_shape)

    def expand(
        self, batch_shape: torch.Size, _instance: TorchDistribution | None = None
    ) -> ImageMultivariateNormal:
        """The same distribution with a larger batch shape; nothing is copied."""
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws (\\*sample_shape, \\*batch, \\*event_shape)."""
        flat = self._flat.expand(self.batch_shape)
        return flat.rsample(sample_shape).unflatten(-1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log N(x_S; μ_S, Σ_SS), (\\*batch,), nats."""
        with torch.autocast(value.device.type, enabled=False):
            x = value.flatten(-len(self.event_shape))
            if self._seen is None:
                log_prob = self._flat.log_prob(x)
            else:
                chol, residual = self._seen_part(x, self._seen, self._flat.loc)
                whitened = torch.linalg.solve_triangular(chol, residual.unsqueeze(-1), upper=False)
                log_det = chol.diagonal(dim1=-2, dim2=-1).log().sum(-1)
                constant = 0.5 * self._seen.sum(-1, dtype=x.dtype) * math.log(2 * math.pi)
                log_prob = -0.5 * whitened.squeeze(-1).square().sum(-1) - log_det - constant
        return log_prob.expand(torch.broadcast_shapes(self.batch_shape, log_prob.shape))

    def completed(self, value: Tensor, *, draw: bool = False) -> Tensor:
        """E[x | x_S], or a draw from p(x | x_S), (\\*batch, \\*event_shape), for the mask's S.

        v + Σ_{:S} Σ_SS⁻¹ (x − v)_S, with v = μ for the mean and v ~ N(μ, Σ) for a draw (Matheron's
        rule). ``value`` is x, finite also where it is unseen.
        """
        with torch.autocast(value.device.type, enabled=False):
            v = self.rsample().flatten(-len(self.event_shape)) if draw else self._flat.loc
            if self._seen is None:
                return value.expand(self.batch_shape + self.event_shape)
            chol, residual = self._seen_part(value.flatten(-len(self.event_shape)), self._seen, v)
            tril = self._flat.scale_tril
            solved = torch.cholesky_solve(residual.unsqueeze(-1), chol)  # 0 where unseen
            completed = v + (tril @ (tril.mT @ solved)).squeeze(-1)
            return completed.unflatten(-1, self.event_shape)

    def _seen_part(self, x: Tensor, seen: Tensor, loc: Tensor) -> tuple[Tensor, Tensor]:
        """Cholesky factor of Σ with identity where unseen, and x − loc with 0 there."""
        m = seen.to(loc.dtype)
        tril = self._flat.scale_tril
        covariance = tril @ tril.mT * (m.unsqueeze(-1) * m.unsqueeze(-2))
        chol = torch.linalg.cholesky(covariance + torch.diag_embed(1 - m))
        return chol, torch.where(seen, x - loc, x.new_zeros(()))
