"""Maps of each value by itself: from (0, 1) to the real line, and to values of ordinary size."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyro_models.errors import UsageError
from pyro_models.flows.layer import Layer, summed
from pyro_models.units import Units

__all__ = ["Logit", "Standardize"]


class Logit(Layer):
    r"""The logit of v in [0, 1] of a shape, kept from the ends.

    .. math:: z = \log w − \log(1 − w), \quad w = α/2 + (1 − α) v

    α keeps z finite at v = 0 and 1 (Dinh et al. 2017). What is drawn beyond these is taken to them.

    >>> v = torch.tensor([[0.0, 0.5, 1.0]])
    >>> logit = Logit((3,), alpha=1e-5)
    >>> [round(z, 2) for z in logit(v)[0].flatten().tolist()]
    [-12.21, 0.0, 12.21]
    """

    def __init__(self, shape: tuple[int, ...], *, alpha: float = 1e-5) -> None:
        super().__init__()
        if not isinstance(alpha, int | float) or not 0 < alpha < 1:
            raise UsageError(f"α of the logit must lie between 0 and 1; got {alpha!r}")
        self.event_dims, self.alpha = len(shape), alpha

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and log |dz/dv| = log(1 − α) − log w − log(1 − w)."""
        edge, slope = self.alpha / 2, 1 - self.alpha
        log_w = torch.log(edge + slope * x)
        log_rest = torch.log(edge + slope * (1 - x))  # 1 − v loses nothing near 1, 1 − w does
        return log_w - log_rest, summed(math.log(slope) - log_w - log_rest, self.event_dims)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """v."""
        return ((torch.sigmoid(z) - self.alpha / 2) / (1 - self.alpha)).clamp(0, 1)


class Standardize(Layer):
    """z = (x − c)/s in the units of the data, which a pair takes from them when it is started."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.units = Units(shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and −Σ log s."""
        log_det = -self.units.scale.log().sum()
        return self.units(x), log_det.expand(x.shape[: -self.units.scale.dim()])

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """c + s z."""
        return self.units.restored(z)
