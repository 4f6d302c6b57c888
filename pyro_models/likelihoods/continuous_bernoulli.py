"""Pixels in [0, 1] with the density that "Bernoulli on grey pixels" leaves out: its constant."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_models.likelihoods.likelihood import (
    LEBESGUE_UNIT,
    Likelihood,
    PixelDistribution,
    bisected,
    widened,
)

__all__ = ["ContinuousBernoulli", "ContinuousBernoulliPixels"]

_NEAR = 0.02  # |l| below which closed forms cancel and series in y = l/2 take over
_LARGEST = 1e3  # |l| of the outputs for a mean, which is then within 1/l of black or white


class ContinuousBernoulli(Likelihood):
    r"""Pixels in [0, 1], one number of the decoder for each: λ = σ(l).

    .. math:: p(x | z) = \prod_d C(l_d)\, λ_d^{x_d} (1 − λ_d)^{1 − x_d}

    The constant C(l) = l / tanh(l/2) makes the cross-entropy a density (Loaiza-Ganem & Cunningham
    2019). The mean is not λ: see :class:`ContinuousBernoulliPixels`.

    Measure: Lebesgue on [0, 1]. As l → ±∞ the density at exactly 0 or 1 grows like log |l|, so
    pixels should be dequantised, not left at grey levels.
    """

    name = "continuous_bernoulli"
    measure = LEBESGUE_UNIT
    preparation = "dequantised"
    on_unit_interval = "the continuous Bernoulli"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Continuous Bernoulli of every pixel."""
        return ContinuousBernoulliPixels(outputs.squeeze(-1 - len(self.data_shape)))

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Logits of the mean image, within ±1000, by bisection: the mean rises with the logit."""
        found = bisected(_mean, widened(mean), -_LARGEST, _LARGEST, steps=60)
        return found.to(mean.dtype).unsqueeze(0)


class ContinuousBernoulliPixels(PixelDistribution):
    """p(x) = l e^{l x} / (e^l − 1) on [0, 1]: the continuous Bernoulli of logit l, of any shape.

    Written as l (x − ½) − log(sinh(l/2) / (l/2)), which is smooth at l = 0 and clamps nothing.
    ``torch.distributions.ContinuousBernoulli`` clamps λ in (ε, 1 − ε) and is wrong by 0.2 nats at
    |l| = 20 in float32. Log-densities are returned in float64 (within 1e-6 nats for |l| ≤ 80 from
    float32 inputs); float32 has no such digits at −80.

    >>> uniform = ContinuousBernoulliPixels(torch.tensor(0.0))
    >>> float(uniform.log_prob(torch.tensor(0.3)).exp()), float(uniform.mean)
    (1.0, 0.5)
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012
    has_rsample = True

    def __init__(self, logits: Tensor, *, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """1/(1 − e^{−l}) − 1/l."""
        return _mean(widened(self.logits)).to(self.logits.dtype)

    @property
    def variance(self) -> Tensor:
        """1/l² − 1/(4 sinh²(l/2))."""
        near, y, far = _split(widened(self.logits))
        y2, a = y.square(), far.abs()
        series = (1 / 3 + y2 * (-1 / 15 + y2 * 2 / 189)) / 4
        e = torch.exp(-a)
        closed = a.reciprocal().square() - e / (1 - e).square()
        return torch.where(near, series, closed).to(self.logits.dtype)

    def _log_prob(self, value: Tensor) -> Tensor:
        """l (x − ½) − log(sinh(l/2) / (l/2)), nats, in float64."""
        logits = widened(self.logits)
        near, y, far = _split(logits)
        y2, a = y.square(), far.abs()
        terms = 1 / 6 + y2 * (-1 / 180 + y2 / 2835)
        log_sinhc = torch.where(near, y2 * terms, a / 2 + torch.log(-torch.expm1(-a) / a))
        return logits * (value.to(logits.dtype) - 0.5) - log_sinhc

    def icdf(self, value: Tensor) -> Tensor:
        """log(1 + u (e^l − 1)) / l."""
        logits = widened(self.logits)
        return _inverse_cdf(value.to(logits.dtype), logits).to(self.logits.dtype)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """By the inverse of the distribution function."""
        logits = widened(self.logits)
        shape = self._extended_shape(sample_shape)
        uniform = torch.rand(shape, dtype=logits.dtype, device=logits.device)
        tiny = torch.finfo(logits.dtype).eps
        return _inverse_cdf(uniform.clamp(tiny, 1 - tiny), logits).to(self.logits.dtype)


def _split(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where |l| is small; l/2 there, 0 elsewhere; l elsewhere, 1 there. No branch meets 0/0."""
    near = logits.abs() < _NEAR
    zero, one = torch.zeros_like(logits), torch.ones_like(logits)
    return near, torch.where(near, logits / 2, zero), torch.where(near, one, logits)


def _mean(logits: Tensor) -> Tensor:
    near, y, far = _split(logits)
    y2, a = y.square(), far.abs()
    terms = 1 / 3 + y2 * (-1 / 45 + y2 * 2 / 945)
    right = -1 / torch.expm1(-a) - 1 / a
    return torch.where(near, 0.5 + y * terms / 2, torch.where(far > 0, right, 1 - right))


def _inverse_cdf(u: Tensor, logits: Tensor) -> Tensor:
    """Series Σ_n κ_n(u) l^(n−1) / n! near 0, κ_n the cumulants of a Bernoulli(u)."""
    near = logits.abs() < 1e-3
    l = torch.where(near, logits, torch.zeros_like(logits))  # noqa: E741
    v = u * (1 - u)
    series = u + v * (l / 2 + l.square() / 6 * (1 - 2 * u) + l**3 / 24 * (1 - 6 * v))
    far = torch.where(near, torch.ones_like(logits), logits)
    a = far.abs()
    mirrored = torch.where(far > 0, 1 - u, u)  # x at l and u is 1 − x at −l and 1 − u
    few = mirrored < 0.5  # two forms of log(1 − v (1 − e^−a)), each without cancellation
    v = torch.where(few, mirrored, 0.5)
    left = (
        -torch.where(
            few,
            torch.log1p(v * torch.expm1(-a)),
            torch.log(torch.where(far > 0, u, 1 - u) + mirrored * torch.exp(-a)),
        )
        / a
    )
    return torch.where(near, series, torch.where(far > 0, 1 - left, left)).clamp(0, 1)
