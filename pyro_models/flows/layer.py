"""Invertible layers from data to noise, and the density that they make of a simple one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import copy
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional as F

from pyro_models.seeds import seeded

__all__ = ["Chain", "ExpandedByCopy", "FlowDistribution", "Layer", "summed"]


class Layer(nn.Module):
    """An invertible map z = f(x; c) of one datum, with any leading batch dimensions.

    A family writes :meth:`forward`, :meth:`inverse`, and :meth:`shape_after` where z has another
    shape than x. The context c, (\\*batch, \\*context_shape), is what a conditional layer is given;
    others leave it alone.
    """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z and log |det ∂z/∂x|, (\\*batch, \\*shape_after) and (\\*batch,)."""
        raise NotImplementedError

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """The x with f(x; c) = z."""
        raise NotImplementedError

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of z for x of a shape; it is refused if the layer cannot have such x."""
        return shape


class Chain(Layer):
    """Layers one after the other, the first of them next to the data.

    >>> from pyro_models.flows import Squeeze
    >>> chain = Chain([Squeeze(), Squeeze()])
    >>> z, log_det = chain(torch.randn(5, 1, 8, 8))
    >>> z.shape, chain.inverse(z).shape
    (torch.Size([5, 16, 2, 2]), torch.Size([5, 1, 8, 8]))
    """

    def __init__(self, layers: Iterable[Any]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All layers; their log-determinants add up."""
        total: Any = 0.0
        for layer in self.layers:
            x, log_det = layer(x, context)
            total = total + log_det
        return x, total

    def inverse(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """All layers, backwards."""
        for layer in reversed(self.layers):
            z = layer.inverse(z, context)  # type: ignore[operator]
        return z

    def shape_after(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape after the last layer."""
        for layer in self.layers:
            shape = layer.shape_after(shape)  # type: ignore[operator]
        return shape


class ExpandedByCopy(TorchDistribution):
    """A distribution whose ``rsample`` and ``log_prob`` broadcast what it is made of themselves."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    has_rsample = True

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new


class FlowDistribution(ExpandedByCopy):
    r"""The density that a flow f gives x, π the standard Normal or logistic of each value.

    .. math:: \log p(x) = \log π(f(x; c)) + \log \left|\det \frac{∂f}{∂x}\right|

    ``context`` c is (\*batch, …), or ``None`` for batch shape (). Means and variances have no
    closed form: they are estimated from ``num_draws`` draws, always the same ones.
    """

    def __init__(
        self,
        layers: Any,
        event_shape: tuple[int, ...],
        *,
        like: Tensor,
        context: Tensor | None = None,
        base: str = "normal",
        on_unit_interval: bool = False,
        num_draws: int = 16,
    ) -> None:
        self.layers, self.context, self.base, self.like = layers, context, base, like
        self.z_shape = layers.shape_after(event_shape)
        self.on_unit_interval, self.num_draws = on_unit_interval, num_draws
        batch = torch.Size() if context is None else context.shape[: -len(event_shape)]
        self._own_batch = batch
        super().__init__(batch, torch.Size(event_shape), validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Real values, or those in [0, 1]."""
        one = constraints.unit_interval if self.on_unit_interval else constraints.real
        return constraints.independent(one, len(self.event_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (\\*sample_shape, \\*batch, \\*event_shape)."""
        return self._drawn(torch.Size(sample_shape) + self._batch_shape)

    def _drawn(self, shape: torch.Size) -> Tensor:
        dtype, device = self.like.dtype, self.like.device
        shape = shape + self.z_shape
        if self.base == "normal":
            noise = torch.randn(shape, dtype=dtype, device=device)
        else:
            tiny = torch.finfo(dtype).eps
            uniform = torch.rand(shape, dtype=dtype, device=device)
            noise = torch.logit(uniform.clamp(tiny, 1 - tiny))
        x: Tensor = self.layers.inverse(noise, self.context)
        return x

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x), nats."""
        z, log_det = self.layers(value, self.context)
        if self.base == "normal":
            each = -0.5 * (z.square() + math.log(2 * math.pi))
        else:
            each = -z - 2 * F.softplus(-z)
        return summed(each, len(self.z_shape)) + log_det

    @property
    def mean(self) -> Tensor:
        """E[x], estimated."""
        return self._moments()[0].expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Var[x], estimated."""
        return self._moments()[1].expand(self.batch_shape + self.event_shape)

    @torch.no_grad()
    def _moments(self) -> tuple[Tensor, Tensor]:
        with seeded(0, self.like.device):
            if self.context is None:
                draws = self._drawn(torch.Size([self.num_draws]))
            else:  # one by one, which bounds memory
                draws = torch.stack([self._drawn(self._own_batch) for _ in range(self.num_draws)])
        return draws.mean(0), draws.var(0)


def summed(values: Tensor, event_dims: int) -> Tensor:
    """Sum over the last dimensions, as many as an event has.

    >>> summed(torch.ones(5, 2, 3), 2).tolist()
    [6.0, 6.0, 6.0, 6.0, 6.0]
    """
    return values.flatten(-event_dims).sum(-1)
