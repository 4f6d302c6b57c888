"""Networks that see the noise in z_t, given the time t/T.

All accept any leading batch dimensions, and hand back the float type of z.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.counts import layer_sizes
from pyro_models.errors import UsageError, in_one_line
from pyro_models.modules import module_for
from pyro_models.registry import Registry

__all__ = ["DENOISERS", "DenseDenoiser", "UNet", "denoiser_for"]

_GROUPS = 8


class TimeFeatures(nn.Module):
    """t/T as sines and cosines of many frequencies, through two layers."""

    frequencies: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        frequencies = torch.exp(torch.linspace(0, math.log(1e3), 16)) * math.pi / 2
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(32, features), nn.SiLU(), nn.Linear(features, features), nn.SiLU()
        )

    def forward(self, time: Tensor) -> Tensor:
        """(N,) to (N, features)."""
        angles = time.unsqueeze(-1) * self.frequencies
        return self.layers(torch.cat([angles.sin(), angles.cos()], -1))


class Denoiser(nn.Module):
    """What every one does: leading dimensions become one, and the float type of z comes back."""

    def __init__(self, data_shape: Sequence[int]) -> None:
        super().__init__()
        self.data_shape = tuple(data_shape)
        self.numbers = math.prod(self.data_shape)  # of the widest layer

    def body(self, z: Tensor, time: Tensor) -> Tensor:
        """(N, \\*data_shape) and (N,) to (N, \\*data_shape)."""
        raise NotImplementedError

    def forward(self, z: Tensor, time: Tensor) -> Tensor:
        """z (\\*batch, \\*data_shape) and t/T (\\*batch,) to one value for each."""
        flat = z.reshape(-1, *self.data_shape)
        return self.body(flat, time.reshape(-1)).to(z.dtype).reshape(z.shape)


class DenseDenoiser(Denoiser):
    """A residual network of dense layers: h + W₂ silu(W₁ silu(h) + V time), layer after layer."""

    def __init__(self, data_shape: Sequence[int], *, hidden: Sequence[int] = (256, 256)) -> None:
        super().__init__(data_shape)
        width = _equal(hidden)
        size, self.numbers = self.numbers, max(self.numbers, width)
        self.time = TimeFeatures(width)
        self.first, self.last = nn.Linear(size, width), nn.Linear(width, size)
        self.into = nn.ModuleList(nn.Linear(width, width) for _ in hidden)
        self.of_time = nn.ModuleList(nn.Linear(width, width) for _ in hidden)
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in hidden)
        nn.init.zeros_(self.last.weight)

    def body(self, z: Tensor, time: Tensor) -> Tensor:
        """Of data in a row."""
        h, features = self.first(z.flatten(1)), self.time(time)
        for into, of_time, out in zip(self.into, self.of_time, self.out, strict=True):
            h = h + out(F.silu(into(F.silu(h)) + of_time(features)))
        return self.last(F.silu(h)).unflatten(-1, self.data_shape)


def _equal(hidden: Sequence[int]) -> int:
    layer_sizes(hidden)
    if len(set(hidden)) > 1:
        raise UsageError(
            f"hidden of a dense denoiser are blocks of one width, such as [256, 256]; got "
            f"{list(hidden)}"
        )
    return hidden[0]


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions with group norms, the time added between them."""

    def __init__(self, n_in: int, n_out: int, features: int) -> None:
        super().__init__()
        self.before = nn.GroupNorm(math.gcd(_GROUPS, n_in), n_in)
        self.conv = nn.Conv2d(n_in, n_out, 3, padding=1)
        self.time = nn.Linear(features, n_out)
        self.between = nn.GroupNorm(math.gcd(_GROUPS, n_out), n_out)
        self.again = nn.Conv2d(n_out, n_out, 3, padding=1)
        self.past = nn.Identity() if n_in == n_out else nn.Conv2d(n_in, n_out, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(N, n_in, H, W) and (N, features) to (N, n_out, H, W)."""
        h = self.conv(F.silu(self.before(x))) + self.time(time)[..., None, None]
        return self.past(x) + self.again(F.silu(self.between(h)))


class UNet(Denoiser):
    """Residual blocks of the channels ``hidden``, the image halved between them, and back again.

    What each block on the way down says is beside the input of its mirror image on the way up
    (Ronneberger et al. 2015; Ho et al. 2020). Any image size comes back: ⌈n/2⌉ is undone by the
    size of the mirror image.
    """

    def __init__(self, data_shape: Sequence[int], *, hidden: Sequence[int] = (32, 64)) -> None:
        super().__init__(data_shape)
        if len(self.data_shape) != 3:
            raise UsageError(f"a U-Net is of images (C, H, W); got shape {self.data_shape}")
        hidden = layer_sizes(hidden)
        size = 4 * hidden[0]
        self.numbers = 2 * hidden[0] * math.prod(self.data_shape[1:])
        self.time = TimeFeatures(size)
        self.first = nn.Conv2d(self.data_shape[0], hidden[0], 3, padding=1)
        pairs = list(zip([hidden[0], *hidden[:-1]], hidden, strict=True))
        self.down = nn.ModuleList(ResidualBlock(a, b, size) for a, b in pairs)
        self.halve = nn.ModuleList(nn.Conv2d(b, b, 3, 2, 1) for b in hidden[:-1])
        self.middle = ResidualBlock(hidden[-1], hidden[-1], size)
        self.up = nn.ModuleList(ResidualBlock(2 * b, a, size) for a, b in reversed(pairs))
        self.norm = nn.GroupNorm(math.gcd(_GROUPS, hidden[0]), hidden[0])
        self.last = nn.Conv2d(hidden[0], self.data_shape[0], 3, padding=1)
        nn.init.zeros_(self.last.weight)

    def body(self, z: Tensor, time: Tensor) -> Tensor:
        """Of images in a row."""
        features = self.time(time)
        h, passed = self.first(z), []
        for i, block in enumerate(self.down):
            h = block(self.halve[i - 1](h) if i else h, features)
            passed.append(h)
        h = self.middle(h, features)
        for block in self.up:
            there = passed.pop()
            if h.shape[-2:] != there.shape[-2:]:
                h = F.interpolate(h, size=there.shape[-2:], mode="nearest")
            h = block(torch.cat([h, there], 1), features)
        return self.last(F.silu(self.norm(h)))


DENOISERS: Registry[Callable[..., nn.Module]] = Registry(
    "denoiser",
    {"dense": DenseDenoiser, "unet": UNet},
    hint="give a module that is called with z and t/T",
)


def denoiser_for(
    denoiser: str | Mapping[str, Any] | Callable[..., nn.Module],
    data_shape: tuple[int, ...],
    hidden: Sequence[int] | None,
) -> nn.Module:
    """A denoiser by its name, its class, or as it is; ``hidden`` as of a class, if given."""
    given = {} if hidden is None else {"hidden": hidden}
    return _checked(module_for(DENOISERS, denoiser, data_shape, **given), data_shape)


def _checked(network: nn.Module, data_shape: tuple[int, ...]) -> nn.Module:
    """A network that returns a number for each of z; one of one's own is asked once."""
    if isinstance(network, Denoiser) and network.data_shape == data_shape:
        return network
    name, training = type(network).__name__, network.training
    like = next(network.parameters(), torch.zeros((), device="cpu"))
    z, time = like.new_zeros(2, *data_shape), like.new_ones(2)
    try:
        with torch.no_grad(), in_one_line(f"the denoiser {name} of z {tuple(z.shape)}"):
            found = network.eval()(z, time)
    finally:
        network.train(training)
    shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if shape != tuple(z.shape):
        raise UsageError(
            f"a denoiser returns one number for each of z, {tuple(z.shape)}; {name} returned "
            f"{shape}"
        )
    return network
