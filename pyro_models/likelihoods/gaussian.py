"""Pixels with Gaussian noise, of one scale or of many."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import LEBESGUE, Likelihood

__all__ = ["Gaussian"]

_START = math.log(math.expm1(0.3))  # softplus of it is 0.3, about the spread of a pixel


class Gaussian(Likelihood):
    """p(x | z) = Π_d N(x_d; μ_d(z), σ_d²), with σ = floor + softplus(s).

    Measure: Lebesgue, on the scale of the data. On pixels that are constant in the data the density
    is unbounded as σ → 0, hence the floor, a stated part of the model.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    scale
        ``"global"``: one learned σ. ``"pixel"``: one learned σ_d per pixel. ``"decoder"``: σ_d(z)
        from the decoder. A number: that σ, fixed.
    floor
        Smallest σ, in units of the data; learned scales only.
    """

    name = "gaussian"
    measure = LEBESGUE
    preparation = "dequantised"

    def __init__(
        self, data_shape: tuple[int, ...], *, scale: str | float = "global", floor: float = 1e-2
    ) -> None:
        super().__init__(data_shape)
        if isinstance(scale, str) and scale not in ("global", "pixel", "decoder"):
            raise UsageError(
                f"unknown Gaussian scale {scale!r}: global, pixel, decoder, or a positive number"
            )
        if not isinstance(scale, str) and not (scale > 0 and math.isfinite(scale)):
            raise UsageError(f"a fixed Gaussian scale must be a positive number; got {scale}")
        if not 0 <= floor < math.inf or (floor == 0 and scale in ("pixel", "decoder")):
            raise UsageError(
                f"the floor of the Gaussian scale must be positive, or the density of constant "
                f"pixels is unbounded; got {floor}"
            )
        self.scale = scale
        self.floor = floor
        self.num_parameters = 2 if scale == "decoder" else 1
        if scale == "global":
            self.raw_scale = nn.Parameter(torch.tensor(_START))
        elif scale == "pixel":
            self.raw_scale = nn.Parameter(torch.full(self.data_shape, _START))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """N(μ, σ²) of every pixel."""
        loc, *raw = outputs.unbind(-1 - len(self.data_shape))
        if isinstance(self.scale, str):
            sigma = self.floor + F.softplus(raw[0] if raw else self.raw_scale)
        else:
            sigma = torch.as_tensor(self.scale, dtype=loc.dtype, device=loc.device)
        return dist.Normal(loc, sigma.expand(loc.shape))

    def outputs_for(self, mean: Tensor) -> Tensor:
        """The mean image, and σ = 0.3 + floor where the decoder gives it."""
        return torch.stack([mean, torch.full_like(mean, _START)][: self.num_parameters])

    def config(self) -> dict[str, Any]:
        """Scale and floor."""
        return {"scale": self.scale, "floor": self.floor}
