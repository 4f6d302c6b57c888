"""Pixels as rounded draws from a mixture of logistic distributions."""

from __future__ import annotations

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_models.counts import is_count
from pyro_models.errors import UsageError
from pyro_models.likelihoods.levels import CountingLevels, level_of
from pyro_models.likelihoods.likelihood import PixelDistribution, bisected, widened

__all__ = ["LogisticMixture", "LogisticMixturePixels"]

_START = 0.1  # scale of the outputs for a mean


class LogisticMixture(CountingLevels):
    r"""Grey levels whose neighbours are alike: a mixture of logistics, h half a level.

    .. math:: p(x | z) = \prod_d \sum_i π_i \Big[σ\Big(\frac{x_d + h − μ_i}{s_i}\Big)
       − σ\Big(\frac{x_d − h − μ_i}{s_i}\Big)\Big]

    Discretised logistics over the data's levels (Salimans et al. 2017, eq. 2, without the coupling
    of channels): a grey value is j/(k − 1), h = ½/(k − 1), and the outermost levels take the tails.
    π = softmax, s = floor + softplus, μ and s in units of pixels in [0, 1].

    A probability, measure: counting on k levels.

    Parameters
    ----------
    data_shape
        Shape of one datum.
    components
        Number of logistics, m; the decoder gives 3 m numbers a pixel.
    levels
        k, grey levels of the data, from 2 to 1024.
    floor
        Smallest s; below a fraction of a level it tells nothing of the data any more.
    """

    name = "logistic_mixture"

    def __init__(
        self,
        data_shape: tuple[int, ...],
        *,
        components: int = 5,
        levels: int = 256,
        floor: float = 1e-3,
    ) -> None:
        super().__init__(data_shape, num_levels=levels, option="levels")
        if not is_count(components):
            raise UsageError(f"components must be at least 1; got {components}")
        if not (floor > 0 and math.isfinite(floor)):
            raise UsageError(f"the floor of the logistic scale must be positive; got {floor}")
        self.components, self.levels, self.floor = components, self.num_levels, floor
        self.num_parameters = 3 * components

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Mixture of every pixel."""
        parts = outputs.movedim(-1 - len(self.data_shape), -1).unflatten(-1, (3, self.components))
        logits, loc, raw = parts.unbind(-2)
        return LogisticMixturePixels(logits, loc, self.floor + F.softplus(raw), self.num_levels)

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Equal weights, s = 0.1 + floor, and the μ, by bisection, whose rounded mean this is."""
        raw = math.log(math.expm1(_START))
        wanted = widened(mean)
        scale = torch.full_like(wanted, self.floor + _START)

        def mean_at(loc: Tensor) -> Tensor:
            return _rounded_mean(loc, scale, self.num_levels)

        loc = bisected(mean_at, wanted, -2.0, 3.0, steps=50).to(mean.dtype)
        parts = torch.stack([torch.zeros_like(loc), loc, torch.full_like(loc, raw)])
        return parts.repeat_interleave(self.components, dim=0)


class LogisticMixturePixels(PixelDistribution):
    """A grey level j/(k − 1) with the mass that a mixture of logistics has within half a level.

    With a, b the edges of the level in units of s from μ,

    log [σ(b) − σ(a)] = log σ(b) + log σ(−a) + log(1 − e^{a − b}),

    which loses no digits in the tails; the lowest level leaves out a, the highest b. The logits of
    the weights π, μ and s are (\\*batch, m) each.

    >>> pixel = LogisticMixturePixels(*torch.ones(3, 1), num_levels=2)
    >>> levels = torch.tensor([0.0, 1.0])
    >>> round(float(pixel.log_prob(levels).exp().sum()), 6)
    1.0
    """

    arg_constraints = {  # noqa: RUF012
        "logits": constraints.real_vector,
        "loc": constraints.real_vector,
        "scale": constraints.independent(constraints.positive, 1),
    }

    def __init__(
        self,
        logits: Tensor,
        loc: Tensor,
        scale: Tensor,
        num_levels: int,
        *,
        validate_args: bool | None = None,
    ) -> None:
        self.logits, self.loc, self.scale, self.num_levels = logits, loc, scale, num_levels
        super().__init__(logits.shape[:-1], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Σ_i π_i Σ_j P_i(level j) j/(k − 1), exact: the levels are rounded, tails included."""
        means = _rounded_mean(self.loc, self.scale, self.num_levels)
        return (self.logits.softmax(-1) * means).sum(-1)

    def _log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of the pixel's level."""
        k = self.num_levels
        level = level_of(value, k).unsqueeze(-1)
        half = 0.5 / (k - 1)
        grey = level.to(self.loc.dtype) / (k - 1)
        above = (grey + half - self.loc) / self.scale
        below = (grey - half - self.loc) / self.scale
        lowest, highest = level == 0, level == k - 1
        zero = self.loc.new_zeros(())
        between = torch.log(-torch.expm1(-2 * half / self.scale))
        log_mass = (
            torch.where(highest, zero, F.logsigmoid(above))
            + torch.where(lowest, zero, F.logsigmoid(-below))
            + torch.where(lowest | highest, zero, between)
        )
        return (self.logits.log_softmax(-1) + log_mass).logsumexp(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A drawn component's logistic draw, rounded to its level."""
        with torch.no_grad():
            which = torch.distributions.Categorical(logits=self.logits, validate_args=False)
            i = which.sample(sample_shape).unsqueeze(-1)
            shape = (*i.shape[:-1], self.logits.shape[-1])
            loc, scale = (p.expand(shape).gather(-1, i).squeeze(-1) for p in (self.loc, self.scale))
            tiny = torch.finfo(loc.dtype).eps
            u = torch.rand_like(loc).clamp(tiny, 1 - tiny)
            x, most = loc + scale * torch.logit(u), self.num_levels - 1
            return (x * most).round().clamp(0, most) / most


def _rounded_mean(loc: Tensor, scale: Tensor, num_levels: int) -> Tensor:
    """E[j]/(k − 1) = Σ_{j ≥ 1} P(level ≥ j)/(k − 1), a level at a time to bound memory."""
    total = torch.zeros_like(loc)
    for j in range(1, num_levels):
        edge = (j - 0.5) / (num_levels - 1)
        total = total + torch.sigmoid((loc - edge) / scale)
    return total / (num_levels - 1)
