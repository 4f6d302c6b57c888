"""Pixels as rounded draws from a Gaussian."""

from __future__ import annotations

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F
from torch.special import log_ndtr, ndtr

from pyro_models.errors import UsageError
from pyro_models.likelihoods.levels import CountingLevels, level_of
from pyro_models.likelihoods.likelihood import PixelDistribution, bisected, widened

__all__ = ["DiscretizedGaussian", "DiscretizedGaussianPixels"]

_START = 0.1  # σ of the outputs for a mean
_NARROW = 5e-3  # where the next term of the series is below the rounding of float32
_REMOTE = 30.0  # in units of σ: from here on the series of log Φ has all digits of float64
_LOG_ROOT_TWO_PI = 0.5 * math.log(2 * math.pi)


class DiscretizedGaussian(CountingLevels):
    r"""Grey levels that are rounded from one Gaussian, h half a level.

    .. math:: p(x | z) = \prod_d \Big[Φ\Big(\frac{x_d + h − μ_d}{σ_d}\Big)
       − Φ\Big(\frac{x_d − h − μ_d}{σ_d}\Big)\Big]

    The mass that N(μ, σ²) has within half a level of a grey value j/(k − 1), h = ½/(k − 1); the
    outermost levels take the tails (Ho et al. 2020, eq. 13). σ = floor + softplus(s), μ and σ in
    units of pixels in [0, 1]; the decoder gives μ and s.

    A probability, measure: counting on k levels.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    levels
        k, grey levels of the data, from 2 to 1024.
    floor
        Smallest σ; below a fraction of a level it tells nothing of the data any more.
    """

    name = "discretized_gaussian"
    num_parameters = 2

    def __init__(
        self, data_shape: tuple[int, ...], *, levels: int = 256, floor: float = 1e-3
    ) -> None:
        super().__init__(data_shape, num_levels=levels, option="levels")
        if not (floor > 0 and math.isfinite(floor)):
            raise UsageError(f"the floor of the Gaussian scale must be positive; got {floor}")
        self.levels, self.floor = self.num_levels, floor

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """The rounded Gaussian of every pixel."""
        loc, raw = outputs.unbind(-1 - len(self.data_shape))
        return DiscretizedGaussianPixels(loc, self.floor + F.softplus(raw), self.num_levels)

    def outputs_for(self, mean: Tensor) -> Tensor:
        """σ = 0.1 + floor, and the μ, by bisection, whose rounded mean this is."""
        wanted = widened(mean)
        scale = torch.full_like(wanted, self.floor + _START)

        def mean_at(loc: Tensor) -> Tensor:
            return DiscretizedGaussianPixels(loc, scale, self.num_levels).mean

        loc = bisected(mean_at, wanted, -2.0, 3.0, steps=50).to(mean.dtype)
        return torch.stack([loc, torch.full_like(loc, math.log(math.expm1(_START)))])


class DiscretizedGaussianPixels(PixelDistribution):
    """A grey level j/(k − 1) with the mass that N(μ, σ²) has within half a level of it.

    With a < b the edges of the level in units of σ from μ, both mirrored at μ if they lie above it,

    log [Φ(b) − Φ(a)] = log Φ(b) + log(1 − e^{log Φ(a) − log Φ(b)}),

    which loses no digits in the tails; levels that are narrow in units of σ get the density times
    the width, with the next term of its series.

    >>> pixel = DiscretizedGaussianPixels(torch.tensor(0.3), torch.tensor(0.2), num_levels=5)
    >>> levels = torch.linspace(0, 1, 5)
    >>> round(float(pixel.log_prob(levels).exp().sum()), 5)
    1.0
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
    }

    def __init__(
        self, loc: Tensor, scale: Tensor, num_levels: int, *, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale, self.num_levels = loc, scale, num_levels
        super().__init__(loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Σ_{j ≥ 1} P(level ≥ j)/(k − 1), a level at a time to bound memory."""
        most = self.num_levels - 1
        total = torch.zeros_like(self.loc)
        for j in range(1, most + 1):
            total = total + ndtr((self.loc - (j - 0.5) / most) / self.scale)
        return total / most

    def _log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of the pixel's level."""
        most = self.num_levels - 1
        level = level_of(value, self.num_levels)
        far = (level.to(self.loc.dtype) / most - self.loc) / self.scale
        half = 0.5 / most / self.scale
        first, last = level == 0, level == most
        outer = torch.where(far > 0, last, first)  # the tail on its side of μ is its own
        inner = torch.where(far > 0, first, last)  # and so is all on the other side
        away = far.abs()
        log_b = torch.where(inner, torch.zeros_like(far), _log_ndtr(half - away))
        edge = outer | inner
        narrow = ~edge & (half * (1 + away) < _NARROW)
        remote = ~edge & (away - half > _REMOTE)
        # log Φ(−a) − log Φ(−b) term by term: the whole would cancel
        there = torch.where(remote, away, half + _REMOTE)
        a, b = there + half, there - half
        of_tails = -2 * half * there + torch.log1p(-2 * half / a) + _series(a) - _series(b)
        ratio = torch.where(remote, of_tails, _log_ndtr(-half - away) - log_b)
        ratio = torch.where(narrow | outer, -torch.ones_like(far), ratio)
        mass = log_b + torch.where(outer, torch.zeros_like(far), torch.log(-torch.expm1(ratio)))
        density = -0.5 * far.square() - _LOG_ROOT_TWO_PI + torch.log(2 * half)
        return torch.where(narrow, density + (far.square() - 1) * half.square() / 6, mass)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A Gaussian draw, rounded to its level."""
        with torch.no_grad():
            shape, most = self._extended_shape(sample_shape), self.num_levels - 1
            noise = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
            return ((self.loc + self.scale * noise) * most).round().clamp(0, most) / most


def _log_ndtr(x: Tensor) -> Tensor:
    """log Φ(x), whose gradient keeps its digits far out too: there that of torch loses them."""
    out = x < -_REMOTE
    near, far = torch.where(out, torch.zeros_like(x), x), torch.where(out, x, -torch.ones_like(x))
    tail = -0.5 * far.square() - torch.log(-far) - _LOG_ROOT_TWO_PI + _series(far)
    return torch.where(out, tail, log_ndtr(near))


def _series(x: Tensor) -> Tensor:
    """What is left of log Φ(−|x|) beyond −x²/2 − log(|x| √2π)."""
    square = x.square().reciprocal()
    return square * (-1 + square * (2.5 - square * 37 / 3))
