"""Bounds of the same guides at several parameters, from the same noise: differences are sharp."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro
import torch
from torch import Tensor, nn

from inference.posterior.batch_bound import bounds_of
from inference.posterior.guides.per_datum import copy_parameters, for_data
from inference.posterior.log_density import LogDensity
from pyro_models.seeds import seeded

__all__ = ["DRAWS", "FEW", "paired_bounds", "surely_higher"]

DRAWS = 64
"""Samples z ~ q of each image and guide."""

FEW = 8
"""Samples of a first look, after which most images are in no doubt."""

_ERRORS = 3.0

Values = Mapping[str, Tensor]


def paired_bounds(
    target: LogDensity, guide: nn.Module, *, objective: str, at_once: int, draws: int = DRAWS
) -> Callable[[Values], Tensor]:
    """A function of a guide's parameters: samples of each image's bound, (K, B), nats.

    The guide, with a row of parameters for each image, stays as it is. Of the K draws (1 for a
    guide without noise) so many are in memory that images times samples are at most ``at_once``.
    """
    copy = for_data(guide, ..., len(target))
    draws = 1 if objective == "log_joint" else draws
    piece = max(1, min(draws, at_once // len(target)))

    @torch.no_grad()
    def bounds(values: Values) -> Tensor:
        copy_parameters(values, copy)
        with seeded(0, target.x.device), pyro.validation_enabled(False):
            counts = [min(piece, draws - i) for i in range(0, draws, piece)]
            parts = [bounds_of(target, copy, count, objective) for count in counts]
        return torch.cat(parts)

    return bounds


def surely_higher(there: Tensor, here: Tensor, *, tolerance: float) -> tuple[Tensor, Tensor]:
    """Mean gain of each image, (B,), and by how much it is more than the tolerance and its noise.

    Three standard errors of the paired difference of samples (K, B); −∞ where one is not finite.
    """
    gain = there.double() - here.double()
    noise = gain.std(0) / len(gain) ** 0.5 if len(gain) > 1 else torch.zeros_like(gain[0])
    mean = gain.mean(0)
    return mean, (mean - tolerance - _ERRORS * noise).nan_to_num(nan=-torch.inf)
