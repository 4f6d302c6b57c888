"""The units of data: networks see and make values of ordinary size, whatever the data are in."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_models.moments import mean_of, spread_of
from pyro_models.pair import fill_unseen

__all__ = ["Units", "names_of_units", "set_units", "units_of"]

SPREADS = (1e-2, 10.0)  # within these, and with means up to the larger, data stay as they are


class Units(nn.Module):
    """x = c + s u: centre and scale of data x, of which a network sees or makes u.

    Both are buffers that :func:`set_units` takes from the data; until then c = 0 and s = 1.

    >>> units = Units((2,))
    >>> units.set(torch.tensor([1e9, 0.0]), torch.tensor([1e6, 1.0]))
    >>> units(torch.tensor([[1e9, 3.0]]))
    tensor([[0., 3.]])
    """

    centre: Tensor
    scale: Tensor

    def __init__(self, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(data_shape))
        self.register_buffer("scale", torch.ones(data_shape))
        self.as_they_are = True

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """u of data (\\*batch, \\*data_shape); 0 where unseen."""
        return fill_unseen(x if self.as_they_are else (x - self.centre) / self.scale, mask)

    def restored(self, u: Tensor) -> Tensor:
        """x of values (\\*batch, \\*data_shape) in these units."""
        return u if self.as_they_are else self.centre + self.scale * u

    @property
    def overall(self) -> Tensor | float:
        """Root mean square of s, for what has one scale for all values."""
        return 1.0 if self.as_they_are else self.scale.square().mean().sqrt()

    @torch.no_grad()
    def set(self, centre: Tensor, scale: Tensor) -> None:
        """Let c and s be these, (\\*data_shape) each."""
        self.centre.copy_(centre)
        self.scale.copy_(scale)
        self._look()

    def _look(self) -> None:
        """Whether x = u, known without asking the device in every step."""
        self.as_they_are = not bool(self.centre.any()) and bool((self.scale == 1).all())

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("centre", "scale"):  # what was stored before there were units had none
            state.setdefault(prefix + name, getattr(self, name))
        super()._load_from_state_dict(state, prefix, *rest)
        self._look()


@torch.no_grad()
def units_of(x: Tensor, *, one_scale: bool = False) -> tuple[Tensor, Tensor]:
    """Centre and scale that suit data (N, \\*data_shape), (\\*data_shape) each, in float64.

    Data that a network takes as they are, of a spread between 0.01 and 10 and means of at most 10,
    have 0 and 1. All others have their mean and standard deviation: one for each value of a vector
    and each channel of an image, or ``one_scale`` for all; what does not vary has that of the
    whole.

    >>> x = torch.tensor([[0.0], [2.0]], dtype=torch.float64)
    >>> [[float(t) for t in units_of(factor * x)] for factor in (1, 1e9)]
    [[0.0, 1.0], [1000000000.0, 1000000000.0]]
    """
    mean, spread = mean_of(x), spread_of(x)
    overall = spread.square().mean().sqrt()
    least, most = SPREADS
    if bool((least <= overall) & (overall <= most) & (mean.abs().max() <= most)):
        return torch.zeros_like(mean), torch.ones_like(mean)
    if not bool(overall > 0):  # a millionth of their size stands for the spread they lack
        overall = 1e-6 * mean.abs().max() if bool(mean.any()) else torch.ones_like(overall)
    if mean.dim() == 3:
        mean = mean.mean((-2, -1), keepdim=True).expand_as(mean)
        spread = spread.square().mean((-2, -1), keepdim=True).sqrt().expand_as(mean)
    if one_scale:
        spread = overall.expand_as(mean)
    return mean, torch.where(spread > 0, spread, overall)


def set_units(module: nn.Module, x: Tensor, *, one_scale: bool = False) -> bool:
    """Let all :class:`Units` inside a module be those of the data; whether they are any at all."""
    centre, scale = units_of(x, one_scale=one_scale)
    found = [part for part in module.modules() if isinstance(part, Units)]
    for part in found:
        part.set(centre, scale)
    return not all(part.as_they_are for part in found)


def names_of_units(module: nn.Module) -> set[str]:
    """Names of the buffers of all :class:`Units` inside a module, in its state."""
    parts = [name for name, part in module.named_modules() if isinstance(part, Units)]
    return {f"{name}.{buffer}" for name in parts for buffer in ("centre", "scale")}
