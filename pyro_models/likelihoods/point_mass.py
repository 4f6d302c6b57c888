"""p(x | v) where v decides x: the level that a number in [0, 1] falls into, or v itself."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_models.likelihoods.levels import CountingLevels, level_of
from pyro_models.likelihoods.likelihood import LEBESGUE, Likelihood, PixelDistribution

__all__ = ["PointMass", "Quantised", "QuantisedPixels"]


class Quantised(CountingLevels):
    """p(x | v) = 1 if ⌊k v⌋ is the level of x, and 0 elsewhere. Measure: counting on k levels.

    With v ~ p(v) on (0, 1)^D, P(x) = ∫ p(v) dv over the bins of the pixels: a probability of the
    data's own levels, as those of the likelihoods ``categorical`` and ``logistic_mixture`` are.
    ``levels`` is k, from 2 to 1024.
    """

    name = "quantised"
    of_these_alone = True
    for_other_data = "give the flow dequantise=None (--options.dequantise null)"

    def __init__(self, data_shape: tuple[int, ...], *, levels: int = 256) -> None:
        super().__init__(data_shape, num_levels=levels, option="levels")
        self.on_unit_interval = "a flow of grey levels"
        self.levels = self.num_levels

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """A point mass at the level of every pixel."""
        return QuantisedPixels(outputs.squeeze(-1 - len(self.data_shape)), self.num_levels)

    def outputs_for(self, mean: Tensor) -> Tensor:
        """The middle of the bin of each pixel."""
        k = self.num_levels
        return ((level_of(mean, k) + 0.5) / k).to(mean.dtype).unsqueeze(0)


class QuantisedPixels(PixelDistribution):
    """A pixel whose level ⌊k v⌋, at most k − 1, is decided by v; its grey value is level/(k − 1).

    >>> pixel = QuantisedPixels(torch.tensor([0.1, 0.6]), 2)
    >>> pixel.mean.tolist(), pixel.log_prob(torch.tensor([0.0, 0.0])).tolist()
    ([0.0, 1.0], [0.0, -inf])
    """

    arg_constraints = {"v": constraints.real}  # noqa: RUF012

    def __init__(self, v: Tensor, num_levels: int, *, validate_args: bool | None = None) -> None:
        self.v, self.num_levels = v, num_levels
        super().__init__(v.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The grey value of the level."""
        return level_of(self.v, self.num_levels).to(self.v.dtype) / (self.num_levels - 1)

    @property
    def variance(self) -> Tensor:
        """0."""
        return torch.zeros_like(self.v)

    def _log_prob(self, value: Tensor) -> Tensor:
        """0 at the level, −∞ elsewhere."""
        k = self.num_levels
        return (level_of(value, k) == level_of(self.v, k)).to(self.v.dtype).log()

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The grey value of the level."""
        return self.mean.detach().expand(sample_shape + self.mean.shape)


class PointMass(Likelihood):
    """p(x | v) = δ(x − v): x is v itself, of the density p(v).

    Measure: Lebesgue, on the scale of the data. A guide that gives v = x has bounds that are log
    p(x) itself.
    """

    name = "point_mass"
    measure = LEBESGUE
    preparation = "dequantised"

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__(data_shape)
        self.on_unit_interval = "a flow of images" if len(data_shape) == 3 else ""

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """A point mass at every value."""
        return dist.Delta(outputs.squeeze(-1 - len(self.data_shape)))

    def outputs_for(self, mean: Tensor) -> Tensor:
        """The values themselves."""
        return mean.unsqueeze(0)
