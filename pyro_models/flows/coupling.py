"""Affine couplings: some values are moved and scaled by what the others say."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyro_models.flows.layer import Layer, summed

__all__ = ["AffineCoupling", "channel_mask", "checkerboard"]


def checkerboard(shape: tuple[int, ...], *, inverted: bool = False) -> Tensor:
    """True on every other pixel, of images (C, H, W) or of vectors (D,).

    >>> checkerboard((1, 2, 3)).int().tolist()
    [[[0, 1, 0], [1, 0, 1]]]
    """
    sides = shape[-2:] if len(shape) == 3 else shape
    place = sum(torch.meshgrid(*(torch.arange(n) for n in sides), indexing="ij"))
    return ((torch.as_tensor(place) % 2 == 1) != inverted).expand(shape).clone()


def channel_mask(shape: tuple[int, ...], *, inverted: bool = False) -> Tensor:
    """True on the first half of the channels of images (C, H, W).

    >>> channel_mask((4, 1, 1), inverted=True).flatten().tolist()
    [False, False, True, True]
    """
    first = torch.arange(shape[0]) < shape[0] // 2
    return (first != inverted).view(-1, *(1,) * (len(shape) - 1)).expand(shape).clone()


class AffineCoupling(Layer):
    r"""An affine map of the values where the mask is False (Dinh et al. 2017).

    .. math:: z = m ⊙ x + (1 − m) ⊙ (x + t)\, e^s, \quad (t, s) \text{ of } m ⊙ x

    t and s = f tanh(r / f) are what a network says of the values under the mask, with a bound f > 0
    that is learned for each channel (for each value of a vector), log f = 0 at the start.

    ``network(x, context)`` gives r and t, (\*batch, 2, \*shape), of x that is 0 where the mask is
    False; the mask m is (\*shape).
    """

    mask: Tensor

    def __init__(self, network: Any, mask: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mask", mask, persistent=False)
        ones = (1,) * (mask.dim() - 1)
        self.log_bound = nn.Parameter(torch.zeros(mask.shape[0], *ones))

    def _scale_and_shift(self, x: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """s and t, 0 where the mask is True."""
        said = self.network(x * self.mask, context).to(x.dtype)
        raw, shift = said.unbind(-1 - self.mask.dim())
        bound = self.log_bound.exp()
        return bound * torch.tanh(raw / bound) * ~self.mask, shift * ~self.mask

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and Σ s."""
        s, t = self._scale_and_shift(x, context)
        return (x + t) * s.exp(), summed(s, self.mask.dim())

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """z e⁻ˢ − t, with s and t of what is the same in both."""
        s, t = self._scale_and_shift(z, context)
        return z * (-s).exp() - t
