"""Guides of a flow's v: in the bins of the levels of pixels, or x itself."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.flows import Chain, FlowDistribution, FlowLike, Logit, flow_for
from pyro_models.flows.layer import ExpandedByCopy, summed
from pyro_models.likelihoods.levels import level_of
from pyro_models.models.guide import Guide
from pyro_models.modules import module_for
from pyro_models.pair import fill_unseen
from pyro_models.registry import Registry

__all__ = [
    "DEQUANTISATIONS",
    "ItselfGuide",
    "UniformDequantisation",
    "VariationalDequantisation",
    "dequantisation_for",
]


class WithinBins(ExpandedByCopy):
    """v = a + w u of bins that begin at a and are w wide, (B, \\*shape), and u ~ q on (0, 1)^D.

    log q(v) = log q(u) − Σ log w. Without q, u is uniform.
    """

    def __init__(self, low: Tensor, width: Tensor, q: FlowDistribution | None) -> None:
        self.low, self.width, self.q = low, width, q
        super().__init__(low.shape[:1], low.shape[1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """(0, 1)^D."""
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of v; rounding puts none of them on an edge of its bin."""
        shape = torch.Size(sample_shape) + self._batch_shape
        low, high = self.low, self.low + self.width
        if self.q is None:
            u = torch.rand(shape + self.event_shape, dtype=low.dtype, device=low.device)
        else:
            u = self.q.expand(shape).rsample()
        little = 4 * torch.finfo(low.dtype).eps
        inside = torch.maximum(low + self.width * u, low * (1 + little))
        return torch.minimum(inside, high * (1 - little))

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(v), nats."""
        total = -summed(self.width.log(), len(self.event_shape))
        if self.q is None:
            return total.expand(value.shape[: -len(self.event_shape)])
        return total + self.q.log_prob(((value - self.low) / self.width).clamp(0, 1))

    @property
    def mean(self) -> Tensor:
        """E[v]; of a flow estimated, as :class:`pyro_models.flows.FlowDistribution` does it."""
        middle = 0.5 if self.q is None else self.q.mean
        return (self.low + self.width * middle).expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Var[v]."""
        spread = 1 / 12 if self.q is None else self.q.variance
        return (self.width.square() * spread).expand(self.batch_shape + self.event_shape)


class SeenGuide(Guide):
    """A guide whose story is told (x, what is seen of it), ``None`` for everything."""

    unseen = "noise"

    def fed(self, x: Tensor, seen: Tensor | None) -> Any:
        """x, 0 where unseen, and what is seen of it."""
        return (x, None) if seen is None else (fill_unseen(x, seen), seen.expand_as(x))


class UniformDequantisation(SeenGuide):
    """q(v | x): u = k v − j of a pixel of level j is uniform on (0, 1) (Theis et al. 2016).

    v of an unseen pixel is anywhere in (0, 1). Data have a shape and k ``levels``.
    """

    num_levels: Tensor

    def __init__(self, data_shape: tuple[int, ...], levels: int) -> None:
        super().__init__(None)
        self.levels = levels
        self.register_buffer("num_levels", torch.tensor(float(levels)), persistent=False)

    def noise(self, x: Tensor) -> FlowDistribution | None:
        """q(u | x), batch shape (B,); ``None`` if it is uniform."""
        return None

    def story(self, x: Any, y: Tensor | None) -> None:
        """Sample v in the bins of x."""
        x, seen = x
        low = level_of(x, self.levels).to(x.dtype) / self.levels
        width = torch.full_like(x, 1 / self.levels)
        if seen is not None:
            width = torch.where(seen, width, 1.0)
        pyro.sample("v", WithinBins(low, width, self.noise(x)))


class VariationalDequantisation(UniformDequantisation):
    """q(v | x): u = k v − j comes from a flow that is given x (Ho et al. 2019).

    It starts as the uniform one. ``flow`` is as of :class:`Flow`, from u by a logit to logistic
    noise; unless given, four couplings: of gated networks with 16 channels for images, of dense
    ones for vectors.
    """

    def __init__(
        self, data_shape: tuple[int, ...], levels: int, *, flow: FlowLike | None = None
    ) -> None:
        super().__init__(data_shape, levels)
        image = len(data_shape) == 3
        of_image = {"class_path": "conv", "init_args": {"couplings": 4, "channels": 16}}
        of_vector = {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [64]}}
        flow = flow or (of_image if image else of_vector)
        layers = flow_for(flow, data_shape, context_shape=data_shape)
        self.layers = Chain([Logit(data_shape), layers])

    def noise(self, x: Tensor) -> FlowDistribution:
        """q(u | x); the flow is given 2 x − 1."""
        shape = tuple(x.shape[1:])
        return FlowDistribution(self.layers, shape, like=x, context=2 * x - 1, base="logistic")


class Filled(ExpandedByCopy):
    """v = x where seen, and of another distribution elsewhere, where alone it has a density."""

    def __init__(self, x: Tensor, seen: Tensor, unseen: TorchDistribution) -> None:
        self.x, self.seen, self.unseen = x, seen, unseen
        super().__init__(x.shape[:1], x.shape[1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Real vectors."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws of v."""
        noise = self.unseen.rsample(torch.Size(sample_shape) + self._batch_shape)
        return torch.where(self.seen, self.x, noise)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of what is unseen, nats."""
        each = self.unseen.log_prob(value).masked_fill(self.seen, 0.0)
        return summed(each, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        """x where seen."""
        mean = torch.where(self.seen, self.x, self.unseen.mean)
        return mean.expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """0 where seen."""
        spread = self.unseen.variance.expand_as(self.x).masked_fill(self.seen, 0.0)
        return spread.expand(self.batch_shape + self.event_shape)


class ItselfGuide(SeenGuide):
    """q(v | x): v = x where it is seen.

    An unseen pixel is uniform on (0, 1), an unseen value of a vector of the data's mean and spread.
    """

    def __init__(self, data_shape: tuple[int, ...], *, pixels: bool) -> None:
        super().__init__(data_shape)
        self.pixels = pixels

    def story(self, x: Any, y: Tensor | None) -> None:
        """Sample v, which is x."""
        x, seen = x
        q_v: TorchDistribution = dist.Delta(x, event_dim=x.dim() - 1)
        if seen is not None:
            kind = dist.Uniform if self.pixels else dist.Normal
            parts = (self.units.centre, self.units.scale)  # 0 and 1 for pixels
            q_v = Filled(x, seen, kind(*parts, validate_args=False))
        pyro.sample("v", q_v)


DEQUANTISATIONS: Registry[Any] = Registry(
    "dequantisation",
    {"uniform": UniformDequantisation, "variational": VariationalDequantisation},
    hint="give a guide of v, or none for continuous data",
)


def dequantisation_for(given: Any, data_shape: tuple[int, ...], levels: int) -> nn.Module:
    """The guide of v by its name, class or function, or as it is."""
    return module_for(DEQUANTISATIONS, given, data_shape, levels)
