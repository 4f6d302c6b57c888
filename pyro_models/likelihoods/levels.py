"""Pixels as one of k levels: what the likelihoods that count levels share."""

from __future__ import annotations

from torch import Tensor

from pyro_models.counts import is_count
from pyro_models.data import to_grey
from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import Likelihood

__all__ = ["CountingLevels", "level_of"]

MOST_LEVELS = 1024  # up to here float32 pixels fall on the right side of every edge


class CountingLevels(Likelihood):
    """A probability of each of k levels, k = ``num_levels``. Measure: counting on k levels.

    A pixel's level is ⌊k x⌋, at most k − 1: level j of the grey value j/(k − 1) and of all values
    that this is dequantised to. ``values_are_grey`` where level j stands for that grey value, and
    not for the middle of its bin, (j + ½)/k.
    """

    preparation = "grey"
    values_are_grey: bool = True
    of_these_alone: bool = False  # data of other levels are refused before training

    def __init__(self, data_shape: tuple[int, ...], *, num_levels: int, option: str) -> None:
        super().__init__(data_shape)
        if not is_count(num_levels, least=2) or num_levels > MOST_LEVELS:
            raise UsageError(
                f"{option} must be a whole number from 2 to {MOST_LEVELS}; got {num_levels}"
            )
        self.num_levels = int(num_levels)
        self.measure = f"counting on {self.num_levels} levels"
        self.on_unit_interval = f"the likelihood {self.name}"

    def check_levels(self, levels: int | None, *, data: str) -> None:
        """Refuse data of another number of levels, where the model is of these alone."""
        if self.of_these_alone and levels not in (None, self.num_levels):
            raise UsageError(
                f"this model is of {self.num_levels} levels, and {data} has {levels}: give it "
                f"levels={levels} (--options.levels {levels})"
            )

    def why_no_bits(self, *, preparation: str, levels: int | None) -> str:
        """Only a probability of the data's own levels is one of the grey pixels."""
        if preparation != "grey":
            return f"probabilities of {preparation} pixels are not of the grey ones"
        if levels is None:
            return "these data have no known number of grey levels"
        if levels != self.num_levels:
            return f"probabilities of {self.num_levels} levels are not of the data's {levels}"
        return ""

    def grey_mean(self, mean: Tensor, *, preparation: str, levels: int | None) -> Tensor:
        """Values that are grey levels already are left alone."""
        return mean if self.values_are_grey else to_grey(mean, preparation, levels=levels)


def level_of(x: Tensor, num_levels: int) -> Tensor:
    """⌊k x⌋, at most k − 1, as integers.

    >>> import torch
    >>> level_of(torch.arange(256) / 255, 256).equal(torch.arange(256))
    True
    """
    return (x * num_levels).floor().clamp(0, num_levels - 1).long()
