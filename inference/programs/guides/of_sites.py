"""A Pyro guide of a program's sites as a guide of its one vector u."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, Independent, TorchDistribution
from pyro.infer.autoguide import AutoContinuous, AutoStructured
from pyro.nn import PyroModule
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import constraints, transform_to
from torch.func import functional_call

from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity
from inference.programs.apart import apart, modules_of, one_by_one, said, whole_plates
from inference.programs.guides.structured import noise_of
from inference.programs.pair import SITE, ProgramPair
from pyro_models import UsageError

__all__ = ["SiteGuide", "pair_of"]

_OF_PLAIN_MODULE = "$$$"  # what pyro.module puts between the names of a module and its parameter
_CHECKED = 1e-3  # by how much a value that was put into a guide may come out changed


def pair_of(target: LogDensity) -> ProgramPair:
    """The program that is inferred, as a pair."""
    if not isinstance(target.pair, ProgramPair):
        raise UsageError("this guide is for Pyro models, and a pair of data is given")
    return target.pair


class SiteGuide(PerDatumGuide):
    """q(u) of a guide that samples every continuous latent of a program by name.

    The guide's parameters, those of its modules and those of ``pyro.param``, are copied: the guide
    itself and Pyro's store stay as they are. Draws are vectorised where they can be.

    Parameters
    ----------
    pair
        The program as a pair.
    guide
        A Pyro guide: a function or a module.
    name
        What it is called.
    in_reals
        Whether it is called without arguments and samples unconstrained reals in standard units,
        rather than called like the model and samples the model's values.
    """

    inner: _Inner

    def __init__(
        self, pair: ProgramPair, guide: Callable[..., Any], *, name: str, in_reals: bool = False
    ) -> None:
        super().__init__()
        vars(self)["inner"] = inner = _Inner(pair, guide, name, in_reals)
        values = inner.materialized()
        self.values = nn.ParameterList(  # each a row of its one datum
            nn.Parameter(v.detach().clone().reshape(1, *(v.shape or (1,))), v.requires_grad)
            for v in values
        )

    def sample(self, index: Tensor) -> None:
        """Sample u."""
        pyro.sample(SITE, _OfSites(self.inner, list(self.values), _Cell()))


@dataclass
class _Cell:
    """log q of the one draw of a run."""

    log_q: Tensor | None = None


class _OfSites(TorchDistribution):
    """q(u) at the parameters of one run."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, inner: _Inner, values: list[Tensor], cell: _Cell, batch_shape: tuple[int, ...] = ()
    ) -> None:
        self.inner, self.values, self.cell = inner, values, cell
        event = torch.Size((inner.pair.program.dim,))
        super().__init__(torch.Size(batch_shape), event, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _OfSites:
        return _OfSites(self.inner, self.values, self.cell, tuple(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        shape = self.shape(sample_shape)
        u, log_q = self.inner.draw(self.values, shape[:-1].numel())
        self.cell.log_q = log_q.reshape(shape[:-1])
        return u.reshape(shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self.cell.log_q is not None:
            return self.cell.log_q
        return self.inner.log_prob(self.values, value).reshape(value.shape[:-1])


class _Params(Messenger):
    """``pyro.param`` of a guide: noted in the first run, given in all others.

    Where a parameter is in Pyro's store (trained before) it begins there. A PyroModule has its own.
    """

    def __init__(
        self,
        known: dict[str, tuple[Tensor, Any]],
        values: list[Tensor] | None,
        store: Mapping[str, Any],
        modules: Sequence[PyroModule],
    ) -> None:
        super().__init__()
        self.known, self.values, self.store = known, values, store
        self.within = tuple(f"{m._pyro_name}." for m in modules if m._pyro_name)
        nameless = [m for m in modules if not m._pyro_name]  # a user's own, not Pyro's
        self.own = {n for m in nameless for n in (*m._pyro_params, *m._parameters)}

    def _pyro_param(self, msg: Any) -> None:
        name, args = msg["name"], (*msg["args"], None, None)
        init = msg["kwargs"].get("init_tensor", args[1])
        if name.startswith(self.within) or name in self.own or _OF_PLAIN_MODULE in name:
            if _OF_PLAIN_MODULE in name:  # as it is in this run; the store would make a leaf of it
                msg.update(value=init, done=True)
            return
        if name not in self.known:
            trained = self.store["params"].get(name)
            constraint = msg["kwargs"].get("constraint", args[2]) or constraints.real
            if trained is not None:
                raw, constraint = trained, self.store["constraints"][name]
            else:
                value = torch.as_tensor(init() if callable(init) else init)
                raw = transform_to(constraint).inv(value)
            self.known[name] = raw.detach().clone().requires_grad_(), constraint
        raw, constraint = self.known[name]
        if self.values is not None:
            raw = self.values[list(self.known).index(name)]
        msg["value"], msg["done"] = transform_to(constraint)(raw), True


def _point(distribution: Any) -> Tensor | None:
    """The one value of a point mass: what a guide makes of its noise, whatever is put into it."""
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return distribution.v if isinstance(distribution, Delta) else None


class _Holder(nn.Module):
    """Calls something while its modules have other parameters."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(modules)

    def forward(self, call: Callable[[], Any]) -> Any:
        return call()


class _Inner:
    """The guide with what surrounds a run of it."""

    def __init__(
        self, pair: ProgramPair, guide: Callable[..., Any], name: str, in_reals: bool
    ) -> None:
        self.pair, self.guide, self.name, self.in_reals = pair, guide, name, in_reals
        self.looped = False
        self.params: dict[str, tuple[Tensor, Any]] = {}
        self.store = pyro.get_param_store().get_state()
        modules = modules_of(guide)
        within = {part for module in modules for part in module.modules() if part is not module}
        self.holder = _Holder([module for module in modules if module not in within])
        self.modules = [m for m in self.holder.modules() if isinstance(m, PyroModule)]
        self.last: tuple[Tensor, dict[str, Tensor]] | None = None

    def materialized(self) -> list[Tensor]:
        """Its parameters, which a first run may have to make; raw ones of ``pyro.param`` last."""
        with self._around(), torch.no_grad():
            try:
                trace = self._trace({}, None)
            except UsageError:
                raise
            except Exception as error:  # whatever a guide of someone else raises
                raise UsageError(
                    f"the guide {self.name} fails ({type(error).__name__}: {said(error)}); a guide "
                    "is called like the model"
                ) from error
        self._check(trace)
        values = [*(p for _, p in self._of_modules()), *self._raw()]
        try:
            with torch.no_grad():
                u, log_q = self.draw([value.unsqueeze(0) for value in values], 2)
            self.looped = not (u.isfinite().all() and log_q.isfinite().all())
        except Exception:  # whatever of it cannot be vectorised
            self.looped = True
        return values or [self.pair.loc.new_zeros(())]  # something to be fitted, if in vain

    def _raw(self) -> list[Tensor]:
        return [raw for raw, _ in self.params.values()]

    def _of_modules(self) -> list[tuple[str, Tensor]]:
        return list(self.holder.named_parameters())

    @contextmanager
    def _around(self) -> Iterator[None]:
        with apart(()), whole_plates(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*not registered in the param store")
            yield

    def _trace(self, given: Mapping[str, Tensor], raw: list[Tensor] | None) -> poutine.Trace:
        guide = poutine.condition(self.guide, dict(given)) if given else self.guide
        program = self.pair.program
        args, kwargs = ((), {}) if self.in_reals else (program.args, program.kwargs)
        with poutine.trace() as tracing, _Params(self.params, raw, self.store, self.modules):
            guide(*args, **kwargs)
        return tracing.trace

    def _check(self, trace: poutine.Trace) -> None:
        sites = {n: s for n, s in trace.nodes.items() if s["type"] == "sample"}
        latents = self.pair.program.latents
        missing = [name for name in latents if name not in sites]
        if missing:
            raise UsageError(
                f"the guide {self.name} does not sample the latent {', '.join(missing)} of the "
                "model: sample it there, too"
            )
        for name, site in sites.items():
            if not site_is_subsample(site):
                self._check_site(name, site)

    def _check_site(self, name: str, site: Mapping[str, Any]) -> None:
        if name in self.pair.program.discrete:
            raise UsageError(
                f"the guide {self.name} samples {name!r}, which is discrete and summed out "
                "exactly: leave it out of the guide"
            )
        own = name not in self.pair.program.latents and not site["is_observed"]
        if own and not site["infer"].get("is_auxiliary"):
            raise UsageError(
                f"the guide {self.name} samples {name!r}, and the model has no such latent: mark "
                'it infer={"is_auxiliary": True} or leave it out'
            )
        latent, shape = self.pair.program.latents.get(name), tuple(site["value"].shape)
        if latent is not None and not self.in_reals and shape != latent.shape:
            raise UsageError(
                f"the guide {self.name} samples {name!r} of shape {shape}; the model, of shape "
                f"{tuple(latent.shape)}"
            )
        if not site["fn"].has_rsample:
            raise UsageError(
                f"the guide {self.name} samples {name!r} from {type(site['fn']).__name__}, whose "
                "draws cannot be reparameterised: take another distribution"
            )

    def _each(
        self, values: list[Tensor], count: int, given: Mapping[str, Tensor]
    ) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
        """Values of the latents, log q of all sites, and what was sampled, of ``count`` runs."""
        state, raw = self._split(values)

        def one(_: Tensor, row: dict[str, Tensor]) -> tuple[Any, ...]:
            trace = self._trace(row, raw)
            sites = {
                n: s
                for n, s in trace.nodes.items()
                if s["type"] == "sample" and not site_is_subsample(s)
            }
            points = {n: _point(s["fn"]) for n, s in sites.items()}
            at = {n: s["value"] if points[n] is None else points[n] for n, s in sites.items()}
            log_q = sum(s["fn"].log_prob(at[n]).sum() for n, s in sites.items())
            sampled = {n: value for n, value in at.items() if points[n] is None}
            return {name: at[name] for name in self.pair.program.latents}, log_q, sampled

        def run() -> Any:
            rows = torch.empty(count, 0, device=self.pair.loc.device)
            if not self.looped:
                return torch.func.vmap(one, randomness="different")(rows, dict(given))
            return one_by_one(one, rows, given)

        with self._around():
            return functional_call(self.holder, state, (run,))

    def _split(self, values: list[Tensor]) -> tuple[dict[str, Tensor], list[Tensor]]:
        """The parameters of modules by name, and raw ones of ``pyro.param``."""
        modules = self._of_modules()
        like = [*(p for _, p in modules), *self._raw()]
        shaped = [v.reshape(p.shape) for v, p in zip(values, like, strict=False)]
        named = {name: value for (name, _), value in zip(modules, shaped, strict=False)}
        return named, shaped[len(modules) :]

    def _vector(self, latents: dict[str, Tensor], log_q: Tensor) -> tuple[Tensor, Tensor]:
        """u in standard units, and log q of it."""
        program = self.pair.program
        if self.in_reals:
            parts = [latents[name].to(self.pair.loc) for name in program.latents]
            return torch.cat([part.reshape(len(log_q), -1) for part in parts], 1), log_q
        reals, log_det = program.unconstrain(latents)
        return self.pair.standard(reals), log_q + log_det + self.pair.log_det

    def draw(self, values: list[Tensor], count: int) -> tuple[Tensor, Tensor]:
        """u, (count, D), and log q, (count,)."""
        latents, log_q, sampled = self._each(values, count, {})
        u, log_q = self._vector(latents, log_q)
        if not self._of_modules() and not self.params:
            log_q = log_q + 0 * values[0].sum()  # a gradient, of a guide without parameters
        self.last = u, sampled
        return u, log_q

    def log_prob(self, values: list[Tensor], value: Tensor) -> Tensor:
        """log q at values (…, D), in a row: of the last draws by what was drawn, else by site."""
        u = value.reshape(-1, value.shape[-1])
        last, sampled = self.last or (None, {})
        same = last is not None and last.shape == u.shape
        same = same and (value._base is last or torch.equal(torch.as_tensor(last), u))
        if not same:
            sampled = functional_call(self.holder, self._split(values)[0], (lambda: self._at(u),))
        latents, log_q, _ = self._each(values, len(u), sampled)
        found, log_q = self._vector(latents, log_q)
        if not same and not torch.allclose(found, u, rtol=_CHECKED, atol=_CHECKED, equal_nan=True):
            raise UsageError(f"the guide {self.name} cannot say log q of values that are given")
        return log_q

    def _at(self, u: Tensor) -> dict[str, Tensor]:
        """u as what the sites of the guide would have sampled."""
        program, reals = self.pair.program, u
        if not self.in_reals:
            reals = self.pair.reals(u)
        parts = reals.split([site.size for site in program.latents.values()], 1)
        named = zip(program.latents.items(), parts, strict=True)
        by_site = {n: part.reshape(-1, *site.unconstrained) for (n, site), part in named}
        given = {f"{name}_unconstrained": value for name, value in by_site.items()}
        for part in (m for m in self.holder.modules() if isinstance(m, AutoContinuous)):
            own = [n for n in part.prototype_trace.stochastic_nodes if n in by_site]
            latent = torch.cat([by_site[name].reshape(len(u), -1) for name in own], 1)
            given[f"_{part._pyro_name}_latent"] = latent
        for part in (m for m in self.holder.modules() if isinstance(m, AutoStructured)):
            given |= noise_of(part, by_site)
        return given | (by_site if self.in_reals else program.constrain(reals))
