"""Flows by name: what is built of couplings here, and zuko's families."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from pyro_models.counts import check_counts
from pyro_models.errors import UsageError, in_one_line
from pyro_models.flows.bodies import DenseBody, GatedBody
from pyro_models.flows.coupling import AffineCoupling, channel_mask, checkerboard
from pyro_models.flows.layer import Chain, Layer
from pyro_models.flows.squeeze import Split, Squeeze
from pyro_models.modules import check_init_args
from pyro_models.networks import Activation
from pyro_models.registry import Registry

__all__ = ["FLOWS", "FlowLike", "ZukoLayer", "conv", "dense", "flow_for", "multiscale", "zuko_flow"]

Shape = tuple[int, ...]
FlowLike = str | Mapping[str, Any] | Callable[..., nn.Module] | nn.Module


def dense(
    data_shape: Shape,
    *,
    context_shape: Shape | None = None,
    couplings: int = 8,
    hidden: Sequence[int] = (1024, 1024),
    activation: Activation = "relu",
) -> Chain:
    """Affine couplings with dense networks of layers ``hidden``, on checkerboards in turn."""
    check_counts(couplings=couplings)
    if not hidden:
        raise UsageError("hidden of a dense flow needs at least one layer size; got []")
    if math.prod(data_shape) < 2:
        raise UsageError("a coupling needs two values or more, one to move by the other")
    context = math.prod(context_shape or (0,))
    masks = [checkerboard(data_shape, inverted=i % 2 == 1) for i in range(couplings)]
    options: dict[str, Any] = {"context": context, "activation": activation}
    return Chain(AffineCoupling(DenseBody(mask, hidden, **options), mask) for mask in masks)


def conv(
    data_shape: Shape,
    *,
    context_shape: Shape | None = None,
    couplings: int = 8,
    channels: int = 32,
    blocks: int = 3,
) -> Chain:
    """Affine couplings with gated residual networks of images, on checkerboards in turn."""
    _check_image(data_shape, "conv")
    check_counts(couplings=couplings, channels=channels, blocks=blocks)
    context = context_shape[0] if context_shape else 0
    return Chain(
        AffineCoupling(
            GatedBody(data_shape, channels, blocks=blocks, context=context),
            checkerboard(data_shape, inverted=i % 2 == 1),
        )
        for i in range(couplings)
    )


def multiscale(
    data_shape: Shape,
    *,
    context_shape: Shape | None = None,
    couplings: Sequence[int] = (2, 2, 4),
    channels: Sequence[int] = (32, 48, 64),
    blocks: int = 3,
) -> Chain:
    """Couplings on three scales: checkerboard; squeeze, channels; split, squeeze, channels.

    ``couplings`` and ``channels`` of the networks are those of the scales in turn; height and width
    must be divisible by 4.
    """
    _check_image(data_shape, "multiscale")
    if context_shape is not None:
        raise UsageError("a multiscale flow takes no context: use conv or dense")
    if len(couplings) != 3 or len(channels) != 3:
        raise UsageError(
            f"a multiscale flow has three scales; got couplings {list(couplings)}, channels "
            f"{list(channels)}"
        )
    check_counts(blocks=blocks)
    for number, width in zip(couplings, channels, strict=True):
        check_counts(least=0, couplings=number)
        check_counts(channels=width)

    def scale(i: int, shape: Shape) -> list[Layer]:
        mask = channel_mask if i else checkerboard
        return [
            AffineCoupling(
                GatedBody(shape, channels[i], blocks=blocks), mask(shape, inverted=j % 2 == 1)
            )
            for j in range(couplings[i])
        ]

    squeezed = Squeeze().shape_after(data_shape)
    half = (squeezed[0] // 2, *squeezed[1:])
    inner = Chain([Squeeze(), *scale(2, Squeeze().shape_after(half))])
    layers = [*scale(0, data_shape), Squeeze(), *scale(1, squeezed), Split(inner, squeezed)]
    return Chain(layers)


def _check_image(data_shape: Shape, name: str) -> None:
    if len(data_shape) != 3:
        raise UsageError(f"the flow {name} is of images (C, H, W); got {data_shape}: use dense")


class ZukoLayer(Layer):
    """A transformation of zuko's as a layer of vectors, or of images as vectors."""

    def __init__(self, transform: Any, data_shape: Shape) -> None:
        super().__init__()
        self.transform, self.shape = transform, tuple(data_shape)

    def _of(self, context: Tensor | None, like: Tensor) -> Any:
        flat = None if context is None else context.flatten(-len(self.shape))
        return self.transform(None if flat is None else flat.expand(*like.shape[:-1], -1))

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and log |det ∂z/∂x|."""
        flat = x.flatten(-len(self.shape))
        z, log_det = self._of(context, flat).call_and_ladj(flat)
        return z.unflatten(-1, self.shape), log_det

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """x."""
        flat = z.flatten(-len(self.shape))
        x: Tensor = self._of(context, flat).inv(flat)
        return x.unflatten(-1, self.shape)


def zuko_flow(
    family: str, data_shape: Shape, *, context_shape: Shape | None = None, **options: Any
) -> ZukoLayer:
    """A family of zuko by its class there, such as ``"NSF"``, with its options."""
    flows = _zuko()
    check_counts(**{name: options[name] for name in _COUNTS & set(options)})
    size, context = math.prod(data_shape), math.prod(context_shape or (0,))
    made = getattr(flows, family)(size, context, **options)
    return ZukoLayer(made.transform, data_shape)


def _zuko() -> ModuleType:
    try:
        return importlib.import_module("zuko.flows")
    except ImportError as error:
        raise UsageError(
            'these flows need the package zuko: pip install "pyro-models[flows]"'
        ) from error


_COUNTS = {"transforms", "bins", "degree", "polynomials"}  # options of zuko's, whole numbers
_ZUKO = ("NICE", "RealNVP", "MAF", "NSF", "SOSPF", "BPF")  # those that are over all of R^d
FLOWS: Registry[Callable[..., nn.Module]] = Registry(
    "flow",
    {
        "dense": dense,
        "conv": conv,
        "multiscale": multiscale,
        **{name.lower(): partial(zuko_flow, name) for name in _ZUKO},
    },
    hint="give a module with forward(x, context) and inverse(z, context)",
)


def flow_for(
    flow: FlowLike,
    data_shape: Shape,
    *,
    context_shape: Shape | None = None,
    options: Mapping[str, Any] | None = None,
) -> Any:
    """The layers of a flow from data of a shape to noise.

    Parameters
    ----------
    flow
        A name of ``FLOWS``, or ``"mine.py:Layers"``, either with its options as ``{class_path:
        NAME, init_args: {OPTION: VALUE}}``; a class or function ``make(data_shape, *,
        context_shape=None, **options)``; or a module such as a :class:`Layer`.
    data_shape, context_shape
        Shape of one datum, and of what the flow is given beside it; ``None`` for nothing.
    options
        Further options of a flow that is named.

    Raises
    ------
    UsageError
        If the name or an option is unknown, or the flow cannot have such data.

    Examples
    --------
    >>> import torch
    >>> layers = flow_for({"class_path": "conv", "init_args": {"channels": 4}}, (1, 4, 4))
    >>> z, log_det = layers(torch.zeros(2, 1, 4, 4))
    >>> z.shape, log_det.shape
    (torch.Size([2, 1, 4, 4]), torch.Size([2]))
    """
    flow, options = FLOWS.named(flow, options or {})
    made: Any = flow
    if isinstance(flow, nn.Module) and options:
        raise UsageError(f"a flow that is a module has its options: leave out {', '.join(options)}")
    if not isinstance(flow, nn.Module):
        make = FLOWS[flow] if isinstance(flow, str) else flow
        name = flow if isinstance(flow, str) else getattr(make, "__name__", repr(make))
        if not callable(make):
            raise UsageError(f"a flow is a name, a class or a module; got {flow!r}")
        given = {} if context_shape is None else {"context_shape": tuple(context_shape)}
        check_init_args(make, options, who=f"the flow {name}", num_given=1)
        with in_one_line(f"the flow {name}"):
            made = make(tuple(data_shape), **given, **options)
    lacking = [n for n in ("inverse", "shape_after") if not callable(getattr(made, n, None))]
    if not isinstance(made, nn.Module) or lacking:
        raise UsageError(
            f"a flow is a module with forward, inverse and shape_after, such as a Layer; got "
            f"{type(made).__name__}"
        )
    layers: Any = made
    layers.shape_after(tuple(data_shape))
    return layers
