"""Pixels in (0, 1) with a Beta density."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import LEBESGUE_UNIT, Likelihood, PixelDistribution, widened

__all__ = ["Beta", "BetaPixels"]

_START = 2.0  # α + β of the outputs for a mean


class Beta(Likelihood):
    r"""Pixels inside (0, 1), with α, β = floor + softplus of the outputs.

    .. math:: p(x | z) = \prod_d \frac{x_d^{α_d − 1} (1 − x_d)^{β_d − 1}}{B(α_d, β_d)}

    At pixels of exactly 0 or 1 the density is infinite, or 0. Pixels are therefore clamped to
    [ε, 1 − ε], and since the number hangs on ε, the measure names it: Lebesgue on [0, 1], pixels
    clamped to [ε, 1 − ε]. With ε = 0 nothing is clamped, pixels at 0 or 1 are refused, and the
    density of dequantised pixels is that of the pixels themselves.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    epsilon
        ε, in [0, ½).
    floor
        Smallest α and β.
    concentration
        Fixed (α, β) for all pixels, instead of those of the decoder. Then p(x | z) is the same for
        every z: nothing is learned, so it must be allowed in so many words.
    allow_ignoring_z
        Allow a fixed concentration.

    Raises
    ------
    UsageError
        If ε, the floor or the concentration are out of range, or z would be ignored unasked.
    """

    name = "beta"
    preparation = "dequantised"
    on_unit_interval = "the Beta likelihood"

    def __init__(
        self,
        data_shape: tuple[int, ...],
        *,
        epsilon: float = 1e-3,
        floor: float = 1e-3,
        concentration: Sequence[float] | None = None,
        allow_ignoring_z: bool = False,
    ) -> None:
        super().__init__(data_shape)
        if not 0 <= epsilon < 0.5:
            raise UsageError(f"epsilon, to which pixels are clamped, is in [0, 0.5); got {epsilon}")
        if not 0 < floor < 1:
            raise UsageError(f"the floor of α and β must be in (0, 1); got {floor}")
        self.epsilon = epsilon
        self.floor = floor
        self.concentration = None if concentration is None else _two_positive(concentration)
        self.allow_ignoring_z = allow_ignoring_z
        if self.concentration is not None and not allow_ignoring_z:
            alpha, beta = self.concentration
            raise UsageError(
                f"with a fixed concentration p(x | z) is Beta({alpha:g}, {beta:g}) whatever z is, "
                "so the model ignores z and learns nothing: leave concentration out to take α(z) "
                "and β(z) from the decoder, or set allow_ignoring_z"
            )
        self.num_parameters = 2 if concentration is None else 1
        self.measure = LEBESGUE_UNIT
        if epsilon:
            self.measure += f", pixels clamped to [ε, 1 − ε], ε = {epsilon:g}"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Beta(α, β) of every pixel."""
        parts = outputs.unbind(-1 - len(self.data_shape))
        if self.concentration is not None:
            alpha, beta = (torch.full_like(parts[0], value) for value in self.concentration)
        else:
            alpha, beta = (self.floor + F.softplus(part) for part in parts)
        return BetaPixels(alpha, beta, epsilon=self.epsilon)

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Outputs of the mean image, within [0.001, 0.999], with α + β = 2."""
        if self.concentration is not None:
            return torch.zeros_like(mean).unsqueeze(0)  # whatever they are, z is ignored
        least = max(1e-3, self.floor)
        inside = widened(mean).clamp(least, 1 - least)
        both = torch.stack([inside, 1 - inside]) * _START - self.floor
        return torch.log(torch.expm1(both)).to(mean.dtype)

    def check_seen(self, seen: Tensor) -> None:
        """For ε = 0 every seen pixel must lie inside (0, 1)."""
        if self.epsilon == 0 and bool(((seen == 0) | (seen == 1)).any()):
            raise UsageError(
                "with epsilon = 0 the Beta likelihood cannot have pixels of exactly 0 or 1, where "
                "its density may be infinite: dequantise them, or give an epsilon to clamp them to"
            )

    def why_no_bits(self, *, preparation: str, levels: int | None) -> str:
        """Only what clamps nothing is a density of the dequantised pixels themselves."""
        if self.epsilon:
            return (
                "a density at clamped pixels is not of the dequantised ones; take epsilon = 0 "
                "and dequantise them"
            )
        return super().why_no_bits(preparation=preparation, levels=levels)


def _two_positive(values: Sequence[float]) -> tuple[float, float]:
    if len(values) != 2 or not all(v > 0 and math.isfinite(v) for v in values):
        raise UsageError(f"a fixed concentration is two positive numbers (α, β); got {values}")
    return float(values[0]), float(values[1])


class BetaPixels(PixelDistribution):
    """Beta(α, β), its density taken at pixels clamped to [ε, 1 − ε], its draws clamped likewise.

    log p(x) = (α − 1) log x + (β − 1) log(1 − x) − log B(α, β), nats, in float64: the three log
    Gammas of log B cancel. With ε = 0 pixels are clamped to the floating-point numbers inside (0,
    1).

    >>> arch = BetaPixels(torch.tensor(2.0), torch.tensor(2.0), epsilon=0.0)
    >>> round(float(arch.log_prob(torch.tensor(0.5)).exp()), 6)
    1.5
    """

    arg_constraints = {  # noqa: RUF012
        "alpha": constraints.positive,
        "beta": constraints.positive,
    }

    def __init__(
        self, alpha: Tensor, beta: Tensor, *, epsilon: float, validate_args: bool | None = None
    ) -> None:
        self.alpha, self.beta, self.epsilon = alpha, beta, epsilon
        super().__init__(alpha.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """α / (α + β), of the unclamped pixel."""
        return self.alpha / (self.alpha + self.beta)

    @property
    def variance(self) -> Tensor:
        """α β / ((α + β)² (α + β + 1)), of the unclamped pixel."""
        mean = self.mean
        return mean * (1 - mean) / (self.alpha + self.beta + 1)

    def _log_prob(self, value: Tensor) -> Tensor:
        """Log-density at the clamped pixel."""
        alpha, beta = widened(self.alpha), widened(self.beta)
        x = widened(self._clamped(value))
        log_b = torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
        return (alpha - 1) * torch.log(x) + (beta - 1) * torch.log1p(-x) - log_b

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A draw, clamped: σ(log G_α − log G_β) of two Gamma draws."""
        shape = self._extended_shape(sample_shape)
        with torch.no_grad():
            odds = _log_gamma_draw(self.alpha, shape) - _log_gamma_draw(self.beta, shape)
            return self._clamped(torch.sigmoid(odds).to(self.alpha.dtype))

    def _clamped(self, x: Tensor) -> Tensor:
        precision = torch.finfo(x.dtype)
        return x.clamp(
            max(self.epsilon, precision.tiny), min(1 - self.epsilon, 1 - precision.eps / 2)
        )


def _log_gamma_draw(concentration: Tensor, shape: torch.Size) -> Tensor:
    """log G, G ~ Gamma(α), as log G_{α + 1} + log U / α: G itself is 0 in floats for small α."""
    alpha = widened(concentration).expand(shape)
    uniform = torch.rand_like(alpha).clamp_min(torch.finfo(alpha.dtype).tiny)
    larger = dist.Gamma(alpha + 1, torch.ones_like(alpha), validate_args=False).sample()
    return larger.log() + uniform.log() / alpha
