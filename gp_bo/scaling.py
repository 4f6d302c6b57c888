"""Inputs to the unit box, outputs to zero mean and unit variance; and everything back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gp_bo.kernels import HyperParameter
from pyro_models.brief import Brief

__all__ = ["EPSILON", "Scaling", "far_origin", "location_and_spread", "margin", "widths"]

EPSILON = 2.0**-52
"""Relative distance of neighbours in float64."""

_ROUNDING = 8  # multiples of ε |x| that a constant which was computed may spread by
_FAR = 1e4  # spreads from the origin, beyond which statistics are those of differences


@dataclass(frozen=True, eq=False)
class Scaling(Brief):
    """x ↦ (x − lower) / width per input, (d,) each, y ↦ (y − shift) / spread, () each."""

    lower: Tensor
    width: Tensor
    shift: Tensor
    spread: Tensor

    @classmethod
    def of(
        cls, X: Tensor, y: Tensor, *, resolution: tuple[float, float] = (EPSILON, EPSILON)
    ) -> Scaling:
        """From the data, (n, d) and (n,): their box, their mean and standard deviation.

        A column of X, or y, that is constant up to rounding, to ε of the float types in which they
        came, has no scale: see :func:`widths`.
        """
        of_X, of_y = resolution
        return cls(*widths(X, resolution=of_X), *location_and_spread(y, resolution=of_y))

    @classmethod
    def none(cls, dim: int, *, device: torch.device | None = None) -> Scaling:
        """Leaves everything as it is."""
        zero = torch.zeros((), dtype=torch.float64, device=device)
        one = torch.ones_like(zero)
        return cls(zero.repeat(dim), one.repeat(dim), zero, one)

    def data(self, X: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The scaled data that this scaling was made from; rounding of constants becomes 0.

        A column that has a width is 1 wide, outputs that have a spread are √2 or more apart: what
        is less is rounding, whose own scale would otherwise be taken for the data's.
        """
        X, y = self.inputs(X), self.outputs(y)
        nothing = vars(Scaling.none(len(self.lower), device=self.lower.device))
        if all(torch.equal(own, nothing[name]) for name, own in vars(self).items()):
            return X, y
        X = torch.where(X.amax(0) < 1, 0.0, X)
        return X, torch.where(y.amax() - y.amin() < 1, 0.0, y)

    def inputs(self, X: Tensor) -> Tensor:
        """Scaled inputs, (…, d)."""
        return (X - self.lower) / self.width

    def outputs(self, y: Tensor) -> Tensor:
        """Scaled outputs."""
        return (y - self.shift) / self.spread

    def mean_back(self, mean: Tensor) -> Tensor:
        """Means, or draws, in the unit of the output."""
        return mean * self.spread + self.shift

    def variance_back(self, variance: Tensor) -> Tensor:
        """Variances or covariances in the output's unit squared."""
        return variance * self.spread.square()

    def hyperparameters_back(
        self, theta: Mapping[str, Tensor], declared: Sequence[HyperParameter]
    ) -> dict[str, Tensor]:
        """Hyper-parameters (S, \\*shape) in original units.

        One that has the input's unit and was shared by all inputs has one value per input after it.
        """
        back = {}
        for h in declared:
            value = theta[h.name]
            if h.input_power:
                factor = h.of_inputs(self.width) ** h.input_power
                value = value[:, None] if not h.shape and len(factor) > 1 else value
                value = value * (factor if value.dim() > 1 else factor[0])
            value = value * self.spread**h.output_power
            if h.name in ("mean", "bias"):
                value = value + self.shift
            back[h.name] = value
        if "weight" in back:
            back["bias"] = back["bias"] - back["weight"] @ self.lower
        return back


def widths(X: Tensor, *, resolution: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Least value and width of each column, both (d,).

    A column whose width is no more than rounding, 8 ε max |x|, has no width of its own. It gets 1,
    or, of large values, √ε max |x|: a unit beside which that rounding is nothing.

    >>> widths(torch.tensor([[0.3, 5.0], [0.1 + 0.2, 7.0]], dtype=torch.float64))[1].tolist()
    [1.0, 2.0]
    """
    low, high = X.amin(0), X.amax(0)
    return low, _unit(high - low, low, high, resolution)


def margin(x: Tensor, share: float) -> float:
    """A share of the width of (n,) values, for a figure; half a unit where they are constant."""
    low, unit = widths(x[:, None])
    width = x.max() - low[0]
    return float(share * width if width == unit[0] else 0.5 * unit[0])


def location_and_spread(y: Tensor, *, resolution: float = EPSILON) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of (n,) values, n > 1; without a spread as in :func:`widths`.

    Where values lie far from 0, of their differences to the first: m = y₁ + mean(y − y₁).

    >>> y = 1e9 + torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    >>> [float(each) for each in location_and_spread(y)]
    [1000000000.0, 1.0]
    """
    low, high = y.amin(), y.amax()
    far = y[0].abs() > _FAR * (high - low)
    origin = torch.where(far, y[0], 0.0)
    offset = y - origin
    return origin + offset.mean(), _unit(offset.std(), low, high, resolution)


def far_origin(X: Tensor) -> Tensor:
    """The lower corner of columns that lie farther from 0 than twice their width, else 0: (d,).

    Squared distances as |a|² + |b|² − 2 aᵀb keep their digits when it is taken off both.
    """
    low, high = X.amin(0), X.amax(0)
    return torch.where(low.abs() > 2 * (high - low), low, 0.0)


def _unit(spread: Tensor, low: Tensor, high: Tensor, resolution: float) -> Tensor:
    """The spread, or the unit of what has none."""
    magnitude = torch.maximum(low.abs(), high.abs())
    constant = high - low <= _ROUNDING * resolution * magnitude
    return torch.where(constant, (math.sqrt(resolution) * magnitude).clamp_min(1.0), spread)
