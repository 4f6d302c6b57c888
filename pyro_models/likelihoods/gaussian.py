"""Pixels with Gaussian noise, of one scale or of many."""

from __future__ import annotations

import math
import warnings

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import LEBESGUE, Likelihood
from pyro_models.units import Units

__all__ = ["Gaussian"]

FLOOR = 1e-2
_START = math.log(math.expm1(0.3))  # softplus of it is 0.3, about the spread of a pixel


class Gaussian(Likelihood):
    r"""Any real numbers, with σ = floor + softplus(s).

    .. math:: p(x | z) = \prod_d \N(x_d; μ_d(z), σ_d^2)

    A pair that starts from data sets ``units``: then μ = c + S m and σ = floor + S softplus(s) of
    outputs m and s, with the data's centre c and scale S, so that one learning rate serves all.
    Measure: Lebesgue, on the scale of the data. On pixels that are constant in the data the density
    is unbounded as σ → 0, hence the floor, a stated part of the model.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    scale
        ``"global"``: one learned σ. ``"pixel"``: one learned σ_d per pixel. ``"decoder"``: σ_d(z)
        from the decoder. A number: that σ, fixed. What is learned starts at 0.3 + floor, which
        suits pixels, or at the spread of the data in a pair that starts from data (``output_bias``
        ``"data"``), which suits data of any scale.
    floor
        Smallest σ, in units of the data; learned scales only. ``None``: 0.01, which suits pixels
        in [0, 1], or a hundredth of S.
    """

    name = "gaussian"
    measure = LEBESGUE
    preparation = "dequantised"

    def __init__(
        self,
        data_shape: tuple[int, ...],
        *,
        scale: str | float = "global",
        floor: float | None = None,
    ) -> None:
        super().__init__(data_shape)
        if isinstance(scale, str) and scale not in ("global", "pixel", "decoder"):
            raise UsageError(
                f"unknown Gaussian scale {scale!r}: global, pixel, decoder, or a positive number"
            )
        if not isinstance(scale, str) and not (scale > 0 and math.isfinite(scale)):
            raise UsageError(f"a fixed Gaussian scale must be a positive number; got {scale}")
        if floor is not None and (
            not 0 <= floor < math.inf or (floor == 0 and scale in ("pixel", "decoder"))
        ):
            raise UsageError(
                f"the floor of the Gaussian scale must be positive, or the density of constant "
                f"pixels is unbounded; got {floor}"
            )
        self.scale = scale
        self.floor = floor
        self.num_parameters = 2 if scale == "decoder" else 1
        self.units = Units(self.data_shape)
        self._start = torch.tensor(_START, dtype=torch.float64)  # s where the decoder gives it
        if scale == "global":
            self.raw_scale = nn.Parameter(torch.tensor(_START))
        elif scale == "pixel":
            self.raw_scale = nn.Parameter(torch.full(self.data_shape, _START))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """N(μ, σ²) of every pixel."""
        loc, *raw = outputs.unbind(-1 - len(self.data_shape))
        if isinstance(self.scale, str):
            unit = self._unit()
            sigma = self._floor(unit) + unit * F.softplus(raw[0] if raw else self.raw_scale)
        else:
            sigma = torch.as_tensor(self.scale, dtype=loc.dtype, device=loc.device)
        return dist.Normal(self.units.restored(loc), sigma.expand(loc.shape))

    def _unit(self) -> Tensor | float:
        """S: of each value, or one where there is one σ for all."""
        if self.units.as_they_are:
            return 1.0
        return self.units.overall if self.scale == "global" else self.units.scale

    def _floor(self, unit: Tensor | float) -> Tensor | float:
        return FLOOR * unit if self.floor is None else self.floor

    @torch.no_grad()
    def share_at_floor(self, sigma: Tensor) -> float:
        """Share of these σ, (\\*batch, \\*data_shape), that are at most 1.05 of the floor.

        0 where σ is fixed. There the density is what the floor lets it be.
        """
        if not isinstance(self.scale, str):
            return 0.0
        floor = torch.as_tensor(self._floor(self._unit())).to(sigma)
        return float((sigma <= 1.05 * floor).double().mean())

    @torch.no_grad()
    def start_at(self, spread: Tensor) -> None:
        """Start a learned σ at the spread of the data: of all, or each pixel at its own.

        Where the decoder gives it, each channel of an image starts at one σ. Says so where the
        floor is above the spread of the data: such a model cannot learn anything of them.
        """
        if not isinstance(self.scale, str) or not bool((spread > 0).any()):
            return
        overall = spread.square().mean().sqrt()
        floor = FLOOR if self.floor is None else self.floor
        if float(overall) < floor and (self.floor is not None or self.units.as_they_are):
            warnings.warn(
                f"the floor of the Gaussian scale, {floor:g}, is above the spread of the "
                f"data, {float(overall):.3g}: give a smaller floor, in units of the data",
                stacklevel=4,
            )
        if self.scale == "pixel":
            self.raw_scale.copy_(self._raw(spread, overall))
        elif self.scale == "global":
            self.raw_scale.copy_(self._raw(overall, overall))
        else:
            if len(self.data_shape) == 3:
                spread = spread.square().mean((-2, -1), keepdim=True).sqrt()
            self._start = self._raw(spread, overall)

    def _raw(self, sigma: Tensor, overall: Tensor) -> Tensor:
        """s with floor + S softplus(s) = σ, where that is well above the floor."""
        unit = self._unit()
        unit = unit.to(sigma) if isinstance(unit, Tensor) else unit
        floor = self._floor(unit)
        least = 0.01 * (overall if self.floor == 0 else floor)
        at_least = torch.as_tensor(least, dtype=sigma.dtype, device=sigma.device)
        above = torch.maximum(sigma - floor, at_least) / unit
        # log(expm1(a)), written so that neither a tiny nor a large a overflows
        return above + torch.log(-torch.expm1(-above))

    def outputs_for(self, mean: Tensor) -> Tensor:
        """The mean image, and the σ to start with, 0.3 + floor, where the decoder gives it."""
        start = self._start.to(mean).expand_as(mean)
        return torch.stack([self.units(mean), start][: self.num_parameters])
