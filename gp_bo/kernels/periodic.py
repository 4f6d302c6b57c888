"""The periodic kernel of MacKay (1998)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from gp_bo.kernels.kernel import HyperParameter, Pullback, ScaledLeaf, Theta, log_normal
from gp_bo.kernels.pairs import Pairs

__all__ = ["Periodic"]


@dataclass(frozen=True)
class Periodic(ScaledLeaf):
    """k(x, x') = σ² exp(−2 Σ_d sin²(π (x_d − x'_d) / p_d) / ℓ_d²).

    The length-scale ℓ has no unit; the period p has the input's.
    """

    name = "periodic"

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """ℓ and p, (d,) or (), and σ², ()."""
        shape = (dim,) if self.ard else ()
        return [
            HyperParameter("lengthscale", shape, log_normal(0.0, 1.0)),
            HyperParameter("period", shape, log_normal(math.log(0.5), 0.7), 1),
            *self._variance(),
        ]

    def _form(self, theta: Theta, pairs: Pairs) -> tuple[Tensor, Pullback]:
        names = ("lengthscale", "period")
        each = (self._per_input(theta[name], pairs.dim)[..., None, None] for name in names)
        lengthscale, period = each
        angle = math.pi * pairs.differences / period  # (C, d, n, m)
        square = angle.sin().square()
        k = (-2 * (square / lengthscale.square()).sum(1)).exp()

        def pullback(H: Tensor) -> dict[str, Tensor]:
            by_lengthscale = 4 * square * lengthscale.pow(-3)
            by_period = 2 * (2 * angle).sin() * angle / (period * lengthscale.square())
            slopes = {"lengthscale": by_lengthscale, "period": by_period}
            inner = (H * k)[:, None]
            return {n: self._collect((inner * slope).sum((-1, -2))) for n, slope in slopes.items()}

        return k, pullback
