"""The linear kernel: Bayesian linear regression through the origin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from gp_bo.kernels.kernel import HyperParameter, Leaf, Theta, _Pullbacks, log_normal
from gp_bo.kernels.pairs import Pairs

__all__ = ["Linear"]


@dataclass(frozen=True)
class Linear(Leaf):
    """k(x, x') = Σ_d σ_d² x_d x'_d: the prior of Σ_d w_d x_d with w_d ~ N(0, σ_d²).

    With scaled inputs the origin is the lower corner of their box. It keeps its variances in a
    product, where the other factors lose theirs.
    """

    name = "linear"
    can_be_unscaled = False

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """σ², (d,) or ()."""
        shape = (dim,) if self.ard else ()
        return [HyperParameter("variance", shape, log_normal(0.0, 1.0), -2, 2)]

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        variance = self._per_input(thetas[0]["variance"], pairs.dim)
        K = (pairs.X * variance[:, None]) @ pairs.Xs.mT
        return K, lambda G: [{"variance": self._collect(((G @ pairs.Xs) * pairs.X).sum(-2))}]

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        return self._per_input(thetas[0]["variance"], X.shape[1]) @ X.square().mT
