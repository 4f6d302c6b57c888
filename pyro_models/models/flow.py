"""Flow: an exact density of continuous data, or of what dequantises the levels of pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.data.masks import Mask
from pyro_models.device import device_of, like_of
from pyro_models.errors import UsageError
from pyro_models.flows import (
    FLOWS,
    Chain,
    FlowDistribution,
    FlowLike,
    Logit,
    Standardize,
    flow_for,
)
from pyro_models.likelihoods import Likelihood
from pyro_models.likelihoods.point_mass import PointMass, Quantised
from pyro_models.models.dequantisation import (
    DEQUANTISATIONS,
    ItselfGuide,
    dequantisation_for,
)
from pyro_models.models.model import Model
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.observed import checked, training_data
from pyro_models.pair import LatentSite
from pyro_models.units import set_units

__all__ = ["Flow"]

WHY_NOT_FREE = (
    "v of a flow is x itself, or anywhere in the bin of its level and nowhere else: no chain or "
    "fitted guide can follow that; take the pair's own guide, encoder, and importance sampling"
)


class FlowModel(Model):
    """v ~ p(v) of a flow, and x, which v decides."""

    layers: Chain

    def density(self) -> FlowDistribution:
        """p(v), event shape (\\*data_shape)."""
        unit = bool(self.likelihood.on_unit_interval)
        like = like_of(self)
        return FlowDistribution(self.layers, self.data_shape, like=like, on_unit_interval=unit)

    def story(self, y: Tensor | None) -> Tensor:
        """v, which x is made of."""
        return pyro.sample("v", self.density()).unsqueeze(-1 - len(self.data_shape))


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
        ``multiscale``, and zuko's families, such as ``nsf`` and ``maf``), which may carry its
        options, ``{class_path: conv, init_args: {channels: 16}}``; a function of the data's shape;
        or a :class:`pyro_models.flows.Layer`.
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
    >>> dense = {"class_path": "dense", "init_args": {"hidden": [8]}}
    >>> flow = Flow((2,), flow=dense, dequantise=None)
    >>> flow.exact_log_prob(x).allclose(-0.5 * x.square().sum(1) - 1.837877)  # before training
    True
    """

    called = "flow"
    model: FlowModel
    units_set: Tensor
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
        guide: nn.Module = ItselfGuide(shape, pixels=pixels)
        if dequantise is not None:
            guide = dequantisation_for(dequantise, shape, levels)
        super().__init__(FlowModel(likelihood, layers=layers), guide)
        self.register_buffer("units_set", torch.tensor(pixels))

    def chosen(self) -> list[str]:
        """How pixels are dequantised, where they are."""
        given = self._options["dequantise"]
        name = DEQUANTISATIONS.name_of(given) or given
        if isinstance(name, Mapping):
            name = name.get("class_path")
        if given is None:
            return []
        return [f"{name if isinstance(name, str) else 'own'} dequantisation"]

    @property
    def options_of_guide(self) -> tuple[str, ...]:
        """``dequantise``, which where it is ``None`` makes another model."""
        return ("dequantise",) if isinstance(self.likelihood, Quantised) else ()

    @property
    def latent_sites(self) -> Mapping[str, LatentSite]:
        """One continuous site, v."""
        return {"v": LatentSite(self.data_shape, why_not_free=WHY_NOT_FREE)}

    @property
    def numbers_per_datum(self) -> int:
        """Numbers that the widest network holds for one datum, for the sizes of chunks."""
        found = [getattr(part, "numbers", 0) for part in self.modules()]
        return max(math.prod(self.data_shape), *found)

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
