"""Inputs to the unit box, outputs to zero mean and unit variance; and everything back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gp_bo.kernels import HyperParameter

__all__ = ["Scaling"]


@dataclass(frozen=True, eq=False)
class Scaling:
    """x ↦ (x − lower) / width per input, y ↦ (y − shift) / spread.

    Attributes
    ----------
    lower, width
        (d,), in the units of the inputs.
    shift, spread
        (), in the unit of the output.
    """

    lower: Tensor
    width: Tensor
    shift: Tensor
    spread: Tensor

    @classmethod
    def of(cls, X: Tensor, y: Tensor) -> Scaling:
        """From the data: their box, their mean and standard deviation; 1 where these are 0."""
        lower = X.amin(0)
        width = X.amax(0) - lower
        spread = y.std()
        return cls(
            lower,
            torch.where(width > 0, width, torch.ones_like(width)),
            y.mean(),
            torch.where(spread > 0, spread, torch.ones_like(spread)),
        )

    @classmethod
    def none(cls, dim: int) -> Scaling:
        """Leaves everything as it is."""
        zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
        return cls(zero.repeat(dim), one.repeat(dim), zero, one)

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
                factor = self.width**h.input_power
                value = value[:, None] if not h.shape and len(factor) > 1 else value
                value = value * (factor if value.dim() > 1 else factor[0])
            value = value * self.spread**h.output_power
            if h.name in ("mean", "bias"):
                value = value + self.shift
            back[h.name] = value
        if "weight" in back:
            back["bias"] = back["bias"] - back["weight"] @ self.lower
        return back
