"""p(x | z): how a datum is distributed, given what the decoder says of each pixel.

A likelihood turns decoder outputs, always unbounded ("logits"), into a Pyro distribution over one
datum. It knows which data it may be given, how to leave pixels out, and relative to which measure
its densities are, so that two numbers are never compared that may not be.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.errors import UsageError

__all__ = ["LIKELIHOODS", "Bernoulli", "CrossEntropy", "Gaussian", "Likelihood", "likelihood_named"]


class Likelihood(nn.Module):
    """p(x | z) over data of shape ``data_shape``, from decoder outputs.

    Attributes
    ----------
    name
        Name to ask for it by.
    measure
        What its log-probabilities are relative to; ``None`` if it is no probability at all.
    preparation
        The pixel preparation it is meant for.
    num_parameters
        Decoder outputs per pixel and channel.
    """

    name: ClassVar[str]
    measure: ClassVar[str | None]
    preparation: ClassVar[str]
    num_parameters: int = 1

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)

    def forward(self, outputs: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """Distribution of x with the batch shape of ``outputs`` and one datum as its event.

        Parameters
        ----------
        outputs
            (\\*batch, num_parameters, \\*data_shape), unbounded.
        mask
            True = seen; broadcastable to (B, \\*data_shape). Unseen pixels contribute log 1.
        """
        pixels = self.pixels(outputs)
        if mask is not None:
            pixels = pixels.mask(mask)
        return pixels.to_event(len(self.data_shape))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Independent distributions of the pixels, batch shape (\\*batch, \\*data_shape)."""
        raise NotImplementedError

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x | z], (\\*batch, \\*data_shape)."""
        return self.pixels(outputs).mean

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Decoder outputs (num_parameters, \\*data_shape) that make ``mean`` the mean image."""
        raise NotImplementedError

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Refuse data that this likelihood cannot have.

        Raises
        ------
        UsageError
            One line that says which pixels and what to do.
        """
        seen = x if mask is None else x[mask.expand_as(x)]
        if not bool(torch.isfinite(seen).all()):
            raise UsageError(
                "the data hold NaN or infinite values; leave such pixels out with a mask"
            )

    def config(self) -> dict[str, Any]:
        """Options that rebuild it, besides the data shape."""
        return {}


class Bernoulli(Likelihood):
    """Binary pixels: p(x | z) = Π_d Bernoulli(x_d; σ(l_d)), from logits l.

    Measure: counting on {0, 1}. Grey pixels are refused: binarise them, or ask for the
    cross-entropy and call it what it is.
    """

    name = "bernoulli"
    measure = "counting on {0,1}"
    preparation = "threshold"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Bernoulli(logits)."""
        return dist.Bernoulli(logits=outputs.squeeze(-1 - len(self.data_shape)))

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Logits of the mean image, within ±log 999."""
        return torch.logit(mean, eps=1e-3).unsqueeze(0)

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Every seen pixel must be 0 or 1."""
        super().check(x, mask)
        binary = (x == 0) | (x == 1)
        if mask is not None:
            binary = binary | ~mask
        if not bool(binary.all()):
            raise UsageError(
                "the Bernoulli likelihood is of pixels that are 0 or 1: binarise them (preparation "
                "threshold, static or dynamic), or use the likelihood cross_entropy on grey pixels"
            )


class CrossEntropy(Likelihood):
    """−H(p(B | x), p(B | z)) = Σ_d x_d log σ(l_d) + (1 − x_d) log σ(−l_d) for grey x in [0, 1].

    The common "Bernoulli on grey pixels". It is an objective, not a probability: it does not
    integrate to one over [0, 1], so what is built on it bounds no evidence (``measure`` is None).
    """

    name = "cross_entropy"
    measure = None
    preparation = "grey"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Bernoulli(logits) evaluated at grey values."""
        logits = outputs.squeeze(-1 - len(self.data_shape))
        return dist.Bernoulli(logits=logits, validate_args=False)

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Logits of the mean image, within ±log 999."""
        return torch.logit(mean, eps=1e-3).unsqueeze(0)

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Every seen pixel must lie in [0, 1]."""
        super().check(x, mask)
        inside = (x >= 0) & (x <= 1)
        if mask is not None:
            inside = inside | ~mask
        if not bool(inside.all()):
            raise UsageError(
                "the cross-entropy is of pixels in [0, 1]; divide 0…255 pixels by 255, or use the "
                "likelihood gaussian for data of any range"
            )


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
    measure = "Lebesgue"
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
        if floor < 0 or (floor == 0 and scale in ("pixel", "decoder")):
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


LIKELIHOODS: dict[str, type[Likelihood]] = {
    cls.name: cls for cls in (Bernoulli, CrossEntropy, Gaussian)
}


def likelihood_named(
    name: str, data_shape: tuple[int, ...], options: dict[str, Any] | None = None
) -> Likelihood:
    """Build a likelihood by its name.

    >>> likelihood_named("gaussian", (1, 8, 8), {"scale": 0.1}).measure
    'Lebesgue'

    Raises
    ------
    UsageError
        If the name or an option is unknown; the message lists the known ones.
    """
    if name not in LIKELIHOODS:
        raise UsageError(f"unknown likelihood {name!r}: choose from {', '.join(LIKELIHOODS)}")
    try:
        return LIKELIHOODS[name](data_shape, **(options or {}))
    except TypeError as error:
        raise UsageError(f"likelihood {name}: {error}") from error
