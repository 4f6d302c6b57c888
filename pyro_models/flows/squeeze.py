"""Maps that only move values: space to channels, and half of the channels out of the way."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from pyro_models.errors import UsageError
from pyro_models.flows.layer import Layer

__all__ = ["Split", "Squeeze"]


class Squeeze(Layer):
    """Every 2 × 2 block of an image becomes four channels: (C, H, W) to (4 C, H/2, W/2).

    >>> Squeeze()(torch.arange(4.0).view(1, 1, 2, 2))[0].flatten().tolist()
    [0.0, 1.0, 2.0, 3.0]
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and 0."""
        *batch, channels, height, width = x.shape
        blocks = x.reshape(*batch, channels, height // 2, 2, width // 2, 2)
        z = blocks.movedim((-3, -1), (-4, -3)).reshape(
            *batch, 4 * channels, height // 2, width // 2
        )
        return z, x.new_zeros(batch)

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The image."""
        *batch, channels, height, width = z.shape
        blocks = z.reshape(*batch, channels // 4, 2, 2, height, width)
        return blocks.movedim((-4, -3), (-3, -1)).reshape(
            *batch, channels // 4, 2 * height, 2 * width
        )

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """(4 C, H/2, W/2); H and W must be even."""
        if len(shape) != 3 or shape[1] % 2 or shape[2] % 2:
            raise UsageError(
                f"squeezing halves height and width of images (C, H, W), which must be even; got "
                f"{shape}: use another flow, or pad the images"
            )
        return 4 * shape[0], shape[1] // 2, shape[2] // 2


class Split(Layer):
    """z = [f(a), b] of an image whose channels are a and b: b is noise already (Dinh et al. 2017).

    ``inner`` is f, and ``shape`` that of the image; z is one vector.
    """

    def __init__(self, inner: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        if shape[0] % 2:
            raise UsageError(f"a split needs an even number of channels; got {shape[0]}")
        self.inner = inner
        self.half_shape = (shape[0] // 2, *shape[1:])
        self.inner_shape = inner.shape_after(self.half_shape)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and the log-determinant of f."""
        a, b = x.chunk(2, dim=-3)
        z, log_det = self.inner(a, context)
        return torch.cat([z.flatten(-len(self.inner_shape)), b.flatten(-3)], -1), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The image."""
        first, b = z.chunk(2, dim=-1)
        a = self.inner.inverse(first.unflatten(-1, self.inner_shape), context)
        return torch.cat([a, b.unflatten(-1, self.half_shape)], dim=-3)

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """One vector."""
        return (math.prod(shape),)
