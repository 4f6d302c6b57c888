"""Dense and convolutional bodies. A network returns a distribution or a likelihood's outputs.

All accept any leading batch dimensions (particles, enumeration), take an optional context
(a one-hot label) beside their input, and hand back the input's float type, so that autocast covers
networks and never log-probabilities.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.counts import is_count, layer_sizes
from pyro_models.errors import UsageError, in_one_line
from pyro_models.registry import Registry

__all__ = [
    "LATENT_SCALES",
    "NETWORKS",
    "Architecture",
    "DenseDecoder",
    "NormalHead",
    "dense",
    "make_classifier",
    "make_decoder",
    "make_encoder",
]

ACTIVATIONS: Registry[type[nn.Module]] = Registry(
    "activation",
    {
        "relu": nn.ReLU,
        "tanh": nn.Tanh,
        "softplus": nn.Softplus,
        "silu": nn.SiLU,
        "gelu": nn.GELU,
        "leaky_relu": nn.LeakyReLU,
        "gated": nn.GLU,
    },
)
Activation = str | Mapping[str, Any] | type[nn.Module]
Shape = tuple[int, ...]
_SCALE_FLOOR = 1e-5


def activation_for(activation: Activation) -> partial[nn.Module]:
    """What makes an activation: of a class, by its name or as it is, with its options if any."""
    thing, options = ACTIVATIONS.named(activation, {})
    return partial(ACTIVATIONS[thing] if isinstance(thing, str) else thing, **options)


def _gated(activation: Activation) -> int:
    """Values that a layer makes for each feature: 2 if h = (W x + b) ⊙ σ(V x + c), else 1."""
    return 2 if activation_for(activation).func is nn.GLU else 1


def _between(activation: Activation, *, dim: int = -1) -> nn.Module:
    """What stands between two layers, of features along ``dim``."""
    kind = activation_for(activation)
    return nn.GLU(dim) if kind.func is nn.GLU else kind()


def dense(sizes: Sequence[int], activation: Activation = "relu") -> nn.Sequential:
    """Linear layers of the given sizes with the activation after each but the last.

    >>> dense([784, 400, 2], "tanh")[0].out_features
    400
    """
    if not all(map(is_count, sizes)):
        raise UsageError(f"layer sizes must be positive; got {list(sizes)}")
    return nn.Sequential(*_hidden(sizes[:-1], activation), nn.Linear(sizes[-2], sizes[-1]))


def _hidden(sizes: Sequence[int], activation: Activation) -> list[nn.Module]:
    """Linear layers of the given sizes with the activation after each."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        layers += [nn.Linear(n_in, n_out * _gated(activation)), _between(activation)]
    return layers


def _join(x: Tensor, context: Tensor | None) -> Tensor:
    """Concatenate along the last dimension, broadcasting the leading ones."""
    if context is None:
        return x
    batch = torch.broadcast_shapes(x.shape[:-1], context.shape[:-1])
    context = context.to(x.dtype)
    return torch.cat([x.expand(*batch, -1), context.expand(*batch, -1)], dim=-1)


class NormalHead(nn.Module):
    """Features to N(μ, diag σ²) with σ = softplus(s) + 1e-5: positive, and unbounded above."""

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """σ of s."""
        return F.softplus(raw) + _SCALE_FLOOR

    def __init__(self, features: int, event_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 2 * event_dim)

    def forward(self, features: Tensor) -> TorchDistribution:
        """(\\*batch, features) to a Normal of batch shape (\\*batch,), event shape (event_dim,)."""
        out = self.linear(features)
        loc, raw = out.to(torch.promote_types(out.dtype, torch.float32)).chunk(2, dim=-1)
        return dist.Normal(loc, self.scale(raw)).to_event(1)


class ClippedNormalHead(NormalHead):
    """Features to N(μ, diag σ²) with log σ² clipped to [−6, 2], as Tomczak & Welling (2018) do."""

    @staticmethod
    def scale(raw: Tensor) -> Tensor:
        """σ of s = log σ²."""
        return (0.5 * F.hardtanh(raw, -6.0, 2.0)).exp()


LATENT_SCALES: Registry[type[NormalHead]] = Registry(
    "latent_scale", {"softplus": NormalHead, "clipped": ClippedNormalHead}
)


class DenseFeatures(nn.Module):
    """A datum, flattened, with its context beside it, through dense layers."""

    def __init__(
        self, data_shape: Shape, hidden: Sequence[int], context: int, activation: Activation
    ) -> None:
        super().__init__()
        self.data_dims = len(data_shape)
        self.out_features = hidden[-1]
        sizes = [math.prod(data_shape) + context, *hidden]
        self.body = nn.Sequential(*_hidden(sizes, activation))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(\\*batch, \\*data_shape) to (\\*batch, hidden[-1])."""
        flat = x.flatten(-self.data_dims)
        if context is None or context.shape[:-1] == flat.shape[:-1]:
            return self.body(_join(flat, context))
        # many contexts of one datum (enumerated labels): W [x, c] = W_x x + W_c c, x only once
        first = self.body[0]
        assert isinstance(first, nn.Linear)
        w_x, w_c = first.weight.split([flat.shape[-1], context.shape[-1]], dim=-1)
        c = F.linear(context.to(flat.dtype), w_c)
        return self.body[1:](F.linear(flat, w_x, first.bias) + c)


class ConvFeatures(nn.Module):
    """3×3 convolutions of stride 2 and padding 1, flattened, with the context beside them."""

    def __init__(
        self, data_shape: Shape, hidden: Sequence[int], context: int, activation: Activation
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for n_in, n_out in zip([data_shape[0], *hidden[:-1]], hidden, strict=True):
            wide = n_out * _gated(activation)
            layers += [nn.Conv2d(n_in, wide, 3, stride=2, padding=1), _between(activation, dim=-3)]
        self.body = nn.Sequential(*layers)
        self.out_features = math.prod(_conv_shapes(data_shape, hidden)[-1]) + context

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """(\\*batch, C, H, W) to (\\*batch, features)."""
        features = self.body(x.reshape(-1, *x.shape[-3:])).flatten(1)
        return _join(features.reshape(*x.shape[:-3], -1), context)


class Encoder(nn.Module):
    """What a head makes of features of (x, context): N(μ, diag σ²) over z, or logits of y."""

    def __init__(self, features: Any, outputs: int, *, head: Callable[..., Any]) -> None:
        super().__init__()
        self.features = features
        self.head = head(features.out_features, outputs)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Any:
        """(\\*batch, \\*data_shape) to a Normal of batch shape (\\*batch,), or to logits."""
        return self.head(self.features(x, context))


class DenseDecoder(nn.Module):
    """Latents, with context beside them, through dense layers to outputs per pixel."""

    def __init__(
        self,
        in_features: int,
        hidden: Sequence[int],
        out_shape: Shape,
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.out_shape = out_shape
        self.body = dense([in_features, *hidden[::-1], math.prod(out_shape)], activation)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """(\\*batch, latent_dim) to (\\*batch, \\*out_shape)."""
        return self.body(_join(z, context)).to(z.dtype).unflatten(-1, self.out_shape)

    @torch.no_grad()
    def set_output_bias(self, mean: Tensor, outputs_for: Callable[[Tensor], Tensor]) -> None:
        """Let the outputs start at those of the mean image (\\*data_shape), pixel by pixel."""
        last = self.body[-1]
        assert isinstance(last, nn.Linear)
        last.bias.copy_(outputs_for(mean).flatten())


class ConvDecoder(nn.Module):
    """The mirror image of the convolutional encoder: transposed 3×3 convolutions of stride 2.

    The output padding that undoes ⌈n/2⌉ is worked out per side, so any image size comes back.
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], out_shape: Shape, activation: Activation
    ) -> None:
        super().__init__()
        self.out_shape = out_shape
        parameters, channels, height, width = out_shape
        shapes = _conv_shapes((channels, height, width), hidden)[::-1]
        gate = _gated(activation)
        outputs = [*(s[0] * gate for s in shapes[1:-1]), parameters * channels]
        self.start_shape = (shapes[0][0] * gate, *shapes[0][1:])
        layers: list[nn.Module] = []
        for i, n_out in enumerate(outputs):
            small, large = shapes[i], shapes[i + 1]
            padding = (large[1] - (2 * small[1] - 1), large[2] - (2 * small[2] - 1))
            up = nn.ConvTranspose2d(small[0], n_out, 3, stride=2, padding=1, output_padding=padding)
            layers += [_between(activation, dim=-3), up]
        self.linear = nn.Linear(in_features, math.prod(self.start_shape))
        self.body = nn.Sequential(*layers)

    def forward(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """(\\*batch, latent_dim) to (\\*batch, \\*out_shape)."""
        z_c = _join(z, context)
        start = self.linear(z_c.reshape(-1, z_c.shape[-1])).unflatten(-1, self.start_shape)
        return self.body(start).to(z.dtype).reshape(*z_c.shape[:-1], *self.out_shape)

    @torch.no_grad()
    def set_output_bias(self, mean: Tensor, outputs_for: Callable[[Tensor], Tensor]) -> None:
        """Let the outputs start at those of the mean pixel of each channel: a bias has no more."""
        last = self.body[-1]
        assert isinstance(last, nn.ConvTranspose2d)
        assert last.bias is not None
        pixel = mean.mean((-2, -1), keepdim=True).expand_as(mean)
        last.bias.copy_(outputs_for(pixel)[..., 0, 0].flatten())


def _conv_shapes(data_shape: tuple[int, ...], channels: Sequence[int]) -> list[tuple[int, ...]]:
    """Shapes from a datum through 3×3 convolutions of stride 2 and padding 1: n becomes ⌈n/2⌉."""
    shapes = [tuple(data_shape)]
    for channel in channels:
        _, height, width = shapes[-1]
        shapes.append((channel, -(-height // 2), -(-width // 2)))
    return shapes


@dataclass(frozen=True)
class Architecture:
    """What the networks of a pair are made of, from data to features and from latents to outputs.

    ``features(data_shape, hidden, context, activation)`` is a module of (x, context) with
    ``out_features``; ``decoder(in_features, hidden, out_shape, activation)`` one of (z, context) to
    (\\*batch, \\*out_shape), ``in_features`` long with the context.
    """

    features: Callable[..., Any]
    decoder: Callable[..., Any]


NETWORKS: Registry[Any] = Registry(
    "network",
    {
        "dense": Architecture(DenseFeatures, DenseDecoder),
        "conv": Architecture(ConvFeatures, ConvDecoder),
    },
)


def _architecture(
    network: str | Mapping[str, Any] | Architecture,
    data_shape: Shape,
    hidden: Sequence[int],
    latent_dim: int,
    activation: Activation,
) -> Architecture:
    """What makes the networks, and whether it can."""
    thing, options = NETWORKS.named(network, {})
    found = NETWORKS[thing] if isinstance(thing, str) else thing
    if options or not isinstance(found, Architecture):
        with in_one_line(f"the network {thing}"):
            found = found(**options)
    if thing == "conv" and len(data_shape) != 3:
        raise UsageError(
            f"a convolutional network needs images of shape (C, H, W); got {tuple(data_shape)}"
        )
    if not is_count(latent_dim):
        raise UsageError(f"the latent dimension must be at least 1; got {latent_dim}")
    activation_for(activation)
    layer_sizes(hidden)
    return found


def make_encoder(
    network: str | Mapping[str, Any] | Architecture,
    data_shape: tuple[int, ...],
    hidden: Sequence[int],
    latent_dim: int,
    *,
    context: int = 0,
    activation: Activation = "relu",
    scale: str = "softplus",
    head: Callable[..., Any] | None = None,
) -> Encoder:
    """Network for q(z | x, context), with z of ``latent_dim`` and a context of so many values.

    It is ``"dense"``, layers of the sizes ``hidden``; ``"conv"``, convolutions with the channels
    ``hidden``, each halving height and width; or an architecture of one's own. The ``head`` is made
    of the numbers of features and of outputs: a Normal unless given, whose σ is a ``softplus``, or
    log σ² ``clipped`` to [−6, 2].
    """
    parts = _architecture(network, data_shape, hidden, latent_dim, activation)
    features = parts.features(data_shape, hidden, context, activation)
    return Encoder(features, latent_dim, head=head or LATENT_SCALES[scale])


make_classifier = partial(make_encoder, head=nn.Linear)
"""Network for q(y | x): the encoder's body, with one output per class."""


def make_decoder(
    network: str | Mapping[str, Any] | Architecture,
    latent_dim: int,
    hidden: Sequence[int],
    out_shape: tuple[int, ...],
    *,
    context: int = 0,
    activation: Activation = "relu",
) -> Any:
    """Network from z (and context) to the outputs a likelihood needs.

    ``hidden`` is given in the order of the encoder (from data to latents) and run backwards;
    ``out_shape`` is (num_parameters, \\*data_shape).
    """
    parts = _architecture(network, out_shape[1:], hidden, latent_dim, activation)
    return parts.decoder(latent_dim + context, hidden, out_shape, activation)
