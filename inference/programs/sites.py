"""The sites of a program, and its log density at a vector of unconstrained reals."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.ops import packed
from pyro.ops.contract import contract_to_tensor
from pyro.poutine import Trace
from pyro.poutine.enum_messenger import EnumMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to

from inference.programs.densities import as_data, innermost, is_certain, log_prob_of
from inference.programs.log_einsum import VectorizedLogRing
from pyro_models import UsageError

__all__ = [
    "AtSites",
    "Enumerated",
    "Latent",
    "LogTerms",
    "Plate",
    "Unobserved",
    "is_improper",
    "is_latent",
    "log_terms",
    "widest",
]

_OF_DATA = "_of_data"  # marks what is drawn in the place of data


@dataclass(frozen=True)
class Plate:
    """A plate of a program: how many data it has, how many it draws at a time, and where it is."""

    size: int
    subsample_size: int
    dim: int | None


@dataclass(frozen=True)
class Latent:
    """A continuous latent site: shapes of its value and of as many unconstrained reals.

    ``plates`` are the vectorised plates it stands in: name and dimension of the batch, from the
    right.
    """

    shape: torch.Size
    unconstrained: torch.Size
    dtype: torch.dtype
    device: torch.device
    plates: Mapping[str, int]
    proper: bool
    """Whether its prior integrates to 1."""

    @property
    def size(self) -> int:
        """Unconstrained reals of the site."""
        return math.prod(self.unconstrained)


class LogTerms(NamedTuple):
    """log p(θ) |dθ/du| and log p(x | θ), nats, enumerated sites summed out."""

    prior: Tensor
    likelihood: Tensor

    @property
    def joint(self) -> Tensor:
        """log p(x, u)."""
        return self.prior + self.likelihood


def is_latent(site: Mapping[str, Any]) -> bool:
    """Whether a sample site is neither observed, nor determined, nor a plate's draw of data."""
    if site["type"] != "sample" or site["is_observed"] or site_is_subsample(site):
        return False
    return not is_certain(site)


def is_improper(fn: Any) -> bool:
    """Whether a prior cannot be drawn from."""
    return isinstance(innermost(fn), dist.ImproperUniform)


def widest(latents: Mapping[str, Latent]) -> torch.dtype:
    """The float type that holds the values of all sites."""
    return max((site.dtype for site in latents.values()), key=lambda kind: torch.finfo(kind).bits)


class AtSites(Messenger):
    """Puts the continuous latents of a program where they are wanted, discrete ones everywhere.

    Values come from ``u``, one vector (D,) of all sites; or from ``values`` by site; or are drawn
    from the prior where neither is given. What each site has is kept by name: its value, its
    unconstrained reals, and log |dθ/du|. ``indices`` are the data that plates draw.
    """

    def __init__(
        self,
        latents: Mapping[str, Latent] | None,
        params: dict[str, Tensor],
        *,
        u: Tensor | None = None,
        values: Mapping[str, Tensor] | None = None,
        indices: Mapping[str, Tensor] | None = None,
        enumerate_discrete: bool = False,
    ) -> None:
        super().__init__()
        self.latents, self.params, self.given = latents, params, values or {}
        self.indices, self.enumerate_discrete = indices or {}, enumerate_discrete
        self.reals: dict[str, Tensor] = {}
        if u is not None and latents is not None:
            parts = u.split([site.size for site in latents.values()])
            self.reals = dict(zip(latents, parts, strict=True))
        self.values: dict[str, Tensor] = {}
        self.unconstrained: dict[str, Tensor] = {}
        self.log_dets: dict[str, Tensor] = {}

    def _pyro_param(self, msg: Any) -> None:
        """Parameters are what they were when the program was made; Pyro's store sees none of it."""
        name, args = msg["name"], (*msg["args"], None, None)
        if name not in self.params:
            init = msg["kwargs"].get("init_tensor", args[1])
            if init is None:  # of a PyroModule, which holds it
                return
            value = init() if callable(init) else init
            self.params[name] = torch.as_tensor(value).detach().clone()
        msg["value"], msg["done"] = self.params[name], True

    def _pyro_sample(self, msg: Any) -> None:
        name = msg["name"]
        if site_is_subsample(msg):
            msg["value"] = self.indices.get(name, msg["value"])
        elif is_latent(msg):
            if name in (self.latents or {}):
                self._place(msg)
            else:
                self._place_other(msg)
        elif name in self.given:  # data in the place of what was observed
            msg["value"] = self.given[name]
        elif msg["is_observed"] and not is_certain(msg):
            msg["value"] = as_data(name, msg["value"])

    def _place_other(self, msg: Any) -> None:
        """A discrete latent, or any in the first run, which finds the sites."""
        known = msg["fn"].support.is_discrete or msg["infer"].get(_OF_DATA)
        if self.latents is not None and not known:
            raise _not_always(msg["name"])
        if self.enumerate_discrete:
            msg["infer"]["enumerate"] = "parallel"
        if msg["name"] in self.given:
            msg["value"] = self.given[msg["name"]]
        elif is_improper(msg["fn"]):
            to_site = biject_to(msg["fn"].support)
            shape = to_site.inverse_shape(msg["fn"].shape())
            msg["value"] = to_site(torch.zeros(shape, device=None))

    def _place(self, msg: Any) -> None:
        """A continuous latent: its reals, with which data of a plate they are of, and its value."""
        assert self.latents is not None
        name, to_site = msg["name"], biject_to(msg["fn"].support)
        site = self.latents[name]
        if name in self.reals:
            reals = self.reals[name].to(site.dtype).reshape(site.unconstrained)
        elif name in self.given:
            reals = to_site.inv(self.given[name].to(site.dtype))
        elif not is_improper(msg["fn"]):
            most = torch.finfo(site.dtype).max ** 0.25
            reals = to_site.inv(msg["fn"]()).nan_to_num(0.0, most, -most).clamp(-most, most)
        else:  # as Stan begins
            uniform = torch.rand(site.unconstrained, dtype=site.dtype, device=site.device)
            reals = 4 * uniform - 2
        self.unconstrained[name] = reals
        for plate, dim in site.plates.items():
            if plate in self.indices:
                reals = reals.index_select(dim - to_site.domain.event_dim, self.indices[plate])
        value = to_site(reals)
        self.log_dets[name] = to_site.log_abs_det_jacobian(reals, value)
        self.values[name] = msg["value"] = value

    def check(self) -> None:
        """Refuse a run that has left out a latent."""
        missing = [name for name in self.latents or {} if name not in self.values]
        if missing:
            raise _not_always(missing[0])

    @property
    def vector(self) -> Tensor:
        """All unconstrained reals, in the order of the sites, (D,)."""
        assert self.latents is not None
        parts = [self.unconstrained[name].reshape(-1) for name in self.latents]
        return torch.cat([part.to(self.dtype) for part in parts])

    @property
    def dtype(self) -> torch.dtype:
        """The widest float type of the sites."""
        return widest(self.latents or {})


def _not_always(name: str) -> UsageError:
    return UsageError(
        f"the latent {name!r} is sampled in some runs of the model and not in others: sample the "
        "same latents whatever their values are, and choose between them by torch.where"
    )


class Enumerated(EnumMessenger):
    """Pyro's enumeration of discrete sites, where values are vectorised, too."""

    def _pyro_post_sample(self, msg: Any) -> None:
        """As Pyro's, which asks for the shape of ``value.data``: vectorised values have none."""
        if not isinstance(msg["fn"], TorchDistributionMixin) or msg["value"] is None:
            return
        shape = msg["value"].shape[: msg["value"].dim() - msg["fn"].event_dim]
        numbers = msg["infer"].setdefault("_dim_to_id", {})
        numbers.update(self._param_dims.get(msg["name"], {}))
        self._value_dims[msg["name"]] = {
            dim: number for dim, number in numbers.items() if len(shape) >= -dim and shape[dim] > 1
        }


class Unobserved(Messenger):
    """Data are drawn instead of observed; what is determined stays so, and so do factors.

    Pyro's ``uncondition`` would draw the first anew, in another shape inside a plate.
    """

    def _pyro_sample(self, msg: Any) -> None:
        determined = msg["infer"].get("_deterministic") or isinstance(msg["fn"], dist.Unit)
        if msg["is_observed"] and not determined:
            msg["is_observed"], msg["value"], msg["done"] = False, None, False
            msg["infer"] = {**msg["infer"], _OF_DATA: True}


def log_terms(trace: Trace, at: AtSites, *, jacobian: bool = True) -> LogTerms:
    """Both terms of a run at given values."""
    prior = joint = torch.zeros((), dtype=at.dtype, device=next(iter(at.values.values())).device)
    every: dict[str, Tensor] = {}
    for name, site in trace.nodes.items():
        if site["type"] != "sample" or site_is_subsample(site):
            continue
        log_prob = log_prob_of(site)
        if jacobian and name in at.log_dets:
            log_prob = _with_jacobian(log_prob, at.log_dets[name])
        every[name] = log_prob
    summed = _enumerated(trace, every) if at.enumerate_discrete else {}
    for name, log_prob in every.items():
        if name not in summed:
            total = (log_prob * trace.nodes[name]["scale"]).sum().to(at.dtype)
            joint = joint + total
            prior = prior if trace.nodes[name]["is_observed"] else prior + total
    if summed:
        own = {n: term for n, term in summed.items() if not trace.nodes[n]["is_observed"]}
        joint, prior = joint + _summed_out(trace, summed), prior + _summed_out(trace, own)
    return LogTerms(prior, joint - prior)


def _with_jacobian(log_prob: Tensor, log_det: Tensor) -> Tensor:
    """log p(θ) + log |dθ/du|, each entry of the site's batch with its own."""
    extra = log_det.dim() - log_prob.dim()
    return log_prob + (log_det.flatten(-extra).sum(-1) if extra > 0 else log_det)


def _enumerated(trace: Trace, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms that depend on an enumerated site, packed: each dimension has a symbol."""
    trace.symbolize_dims()
    plates = set(trace.plate_to_symbol.values())
    found = {}
    for name, term in terms.items():
        try:
            known = packed.pack(term, trace.nodes[name]["infer"]["_dim_to_symbol"])
        except ValueError as error:
            raise UsageError(
                f"the site {name!r} has values of shape {tuple(term.shape)} that stand in no "
                "plate: with discrete sites every dimension needs a pyro.plate or to_event"
            ) from error
        if set(known._pyro_dims) - plates:
            found[name] = known
    return found


def _summed_out(trace: Trace, terms: Mapping[str, Tensor]) -> Tensor | float:
    """log Σ over all enumerated values of the product of some terms, by tensor elimination.

    The scale of a subsampled plate belongs outside the sum, so the terms must have one in common.
    """
    if not terms:
        return 0.0
    plates = trace.plate_to_symbol
    factors: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for name, term in terms.items():
        frames = trace.nodes[name]["cond_indep_stack"]
        ordinal = frozenset(plates[frame.name] for frame in frames if frame.vectorized)
        factors.setdefault(ordinal, []).append(term)
    scales = {float(trace.nodes[name]["scale"]) for name in terms}
    if len(scales) > 1:
        raise UsageError(
            f"the sites {', '.join(terms)} have different scales: a discrete site and the data "
            "that depend on it must stand in the same subsampled plate"
        )
    symbols = {symbol for term in terms.values() for symbol in term._pyro_dims}  # type: ignore[attr-defined]
    summed = symbols - set(plates.values())
    return contract_to_tensor(factors, summed, ring=VectorizedLogRing()) * scales.pop()
