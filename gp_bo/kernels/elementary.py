"""Elementary kernels: σ² κ(s) of a distance s = Σ_d (x_d − x'_d)² / ℓ_d²; periodic; linear."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gp_bo.kernels.kernel import (
    HyperParameter,
    Leaf,
    Pullback,
    ScaledLeaf,
    Theta,
    _Pullbacks,
    log_normal,
)
from gp_bo.kernels.pairs import Pairs

__all__ = ["RBF", "Linear", "Matern12", "Matern32", "Matern52", "Periodic", "RationalQuadratic"]

_TINY = 1e-60  # a square root of it is still a number whose gradient is finite


@dataclass(frozen=True)
class _Stationary(ScaledLeaf):
    """σ² κ(s): a kind says κ and its slope dκ/ds."""

    @abstractmethod
    def _kappa(self, s: Tensor, theta: Theta) -> Tensor: ...

    @abstractmethod
    def _slope(self, s: Tensor, k: Tensor, theta: Theta) -> Tensor:
        """Any finite value at s = 0 where κ has a kink, since ∂s/∂ℓ is 0 there."""

    def _extra_gradients(self, s: Tensor, k: Tensor, H: Tensor, theta: Theta) -> dict[str, Tensor]:
        """Gradients of what κ depends on besides s; H = ∂L/∂κ."""
        return {}

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """ℓ, (d,) or (), and σ², ()."""
        return [self._lengthscale(dim), *self._variance()]

    def _form(self, theta: Theta, pairs: Pairs) -> tuple[Tensor, Pullback]:
        lengthscale = self._per_input(theta["lengthscale"], pairs.dim)
        s = pairs.squared(lengthscale.pow(-2))
        k = self._kappa(s, theta)

        def pullback(H: Tensor) -> dict[str, Tensor]:
            by_square = pairs.contract(H * self._slope(s, k, theta))
            by_lengthscale = self._collect(by_square * -2 * lengthscale.pow(-3))
            return {"lengthscale": by_lengthscale, **self._extra_gradients(s, k, H, theta)}

        return k, pullback


@dataclass(frozen=True)
class RBF(_Stationary):
    r"""Smooth functions; also called squared exponential, s the squared scaled distance.

    .. math:: k(x, x') = σ^2 \exp(−s/2), \quad s = \sum_d (x_d − x'_d)^2 / ℓ_d^2

    Examples
    --------
    >>> import torch
    >>> from gp_bo.kernels.pairs import Pairs
    >>> X = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    >>> theta = {"lengthscale": X.new_ones(1, 1), "variance": X.new_tensor([2.0])}
    >>> RBF().covariance(theta, Pairs(X, X))[0].tolist()
    [[2.0, 1.2130613194252668], [1.2130613194252668, 2.0]]
    """

    name = "rbf"

    def _kappa(self, s: Tensor, theta: Theta) -> Tensor:
        return (-0.5 * s).exp()

    def _slope(self, s: Tensor, k: Tensor, theta: Theta) -> Tensor:
        return -0.5 * k


@dataclass(frozen=True)
class Matern12(_Stationary):
    r"""Continuous functions, nowhere differentiable, s the squared scaled distance.

    .. math:: k(x, x') = σ^2 \exp(−\sqrt{s})
    """

    name = "matern12"

    def _kappa(self, s: Tensor, theta: Theta) -> Tensor:
        return (-s.clamp_min(_TINY).sqrt()).exp()

    def _slope(self, s: Tensor, k: Tensor, theta: Theta) -> Tensor:
        return torch.where(s > _TINY, -0.5 * k / s.clamp_min(_TINY).sqrt(), 0.0)


@dataclass(frozen=True)
class Matern32(_Stationary):
    r"""Once differentiable functions, s the squared scaled distance.

    .. math:: k(x, x') = σ^2 (1 + \sqrt{3s}) \exp(−\sqrt{3s})
    """

    name = "matern32"

    def _kappa(self, s: Tensor, theta: Theta) -> Tensor:
        r = (3 * s).clamp_min(_TINY).sqrt()
        return (1 + r) * (-r).exp()

    def _slope(self, s: Tensor, k: Tensor, theta: Theta) -> Tensor:
        return -1.5 * (-(3 * s).sqrt()).exp()


@dataclass(frozen=True)
class Matern52(_Stationary):
    r"""Twice differentiable functions, s the squared scaled distance.

    .. math:: k(x, x') = σ^2 \Big(1 + \sqrt{5s} + \frac{5s}{3}\Big) \exp(−\sqrt{5s})
    """

    name = "matern52"

    def _kappa(self, s: Tensor, theta: Theta) -> Tensor:
        r = (5 * s).clamp_min(_TINY).sqrt()
        return (1 + r + 5 / 3 * s) * (-r).exp()

    def _slope(self, s: Tensor, k: Tensor, theta: Theta) -> Tensor:
        r = (5 * s).sqrt()
        return -5 / 6 * (1 + r) * (-r).exp()


@dataclass(frozen=True)
class RationalQuadratic(_Stationary):
    r"""RBF kernels of many length-scales, mixed; RBF as α → ∞, s the squared scaled distance.

    .. math:: k(x, x') = σ^2 \Big(1 + \frac{s}{2α}\Big)^{−α}
    """

    name = "rational_quadratic"

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """ℓ, σ² and α, ()."""
        alpha = HyperParameter("alpha", (), log_normal(math.log(2.0), 1.0))
        return [*super().own_hyperparameters(dim), alpha]

    def _kappa(self, s: Tensor, theta: Theta) -> Tensor:
        alpha = theta["alpha"][:, None, None]
        return (-alpha * (s / (2 * alpha)).log1p()).exp()

    def _slope(self, s: Tensor, k: Tensor, theta: Theta) -> Tensor:
        return -0.5 * k / (1 + s / (2 * theta["alpha"][:, None, None]))

    def _extra_gradients(self, s: Tensor, k: Tensor, H: Tensor, theta: Theta) -> dict[str, Tensor]:
        """∂κ/∂α = κ (t / (1 + t) − log(1 + t)), t = s / 2α."""
        t = s / (2 * theta["alpha"][:, None, None])
        return {"alpha": (H * k * (t / (1 + t) - t.log1p())).sum((-1, -2))}


@dataclass(frozen=True)
class Periodic(ScaledLeaf):
    r"""Functions that repeat themselves.

    .. math:: k(x, x') = σ^2 \exp\Big(−2 \sum_d \frac{\sin^2(π (x_d − x'_d) / p_d)}{ℓ_d^2}\Big)

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


@dataclass(frozen=True)
class Linear(Leaf):
    r"""Linear functions: the prior of Σ_d w_d x_d with w_d ~ N(0, σ_d²).

    .. math:: k(x, x') = \sum_d σ_d^2 x_d x'_d

    With scaled inputs the origin is the lower corner of their box. It keeps its variances in a
    product, where the other factors lose theirs.
    """

    name = "linear"
    can_be_unscaled = False

    def own_hyperparameters(self, dim: int) -> list[HyperParameter]:
        """σ², (d,) or ()."""
        return [HyperParameter("variance", (dim,) if self.ard else (), log_normal(0.0, 1.0), -2, 2)]

    def _evaluate(self, thetas: Sequence[Theta], pairs: Pairs) -> tuple[Tensor, _Pullbacks]:
        variance = self._per_input(thetas[0]["variance"], pairs.dim)
        K = (pairs.X * variance[:, None]) @ pairs.Xs.mT
        return K, lambda G: [{"variance": self._collect(((G @ pairs.Xs) * pairs.X).sum(-2))}]

    def _diagonal(self, thetas: Sequence[Theta], X: Tensor) -> Tensor:
        return self._per_input(thetas[0]["variance"], X.shape[1]) @ X.square().mT
