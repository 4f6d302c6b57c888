"""The periodic kernel of MacKay (1998)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gp_bo.kernels.kernel import HyperParameter, Leaf, Theta, _Pullbacks, log_normal
from gp_bo.kernels.pairs import Pairs

__all__ = ["Periodic"]


@dataclass(frozen=True)
class Periodic(Leaf):
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

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        (theta,) = thetas
        per_input = [
            self._per_input(theta[n], pairs.dim)[..., None, None] for n in ("lengthscale", "period")
        ]
        lengthscale, period = per_input
        angle = math.pi * pairs.differences / period  # (C, d, n, m)
        square = angle.sin().square()
        k = (-2 * (square / lengthscale.square()).sum(1)).exp()
        variance = theta["variance"][:, None, None] if self.scaled else None

        def pullbacks(G: Tensor) -> list[dict[str, Tensor]]:
            H = (G * k if variance is None else G * variance * k)[:, None]
            by_lengthscale = 4 * square * lengthscale.pow(-3)
            by_period = 2 * (2 * angle).sin() * angle / (period * lengthscale.square())
            gradients = {
                "lengthscale": self._collect((H * by_lengthscale).sum((-1, -2))),
                "period": self._collect((H * by_period).sum((-1, -2))),
            }
            if variance is not None:
                gradients["variance"] = (G * k).sum((-1, -2))
            return [gradients]

        return k if variance is None else variance * k, pullbacks

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        ones = X.new_ones(len(thetas[0]["lengthscale"]), len(X))
        return ones * thetas[0]["variance"][:, None] if self.scaled else ones
