"""Networks of couplings: what some pixels say of how the others are scaled and moved."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.networks import Activation, dense

__all__ = ["ChannelNorm", "ConcatELU", "DenseBody", "GatedBody"]


class DenseBody(nn.Module):
    """Dense layers from the values under a mask, and a context, to two numbers for each other one.

    The last layer starts at zero, so that a coupling starts as the identity. A context has
    ``context`` values.
    """

    kept: Tensor
    moved: Tensor

    def __init__(
        self, mask: Tensor, hidden: Sequence[int], *, context: int = 0, activation: Activation
    ) -> None:
        super().__init__()
        self.shape = tuple(mask.shape)
        for name, values in (("kept", mask), ("moved", ~mask)):
            self.register_buffer(name, values.flatten().nonzero().flatten(), persistent=False)
        self.numbers = max(2 * mask.numel(), *hidden)  # held for one datum
        sizes = [len(self.kept) + context, *hidden, 2 * len(self.moved)]
        self.body = dense(sizes, activation)
        _begin_at_zero(self.body[-1])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(\\*batch, \\*shape) to (\\*batch, 2, \\*shape), 0 under the mask."""
        dims = len(self.shape)
        seen = x.flatten(-dims).index_select(-1, self.kept)
        if context is not None:
            flat = context.flatten(-dims).to(seen.dtype)
            seen = torch.cat([seen, flat.expand(*seen.shape[:-1], -1)], -1)
        said = self.body(seen).to(x.dtype).unflatten(-1, (2, -1))
        everywhere = said.new_zeros(*said.shape[:-1], math.prod(self.shape))
        return everywhere.index_copy(-1, self.moved, said).unflatten(-1, self.shape)


class ConcatELU(nn.Module):
    """[ELU(x), ELU(−x)] along the channels (Salimans et al. 2017)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to (B, 2 C, H, W)."""
        return torch.cat([F.elu(x), F.elu(-x)], 1)


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        variance, mean = torch.var_mean(x, dim=1, correction=0, keepdim=True)
        return (x - mean) * torch.rsqrt(variance + 1e-5) * self.weight + self.bias


class GatedBlock(nn.Module):
    """x + a σ(b), [a, b] by a 3×3 and a 1×1 convolution behind concatenated ELUs, normalised."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ConcatELU(),
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            ConcatELU(),
            nn.Conv2d(2 * channels, 2 * channels, 1),
        )
        self.norm = ChannelNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        value, gate = self.body(x).chunk(2, 1)
        return self.norm(x + value * torch.sigmoid(gate))


class GatedBody(nn.Module):
    """Gated residual blocks between two 3×3 convolutions, the last of which starts at zero.

    A context is an image of the same height and width with ``context`` channels.
    """

    def __init__(
        self, shape: tuple[int, ...], channels: int, *, blocks: int = 3, context: int = 0
    ) -> None:
        super().__init__()
        self.numbers = 2 * channels * math.prod(shape[1:])  # held for one datum
        self.body = nn.Sequential(
            nn.Conv2d(shape[0] + context, channels, 3, padding=1),
            *(GatedBlock(channels) for _ in range(blocks)),
            ConcatELU(),
            nn.Conv2d(2 * channels, 2 * shape[0], 3, padding=1),
        )
        _begin_at_zero(self.body[-1])

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(\\*batch, C, H, W) to (\\*batch, 2, C, H, W)."""
        batch = x.shape[:-3]
        if context is not None:
            x = torch.cat([x, context.to(x.dtype).expand(*batch, *context.shape[-3:])], -3)
        said: Tensor = self.body(x.reshape(-1, *x.shape[-3:]))
        return said.to(x.dtype).unflatten(1, (2, -1)).reshape(*batch, 2, -1, *x.shape[-2:])


def _begin_at_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
