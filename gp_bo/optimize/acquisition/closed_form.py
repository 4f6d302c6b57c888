"""Acquisition functions with a closed form: expected and probable improvement, confidence bounds.

All are of a function f that is minimised, and are themselves to be maximised. Each is averaged over
the draws of the hyper-parameters θ: E_θ[a_θ(z)].
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from gp_bo.optimize.acquisition.multistart import maximize_by_multistart
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models.errors import UsageError, in_one_line

__all__ = [
    "LogExpectedImprovement",
    "Maximized",
    "ProbabilityOfImprovement",
    "UpperConfidenceBound",
    "log_h",
]

_LOG_SQRT_2PI = 0.5 * math.log(2 * math.pi)
_LOG_SQRT_PI_2 = 0.5 * math.log(math.pi / 2)
_FAR = -50.0  # below it the asymptotic series has all the digits of float64


def log_h(u: Tensor) -> Tensor:
    """log(φ(u) + u Φ(u)), to full precision however small u is; u of any shape, float64.

    With t = |u|: for u ≤ −1, h = φ(u) (1 − t √(π/2) erfcx(t/√2)); for u < −50, the series
    h = φ(u) t⁻² (1 − 3 t⁻² + 15 t⁻⁴ − 105 t⁻⁶) (Ament et al. 2023, arXiv:2310.20708, equation 14).

    Examples
    --------
    >>> log_h(torch.tensor([0.0, -40.0], dtype=torch.float64))
    tensor([  -0.9189, -808.2986], dtype=torch.float64)
    """
    one = torch.ones_like(u)
    near = torch.where(u > -1, u, one)
    direct = torch.exp(-0.5 * near**2 - _LOG_SQRT_2PI) + near * torch.special.ndtr(near)
    t = torch.where((u <= -1) & (u >= _FAR), -u, one)
    ratio = torch.log(torch.special.erfcx(t / math.sqrt(2)) * t) + _LOG_SQRT_PI_2
    middle = -0.5 * t**2 - _LOG_SQRT_2PI + torch.log(-torch.expm1(ratio))
    s = torch.where(u < _FAR, -u, -_FAR * one)
    r = s**-2
    far = -0.5 * s**2 - _LOG_SQRT_2PI - 2 * s.log() + torch.log1p(r * (-3 + r * (15 - 105 * r)))
    return torch.where(u > -1, direct.log(), torch.where(u < _FAR, far, middle))


class _Valued(ABC):
    """An acquisition function that has a value at each point: the largest is taken."""

    @abstractmethod
    def value(self, surrogate: Surrogate, z: Tensor) -> Tensor:
        """The values at points of the unit cube: (M, D) → (M,)."""

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """The point of the region where the function is largest, (D,)."""
        return maximize_by_multistart(lambda z: self.value(surrogate, z), region, seed=seed)


class Maximized(_Valued):
    """A function of one's own that is maximised.

    Parameters
    ----------
    function
        (surrogate, z) → (M,), differentiable, for points z (M, D) in the unit cube.
    """

    def __init__(self, function: Callable[[Surrogate, Tensor], Tensor]) -> None:
        self.function = function

    def value(self, surrogate: Surrogate, z: Tensor) -> Tensor:
        """(M, D) → (M,); a ``UsageError`` if the function gives something else."""
        name = getattr(self.function, "__name__", type(self.function).__name__)
        with in_one_line(f"the acquisition function {name}"):
            values = self.function(surrogate, z)
        if not isinstance(values, Tensor) or values.shape != (len(z),):
            shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
            raise UsageError(
                f"an acquisition function gives a value for each of {len(z)} points, a tensor of "
                f"shape ({len(z)},); got {shape}"
            )
        if z.requires_grad and not values.requires_grad:
            raise UsageError(
                "the values of an acquisition function are differentiable in z: compute them by "
                "torch, without detach()"
            )
        return values


class LogExpectedImprovement(_Valued):
    r"""The logarithm of the expected improvement on f⁺_θ, the least posterior mean at the data.

    .. math:: \log \E_θ \E[\max(0, f^+_θ − f(z))], \quad
       \E[\max(0, f^+ − f)] = σ\, h\Big(\frac{f^+ − m}{σ}\Big), \quad h(u) = φ(u) + u Φ(u)

    Of S draws the logarithm of the mean is taken, so that no
    draw's underflow flattens it (Ament et al. 2023).
    """

    def value(self, surrogate: Surrogate, z: Tensor) -> Tensor:
        """(M, D) → (M,)."""
        mean, variance = surrogate.moments(z)
        sigma = variance.sqrt()
        each = sigma.log() + log_h((surrogate.incumbent[:, None] - mean) / sigma)
        return each.logsumexp(0) - math.log(surrogate.draws)


class ProbabilityOfImprovement(_Valued):
    r"""The logarithm of the chance of any improvement on f⁺, the least posterior mean at the data.

    .. math:: \log \E_θ P(f(z) < f^+_θ) = \log \frac{1}{S} \sum_s Φ\Big(\frac{f^+_s − m_s}{σ_s}\Big)
    """

    def value(self, surrogate: Surrogate, z: Tensor) -> Tensor:
        """(M, D) → (M,)."""
        mean, variance = surrogate.moments(z)
        each = torch.special.log_ndtr((surrogate.incumbent[:, None] - mean) / variance.sqrt())
        return each.logsumexp(0) - math.log(surrogate.draws)


class UpperConfidenceBound(_Valued):
    r"""The confidence bound of −f, which is maximised.

    .. math:: \E_θ[−m_θ(z) + \sqrt{β}\, σ_θ(z)]

    Parameters
    ----------
    beta
        β, how much uncertainty counts; 4 unless given.
    """

    def __init__(self, *, beta: float = 4.0) -> None:
        if not (beta >= 0 and math.isfinite(beta)):
            raise UsageError(f"beta is 0 or more; got {beta}")
        self.beta = beta

    def value(self, surrogate: Surrogate, z: Tensor) -> Tensor:
        """(M, D) → (M,)."""
        mean, variance = surrogate.moments(z)
        return (math.sqrt(self.beta) * variance.sqrt() - mean).mean(0)
