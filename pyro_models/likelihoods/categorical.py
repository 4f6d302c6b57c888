"""Pixels in bins, each with a probability of its own."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyro_models.errors import UsageError
from pyro_models.likelihoods.levels import CountingLevels, level_of
from pyro_models.likelihoods.likelihood import PixelDistribution, bisected, widened

__all__ = ["Categorical", "CategoricalPixels"]


class Categorical(CountingLevels):
    r"""Grey levels, from k logits a pixel.

    .. math:: p(x | z) = \prod_d \mathrm{softmax}(l_d)_{j(x_d)}, \quad j(x_d) = ⌊k x_d⌋

    A probability, measure: counting on k levels. For 8-bit grey values, x = i/255 and k = 256, the
    bin is i; data of other levels want their own number of bins (17 for the bundled digits).

    Parameters
    ----------
    data_shape
        Shape of one datum.
    bins
        k, from 2 to 1024.
    values
        What a bin stands for in means and draws: ``"levels"``, grey value j/(k − 1), or
        ``"midpoints"``, (j + ½)/k. Unless given, levels for 256 bins and midpoints for others.
    """

    name = "categorical"

    def __init__(
        self, data_shape: tuple[int, ...], *, bins: int = 256, values: str | None = None
    ) -> None:
        super().__init__(data_shape, num_levels=bins, option="bins")
        if values not in (None, "levels", "midpoints"):
            raise UsageError(f"values of bins are 'levels' or 'midpoints'; got {values!r}")
        self.num_parameters = self.bins = self.num_levels
        self.values = values or ("levels" if self.num_levels == 256 else "midpoints")
        self.values_are_grey = self.values == "levels"

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Categorical over the bins of every pixel."""
        logits = outputs.movedim(-1 - len(self.data_shape), -1)
        return CategoricalPixels(logits, self._values(logits))

    def _values(self, like: Tensor) -> Tensor:
        """What bins 0, …, k − 1 stand for, (k,)."""
        k = self.num_levels
        j = torch.arange(k, dtype=like.dtype, device=like.device)
        return j / (k - 1) if self.values_are_grey else (j + 0.5) / k

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Logits that are linear in the bin and have this mean.

        l_j = t (j − (k − 1)/2), with t by bisection: the mean rises with t. A mean beyond the
        outermost bins' values is taken to them.
        """
        wanted = widened(mean)
        values = self._values(wanted)
        steps = torch.arange(self.num_levels, dtype=wanted.dtype, device=mean.device)

        def mean_at(tilt: Tensor) -> Tensor:
            return torch.softmax(tilt.unsqueeze(-1) * steps, -1) @ values

        tilt = bisected(mean_at, wanted, -50.0, 50.0, steps=60)
        return (tilt.unsqueeze(-1) * (steps - steps.mean())).movedim(-1, 0).to(mean.dtype)


class CategoricalPixels(PixelDistribution):
    """A pixel in [0, 1] whose bin ⌊k x⌋ has probability softmax(l), logits (\\*batch, k).

    Draws are ``values`` (k,) that the bins stand for, each inside its bin.

    >>> coin = CategoricalPixels(torch.zeros(2), torch.tensor([0.25, 0.75]))
    >>> round(float(coin.log_prob(torch.tensor(0.9)).exp()), 6), float(coin.mean)
    (0.5, 0.5)
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012

    def __init__(
        self, logits: Tensor, values: Tensor, *, validate_args: bool | None = None
    ) -> None:
        self.logits, self.values = logits, values
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Σ_j softmax(l)_j v_j."""
        return self.logits.softmax(-1) @ self.values

    @property
    def variance(self) -> Tensor:
        """Σ_j softmax(l)_j (v_j − mean)²."""
        spread = (self.values - self.mean.unsqueeze(-1)).square()
        return (self.logits.softmax(-1) * spread).sum(-1)

    def _log_prob(self, value: Tensor) -> Tensor:
        """log softmax(l) at the pixel's bin."""
        log_p = self.logits.log_softmax(-1)
        level = level_of(value, log_p.shape[-1])
        shape = torch.broadcast_shapes(level.shape, log_p.shape[:-1])
        log_p = log_p.expand(*shape, log_p.shape[-1])
        return log_p.gather(-1, level.expand(shape).unsqueeze(-1)).squeeze(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The values of drawn bins."""
        with torch.no_grad():
            draw = torch.distributions.Categorical(logits=self.logits, validate_args=False)
            return self.values[draw.sample(sample_shape)]
