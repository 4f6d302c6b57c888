"""The contract of p(x | z): what every likelihood is asked, whoever asks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.data import to_grey
from pyro_models.errors import UsageError

__all__ = ["LEBESGUE", "LEBESGUE_UNIT", "Likelihood", "PixelDistribution", "bisected", "widened"]

LEBESGUE = "Lebesgue"  # on the scale of the data, whatever that is
LEBESGUE_UNIT = "Lebesgue on [0,1]"


class Likelihood(nn.Module):
    """p(x | z) over data of shape ``data_shape``, from decoder outputs.

    Attributes
    ----------
    name
        Name to ask for it by.
    measure
        What its log-probabilities are relative to, with all that the number hangs on (levels, ε);
        ``None`` if it is no probability at all.
    preparation
        The pixel preparation it is meant for.
    num_parameters
        Decoder outputs per pixel and channel.
    no_probability
        Why there is no p(x), where ``measure`` is None.
    on_unit_interval
        What to call it where it is of pixels in [0, 1] alone; empty for data of any range.
    for_other_data
        What to do instead with data of any range.
    """

    name: ClassVar[str]
    measure: str | None
    preparation: ClassVar[str]
    num_parameters: int = 1
    no_probability: ClassVar[str] = ""
    on_unit_interval: str = ""
    for_other_data: ClassVar[str] = "use the likelihood gaussian"

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)

    def forward(self, outputs: Tensor, mask: Tensor | None = None) -> TorchDistribution:
        """Distribution of x with the batch shape of ``outputs`` and one datum as its event.

        Outputs are (\\*batch, num_parameters, \\*data_shape), unbounded; the mask is True where
        seen and broadcastable to (B, \\*data_shape). Unseen pixels contribute log 1.
        """
        pixels = self.pixels(outputs)
        if mask is not None:
            pixels = pixels.mask(mask)
        return _Datum(pixels, len(self.data_shape))

    def pixels(self, outputs: Tensor) -> TorchDistribution:
        """Independent distributions of the pixels, batch shape (\\*batch, \\*data_shape)."""
        raise NotImplementedError

    def mean(self, outputs: Tensor) -> Tensor:
        """E[x | z], (\\*batch, \\*data_shape)."""
        return self.pixels(outputs).mean

    def outputs_for(self, mean: Tensor) -> Tensor:
        """Decoder outputs (num_parameters, \\*data_shape) that make ``mean`` the mean image."""
        raise NotImplementedError

    @property
    def of_any_scale(self) -> bool:
        """Whether it is of real numbers in any units, rather than of pixels."""
        return self.measure == LEBESGUE

    def start_at(self, spread: Tensor) -> None:
        """Start a scale that is learned at the data's spread, (\\*data_shape); most have none.

        ``outputs_for`` follows it.
        """

    def start_units(self, x: Tensor) -> str:
        """Take units of its own from vectors (N, D); what was done in words. Most have none."""
        return ""

    def check(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Refuse data that this likelihood cannot have, in a line that says what to do."""
        seen = x if mask is None else x[mask.expand_as(x)]
        if not bool(torch.isfinite(seen).all()):
            raise UsageError(
                "the data hold NaN or infinite values; leave such pixels out with a mask"
            )
        if self.on_unit_interval and not bool(((seen >= 0) & (seen <= 1)).all()):
            raise UsageError(
                f"{self.on_unit_interval} is of pixels in [0, 1]; divide 0…255 pixels by 255, or "
                f"{self.for_other_data} for data of any range"
            )
        self.check_seen(seen)

    def check_levels(self, levels: int | None, *, data: str) -> None:
        """Refuse data of so many grey levels, ``None`` if unknown, where only others will do."""

    def check_seen(self, seen: Tensor) -> None:
        """Refuse what else this likelihood cannot have among the seen pixels, in a row."""

    def why_no_bits(self, *, preparation: str, levels: int | None) -> str:
        """Why log p(x) is not to be had in bits per dimension; empty if it is.

        Here for densities: those of dequantised pixels bound the probability of the grey ones.
        Pixels are of a preparation, and of so many grey levels in the data; ``None`` if unknown.
        """
        if self.no_probability:
            return self.no_probability
        if preparation != "dequantised":
            return f"a density on {preparation} pixels; dequantise them"
        return ""

    def grey_mean(self, mean: Tensor, *, preparation: str, levels: int | None) -> Tensor:
        """A mean image of this likelihood, of pixels so prepared, on the scale of grey pixels."""
        return to_grey(mean, preparation, levels=levels)

    def config(self) -> dict[str, Any]:
        """Options that rebuild it, besides the data shape: each is an attribute by its name."""
        names = [n for n in inspect.signature(type(self)).parameters if n != "data_shape"]
        now = {name: getattr(self, name) for name in names if hasattr(self, name)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in now.items()}


class _Datum(dist.Independent):
    """Independent pixels as one event; their sum is rounded once, to the float type of the data."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value).to(value.dtype)


class PixelDistribution(TorchDistribution):
    """A distribution of pixels in [0, 1] whose parameters are those of ``arg_constraints``."""

    support = constraints.unit_interval

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), nats, of each pixel, of x that broadcasts with the parameters."""
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob(value)

    def _log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = copy(self)
        for name, constraint in self.arg_constraints.items():
            value = getattr(self, name)
            event = value.shape[value.dim() - constraint.event_dim :]
            setattr(new, name, value.expand(*batch_shape, *event))
        new._batch_shape = torch.Size(batch_shape)
        return new


def bisected(
    rising: Callable[[Tensor], Tensor], wanted: Tensor, low: float, high: float, *, steps: int
) -> Tensor:
    """Where a function that rises with each of its arguments is as wanted, between two numbers."""
    below, above = torch.full_like(wanted, low), torch.full_like(wanted, high)
    for _ in range(steps):
        middle = (below + above) / 2
        small = rising(middle) < wanted
        below, above = torch.where(small, middle, below), torch.where(small, above, middle)
    return (below + above) / 2


def widened(values: Tensor) -> Tensor:
    """In float64, where the device has it: there, terms that cancel leave all digits of float32."""
    return values if values.device.type == "mps" else values.double()
