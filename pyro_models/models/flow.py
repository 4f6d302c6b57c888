"""Flow: an exact density of continuous data, or of what dequantises the levels of pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.data.masks import Mask
from pyro_models.device import device_of, like_of
from pyro_models.errors import UsageError, in_one_line
from pyro_models.flows import (
    FLOWS,
    Chain,
    FlowDistribution,
    FlowLike,
    Logit,
    Standardize,
    flow_for,
)
from pyro_models.flows.layer import summed
from pyro_models.likelihoods import Likelihood
from pyro_models.likelihoods.levels import level_of
from pyro_models.likelihoods.point_mass import PointMass, Quantised
from pyro_models.models.guide import Guide
from pyro_models.models.model import Model
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.observed import checked, training_data
from pyro_models.pair import LatentSite, fill_unseen
from pyro_models.registry import Registry
from pyro_models.units import set_units

__all__ = ["DEQUANTISATIONS", "Flow", "UniformDequantisation", "VariationalDequantisation"]

WHY_NOT_FREE = (
    "v of a flow is x itself, or anywhere in the bin of its level and nowhere else: no chain or "
    "fitted guide can follow that; take the pair's own guide, encoder, and importance sampling"
)


class FlowModel(Model):
    """v ~ p(v) of a flow, and x, which v decides."""

    layers: nn.Module

    def density(self) -> FlowDistribution:
        """p(v), event shape (\\*data_shape)."""
        unit = bool(self.likelihood.on_unit_interval)
        like = like_of(self)
        return FlowDistribution(self.layers, self.data_shape, like=like, on_unit_interval=unit)

    def story(self, y: Tensor | None) -> Tensor:
        """v, which x is made of."""
        return pyro.sample("v", self.density()).unsqueeze(-1 - len(self.data_shape))


class WithinBins(TorchDistribution):
    """v = a + w u of bins that begin at a and are w wide, (B, \\*shape), and u ~ q on (0, 1)^D.

    log q(v) = log q(u) − Σ log w. Without q, u is uniform.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, low: Tensor, width: Tensor, q: FlowDistribution | None) -> None:
        self.low, self.width, self.q = low, width, q
        super().__init__(low.shape[:1], low.shape[1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """(0, 1)^D."""
        return constraints.independent(constraints.unit_interval, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

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


class Filled(TorchDistribution):
    """v = x where seen, and of another distribution elsewhere, where alone it has a density."""

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    has_rsample = True

    def __init__(self, x: Tensor, seen: Tensor, unseen: TorchDistribution) -> None:
        self.x, self.seen, self.unseen = x, seen, unseen
        super().__init__(x.shape[:1], x.shape[1:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Real vectors."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The same distribution with a larger batch shape."""
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

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


class Flow(ModelAndGuide):
    """A normalising flow, log p(v) = log N(f(v); 0, I) + log |det ∂f/∂v|, as a pair.

    Pixels of k levels are x = ⌊k v⌋, v on (0, 1)^D behind a logit. The latent is v, or u = k v − x;
    its guide dequantises, v = (x + u)/k with u ~ q(u | x) on (0, 1)^D, so that

        log P(x) ≥ E_q[log p((x + u)/k) − D log k − log q(u | x)],

    per datum, in nats, relative to counting on the levels; more particles are importance-weighted
    dequantisation (Hoogeboom et al. 2020). Continuous data need none: v = x, and the bound is log
    p(x).

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    flow
        f, from data to noise: a name of ``pyro_models.flows.FLOWS`` (``dense``, ``conv``,
        ``multiscale``, and zuko's families, such as ``nsf`` and ``maf``), which may carry options as
        ``{class_path: conv, init_args: {channels: 16}}``; a function of the data's shape; or a
        :class:`pyro_models.flows.Layer`.
    dequantise
        q(u | x): ``"uniform"``, ``"variational"`` (a small flow that is given x), with options as
        above; a class or function of the data's shape and the levels; or a guide. ``None``: data
        are continuous, vectors in any units or dequantised pixels.
    levels
        k, grey levels of the data (256 for 8-bit pixels, 17 for the bundled digits); of no matter
        for continuous data.
    alpha
        α of the logit, :class:`pyro_models.flows.Logit`.

    Examples
    --------
    >>> x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    >>> flow = Flow((2,), flow={"class_path": "dense", "init_args": {"hidden": [8]}}, dequantise=None)
    >>> flow.exact_log_prob(x).allclose(-0.5 * x.square().sum(1) - 1.837877)  # before training
    True
    """

    options_of_guide = ("dequantise",)
    model: FlowModel
    data_shape: tuple[int, ...]

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        flow: FlowLike = "dense",
        dequantise: str
        | Mapping[str, Any]
        | Callable[..., nn.Module]
        | nn.Module
        | None = "uniform",
        levels: int = 256,
        alpha: float = 1e-5,
    ) -> None:
        shape = tuple(data_shape)
        pixels = dequantise is not None or len(shape) == 3
        likelihood: Likelihood = PointMass(shape)
        if dequantise is not None:
            likelihood = Quantised(shape, levels=levels)
        first = Logit(shape, alpha=alpha) if pixels else Standardize(shape)
        layers = Chain([first, flow_for(flow, shape)])
        guide = ItselfGuide(shape, pixels=pixels)
        if dequantise is not None:
            guide = _dequantisation(dequantise, shape, levels)
        super().__init__(FlowModel(likelihood, layers=layers), guide)
        self.register_buffer("units_set", torch.tensor(pixels))

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """One continuous site, v."""
        return {"v": LatentSite(self.data_shape, why_not_free=WHY_NOT_FREE)}

    @property
    def started(self) -> bool:
        """Whether the units of continuous vectors come from data already; pixels have none."""
        return bool(self.units_set)

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Take the units of vectors from data; returns a name for the record, or nothing."""
        if self.started:
            return ""
        x = training_data(x, self.data_shape).to(device_of(self))
        self.units_set.fill_(True)
        return "units of the data" if set_units(self, x) else ""

    @property
    def exact_log_prob(self) -> Callable[..., Tensor]:
        """log p(x) of continuous data that are seen whole, (B,), nats."""
        return self._if_continuous(lambda x: self.model.density().log_prob(x))

    @property
    def exact_posterior(self) -> Callable[..., TorchDistribution]:
        """p(v | x) of continuous data that are seen whole: v = x."""
        return self._if_continuous(lambda x: dist.Delta(x, event_dim=len(self.data_shape)))

    def _if_continuous(self, function: Callable[[Tensor], Any]) -> Callable[..., Any]:
        if isinstance(self.likelihood, Quantised):
            raise AttributeError("log P(x) of pixels is an integral over their bins")

        def of_whole(x: Tensor, mask: Mask | None = None) -> Any:
            x, seen = checked(self, x, mask)
            if seen is not None and not bool(seen.all()):
                raise UsageError(
                    "a flow knows log p(x) of whole data alone; of half-seen ones take the method "
                    "importance"
                )
            return function(x)

        return of_whole

    def noise(self, x: Tensor) -> Tensor:
        """z = f(v), (B, …), of continuous data, or of the middles of the bins of pixels."""
        x, _ = checked(self, x)
        like = like_of(self)
        v = self.likelihood.outputs_for(x)[0].to(like)
        z: Tensor = self.model.layers(v)[0]
        return z

    def of_noise(self, z: Tensor) -> Tensor:
        """x of noise z, (\\*batch, …), as :meth:`noise` gives it."""
        return self.decode({"v": self.model.layers.inverse(z)})["x"].mean

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair; what has no name, as it was given."""
        options = super().config()
        for name, known in (("flow", FLOWS), ("dequantise", DEQUANTISATIONS)):
            options[name] = known.name_of(options[name]) or options[name]
        return options


def _dequantisation(given: Any, data_shape: tuple[int, ...], levels: int) -> nn.Module:
    """The guide of v by its name, class or function, or as it is."""
    thing, options = DEQUANTISATIONS.named(given, {})
    if isinstance(thing, nn.Module):
        return thing
    make = DEQUANTISATIONS[thing] if isinstance(thing, str) else thing
    if not callable(make):
        raise UsageError(f"a dequantisation is a name, a class or a guide; got {given!r}")
    with in_one_line(f"the dequantisation {thing}"):
        made = make(data_shape, levels, **options)
    if not isinstance(made, nn.Module):
        raise UsageError(f"the dequantisation {thing} is made as {made!r}: return an nn.Module")
    return made
