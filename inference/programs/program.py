"""A Pyro model with its arguments: its sites, and its log density over unconstrained reals."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import cached_property, partial
from typing import Any, TypeVar

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import biject_to

from inference.programs.apart import apart, modules_of, whole_plates
from inference.programs.sites import (
    AtSites,
    Enumerated,
    Latent,
    LogTerms,
    Plate,
    is_improper,
    is_latent,
    log_terms,
    widest,
)
from pyro_models import UsageError
from pyro_models.counts import check_counts
from pyro_models.data import checksum
from pyro_models.seeds import seeded, stream

__all__ = ["Program"]

Result = TypeVar("Result")
_TRIES = 100  # draws from the prior among which one must be possible


class Program:
    """A Pyro model with its arguments, and what a first run of it shows.

    All continuous latents together are one vector u of D unconstrained reals, θ = T(u) site by
    site with the bijection that Pyro registers for each support (``biject_to``), and

    log p(x, u) = log p(x | θ) + log p(θ) + log |dθ / du|.

    Discrete latents with finitely many values are summed out. Subsampled plates have all their
    data, unless they are asked to draw (``minibatches``). Neither the model, its modules, Pyro's
    parameters nor a generator of the caller changes.

    Parameters
    ----------
    model
        A Pyro model: a function or a module, its data observed by ``obs=`` or ``condition``.
    args, kwargs
        What it is called with.

    Attributes
    ----------
    latents
        The continuous latents by name, in their order, each a
        :class:`inference.programs.sites.Latent`.
    discrete
        Discrete latents by name, and how many values each has.
    observed
        Observed values by name.
    plates
        Plates by name, each a :class:`inference.programs.sites.Plate`.
    looped
        Why densities are computed one after the other; empty where they are vectorised.

    Raises
    ------
    UsageError
        If the arguments do not fit the model, it has no latent or no observation, plates clash, a
        latent is discrete without finitely many values, or data are not finite.

    Examples
    --------
    >>> import pyro, pyro.distributions as dist
    >>> def model(y):
    ...     scale = pyro.sample("scale", dist.HalfNormal(1.0))
    ...     with pyro.plate("data", len(y)):
    ...         pyro.sample("y", dist.Normal(0.0, scale), obs=y)
    >>> program = Program(model, torch.ones(3))
    >>> program
    Program(model: latent scale (); observed y (3,))
    >>> program.log_joint(torch.zeros(5, 1)).shape
    torch.Size([5])
    """

    def __init__(self, model: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        if not callable(model) or isinstance(model, type):
            what = getattr(model, "__name__", repr(model))
            raise UsageError(f"a program is a Pyro model, a function or a module; got {what}")
        self.model, self.args, self.kwargs = model, args, kwargs
        self.modules = modules_of(model, args, kwargs)
        self.looped, self._inside = "", False
        self.params: dict[str, Tensor] = {}
        self.latents: dict[str, Latent] = {}
        self.discrete: dict[str, int] = {}
        self.observed: dict[str, Tensor] = {}
        self.plates: dict[str, Plate] = {}
        self._check_arguments()
        with seeded(0, torch.device("cpu")), torch.no_grad():
            self._discover(self._first_run())
        self.looped = self._why_looped()
        if self.looped:
            warnings.warn(
                f"{self.name} is run for one draw at a time, as it cannot be vectorised: "
                f"{self.looped}",
                stacklevel=3,
            )

    def __repr__(self) -> str:
        def listed(shapes: Mapping[str, Any]) -> str:
            return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())

        parts = [f"latent {listed({n: site.shape for n, site in self.latents.items()})}"]
        if self.discrete:
            parts.append(f"enumerated {', '.join(self.discrete)}")
        parts.append(f"observed {listed({n: v.shape for n, v in self.observed.items()})}")
        return f"Program({self.name}: {'; '.join(parts)})"

    @property
    def name(self) -> str:
        """What the model is called."""
        inner: Any = self.model
        while isinstance(inner, partial):  # one of Pyro's handlers is a partial of what it handles
            inner = next((a for a in reversed(inner.args) if callable(a)), inner.func)
        return str(getattr(inner, "__name__", type(inner).__name__))

    @property
    def dim(self) -> int:
        """D, the number of unconstrained reals."""
        return sum(site.size for site in self.latents.values())

    @property
    def dtype(self) -> torch.dtype:
        """Float type of u: the widest of the latents'."""
        return widest(self.latents)

    @property
    def device(self) -> torch.device:
        """Where the latents are."""
        return next(iter(self.latents.values())).device

    @property
    def nesting(self) -> int:
        """Dimensions that the plates take."""
        return max((-plate.dim for plate in self.plates.values() if plate.dim), default=0)

    @property
    def subsampled(self) -> dict[str, Plate]:
        """The plates that draw some of their data."""
        return {n: p for n, p in self.plates.items() if p.subsample_size < p.size}

    @property
    def improper(self) -> tuple[str, ...]:
        """Latents whose prior does not integrate to 1: evidence is then up to a constant."""
        return tuple(name for name, site in self.latents.items() if not site.proper)

    @cached_property
    def checksum(self) -> str:
        """Of what the model says: sites, observed values, and its log density at three points."""
        points = torch.linspace(-1, 1, 3, dtype=self.dtype, device=self.device)
        at = self.log_joint(points.unsqueeze(-1).expand(3, self.dim)).double()
        shown = [f"{value:.4e}" for value in at.tolist()]
        sites = [f"{name} {tuple(site.shape)}" for name, site in self.latents.items()]
        seen = [f"{name} {checksum(value)}" for name, value in self.observed.items()]
        text = "; ".join([*sites, *seen, *shown])
        return checksum(torch.tensor(list(text.encode()), dtype=torch.uint8))

    # densities -----------------------------------------------------------------------------------

    def log_terms(
        self, u: Tensor, *, minibatches: bool = False, data: Mapping[str, Tensor] | None = None
    ) -> LogTerms:
        """log p(θ) |dθ/du| and log p(x | θ), each (\\*batch,), at u, (\\*batch, D); nats.

        With ``minibatches`` each u meets data of its own that subsampled plates draw, scaled so
        that both terms are unbiased. With ``data``, by observed site (\\*batch, \\*shape), each u
        meets those in the place of the program's.
        """
        flat = u.reshape(-1, self.dim)
        drawn = self._indices(len(flat)) if minibatches else {}
        rows = {n: v.reshape(len(flat), *self.observed[n].shape) for n, v in (data or {}).items()}

        def terms(vector: Tensor, row: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            indices = {name: row[name] for name in drawn}
            at = self._at(u=vector, indices=indices, values={name: row[name] for name in rows})
            return tuple(log_terms(self._trace(at, whole=not indices), at))

        prior, likelihood = self._each(terms, flat, {**drawn, **rows})
        return LogTerms(prior.reshape(u.shape[:-1]), likelihood.reshape(u.shape[:-1]))

    def log_prior(self, u: Tensor) -> Tensor:
        """log p(θ) + log |dθ/du|, (\\*batch,), at u, (\\*batch, D); nats."""
        return self.log_terms(u).prior

    def log_likelihood(self, u: Tensor) -> Tensor:
        """log p(x | θ), (\\*batch,), at u, (\\*batch, D); nats."""
        return self.log_terms(u).likelihood

    def log_joint(self, u: Tensor) -> Tensor:
        """log p(x, u), (\\*batch,), at u, (\\*batch, D); nats."""
        return self.log_terms(u).joint

    def slopes(self, u: Tensor, *, data: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Gradient (B, D) and Hessian (B, D, D) of log p(x, u) at u, (B, D), each with its data."""

        def joint(vector: Tensor, row: dict[str, Tensor]) -> Tensor:
            at = self._at(u=vector, values=row)
            return log_terms(self._trace(at), at).joint

        def both(vector: Tensor, row: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            gradient = torch.func.grad(joint)
            return gradient(vector, row), torch.func.jacrev(gradient)(vector, row)

        return self._each(both, u, data)

    # coordinates ---------------------------------------------------------------------------------

    def constrain(self, u: Tensor) -> dict[str, Tensor]:
        """θ = T(u) by site, (\\*batch, \\*shape), of u, (\\*batch, D)."""

        def values(vector: Tensor, _: dict[str, Tensor]) -> dict[str, Tensor]:
            at = self._at(u=vector)
            self._trace(at)
            return at.values

        found = self._each(values, u.reshape(-1, self.dim), {})
        return {n: v.reshape(*u.shape[:-1], *self.latents[n].shape) for n, v in found.items()}

    def unconstrain(self, values: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """u = T⁻¹(θ), (\\*batch, D), and log |dθ/du|, (\\*batch,), of values by site."""
        missing = [name for name in self.latents if name not in values]
        if missing:
            raise UsageError(f"values of the latent {', '.join(missing)} are missing")
        given, batch = {}, torch.Size()
        for name, site in self.latents.items():
            value = torch.as_tensor(values[name], dtype=site.dtype, device=site.device)
            batch = value.shape[: value.dim() - len(site.shape)]
            if value.shape[len(batch) :] != site.shape:
                raise UsageError(
                    f"the latent {name!r} has the shape {tuple(site.shape)}; got "
                    f"{tuple(value.shape)}"
                )
            given[name] = value.reshape(-1, *site.shape)

        def vector(_: Tensor, row: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            at = self._at(values=row)
            self._trace(at)
            return at.vector, sum(x.sum() for x in at.log_dets.values())  # type: ignore[return-value]

        count = len(next(iter(given.values())))
        u, log_det = self._each(vector, torch.empty(count, 0), given)
        return u.reshape(*batch, self.dim), log_det.reshape(batch)

    # draws from the prior ------------------------------------------------------------------------

    def draw_prior(self, n: int) -> Tensor:
        """u of n draws from the prior, (n, D), from the global generator.

        An improper prior, from which nothing can be drawn, is replaced by u ~ U(−2, 2).
        """

        def vector(_: Tensor, __: dict[str, Tensor]) -> Tensor:
            at = self._at()
            self._trace(at)
            return at.vector

        with torch.no_grad():
            return self._each(vector, torch.empty(n, 0), {}, draws=True)

    def simulate(self, n: int, *, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """n draws of the latents from the prior, and of data given them; each (n, \\*shape).

        Continuous and discrete latents by name, and observed sites by name.
        """
        check_counts(n=n)
        with seeded(stream(seed, "simulate"), self.device), torch.no_grad():
            drawn = self._predicted(torch.empty(n, 0), {})
        data = {name: value for name, value in drawn.items() if name in self.observed}
        return {name: value for name, value in drawn.items() if name not in data}, data

    def predict(self, latents: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, Tensor]:
        """Data x ~ p(x | θ) for each of n values of the latents, (n, \\*shape): observed by site.

        Discrete latents that are not given are drawn from their priors.
        """
        rows = torch.empty(len(next(iter(latents.values()))), 0)
        with seeded(stream(seed, "predict"), self.device), torch.no_grad():
            drawn = self._predicted(rows, dict(latents))
        return {name: drawn[name] for name in self.observed}

    def given(self, data: Mapping[str, Tensor]) -> Program:
        """The same program that has observed other data: values by observed site."""
        unknown = [name for name in data if name not in self.observed]
        if unknown:
            raise UsageError(
                f"the model observes {', '.join(self.observed)}, and not {', '.join(unknown)}"
            )
        model = poutine.condition(poutine.uncondition(self.model), {**self.observed, **data})
        return Program(model, *self.args, **self.kwargs)

    def _predicted(self, rows: Tensor, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """All sites of runs with values of some, data unobserved: (n, \\*shape) by name."""

        def run(_: Tensor, row: dict[str, Tensor]) -> dict[str, Tensor]:
            at = AtSites(self.latents, self.params, values=row)
            trace = self._trace(at, uncondition=True)
            sites = trace.nodes.items()
            return {
                n: torch.as_tensor(s["value"])
                for n, s in sites
                if s["type"] == "sample" and not site_is_subsample(s)
            }

        return self._each(run, rows, given, draws=True)

    # how it is run -------------------------------------------------------------------------------

    def _at(self, **given: Any) -> AtSites:
        several = bool(self.discrete)
        return AtSites(self.latents, self.params, enumerate_discrete=several, **given)

    def _trace(
        self, at: AtSites, *, whole: bool = True, uncondition: bool = False
    ) -> poutine.Trace:
        """One run of the model."""
        every = at.enumerate_discrete and not uncondition
        enum = Enumerated(first_available_dim=-1 - self.nesting) if every else nullcontext()
        plates = whole_plates() if whole else nullcontext()
        model = poutine.uncondition(self.model) if uncondition else self.model
        with self._apart(), plates, poutine.trace() as tracing, enum, at:
            model(*self.args, **self.kwargs)
        return tracing.trace

    @contextmanager
    def _apart(self) -> Iterator[None]:
        """Apart from everything outside; entered once, and before anything is vectorised."""
        if self._inside:
            yield
            return
        with apart(self.modules):
            self._inside = True
            try:
                yield
            finally:
                self._inside = False

    def _each(
        self,
        function: Callable[..., Any],
        rows: Tensor,
        given: Mapping[str, Tensor],
        *,
        draws: bool = False,
    ) -> Any:
        """A function of each row of tensors, vectorised where it can be."""
        with self._apart():
            if not self.looped:
                try:
                    return torch.func.vmap(function, randomness="different")(rows, dict(given))
                except Exception:  # densities are vectorised, or known not to be; draws may not be
                    if not draws:
                        raise
            return self._one_by_one(function, rows, given)

    @staticmethod
    def _one_by_one(function: Callable[..., Any], rows: Tensor, given: Mapping[str, Tensor]) -> Any:
        found = [function(row, {n: v[i] for n, v in given.items()}) for i, row in enumerate(rows)]
        return torch.utils._pytree.tree_map(lambda *values: torch.stack(values), *found)

    def _indices(self, count: int) -> dict[str, Tensor]:
        """Data that each subsampled plate draws, (count, subsample size)."""
        return {
            name: torch.rand(count, plate.size, device=self.device).argsort(-1)[
                :, : plate.subsample_size
            ]
            for name, plate in self.subsampled.items()
        }

    # what the first run shows --------------------------------------------------------------------

    def _check_arguments(self) -> None:
        called = getattr(self.model, "forward", self.model)
        try:
            signature = inspect.signature(called)
        except (TypeError, ValueError):  # of a handler, say
            return
        try:
            signature.bind(*self.args, **self.kwargs)
        except TypeError as error:
            raise UsageError(
                f"the model is called as {self.name}{signature}, and {error}: give its data after "
                "the model"
            ) from error

    def _first_run(self) -> poutine.Trace:
        try:
            return self._trace(AtSites(None, self.params))
        except UsageError:
            raise
        except Exception as error:  # whatever a model of someone else raises
            reason = " ".join(str(error).split())
            raise UsageError(
                f"the model {self.name} fails on these arguments: {type(error).__name__}: {reason}"
            ) from error

    def _discover(self, trace: poutine.Trace) -> None:
        for name, site in trace.nodes.items():
            if site["type"] != "sample":
                continue
            if site_is_subsample(site):
                continue
            for frame in site["cond_indep_stack"]:
                size = frame.full_size or frame.size
                self.plates[frame.name] = Plate(size, size, frame.dim)
            if site["is_observed"] and not site["infer"].get("_deterministic"):
                self._note_observed(name, site)
            elif is_latent(site):
                self._note_latent(name, site)
        if not self.latents:
            what = "only discrete latents, which are summed out" if self.discrete else "no latent"
            raise UsageError(
                f"the model {self.name} has {what}: there is nothing to infer; a latent is a "
                "pyro.sample without obs="
            )
        if not self.observed:
            raise UsageError(
                f"the model {self.name} observes nothing: give data to a pyro.sample by obs=, or "
                "use pyro.poutine.condition"
            )
        self._note_subsamples()

    def _note_observed(self, name: str, site: Mapping[str, Any]) -> None:
        value, fn = torch.as_tensor(site["value"]), site["fn"]
        if isinstance(fn, dist.Unit):  # pyro.factor
            self.observed[name] = fn.log_factor.detach()
            return
        seen = site["mask"]
        unseen = torch.zeros((), dtype=torch.bool) if seen is None else ~torch.as_tensor(seen)
        wrong = ~value.isfinite() if value.is_floating_point() else torch.zeros_like(unseen)
        if seen is None and bool(wrong.any()):
            raise UsageError(
                f"the data of the site {name!r} hold {int(wrong.sum())} values that are NaN or "
                "infinite: leave them out, or mask them by pyro.poutine.mask"
            )
        self.observed[name] = value.detach()

    def _note_latent(self, name: str, site: Mapping[str, Any]) -> None:
        fn, value = site["fn"], site["value"]
        if fn.support.is_discrete:
            if not fn.has_enumerate_support:
                raise UsageError(
                    f"the latent {name!r} is discrete and has no finite number of values "
                    f"({type(fn).__name__}), so it cannot be summed out: sum it out in the model"
                )
            self.discrete[name] = len(fn.enumerate_support(expand=False))
            return
        try:
            reals = biject_to(fn.support).inv(value)
        except NotImplementedError as error:
            raise UsageError(
                f"the latent {name!r} ({type(fn).__name__}) has a support that is no image of "
                "unconstrained reals: parametrise it otherwise"
            ) from error
        frames = {f.name: f.dim for f in site["cond_indep_stack"] if f.vectorized}
        self.latents[name] = Latent(
            value.shape, reals.shape, value.dtype, value.device, frames, not is_improper(fn)
        )

    def _note_subsamples(self) -> None:
        """How many data each plate draws, from a run in which plates draw."""
        at = AtSites(self.latents, self.params)
        for site in self._trace(at, whole=False).nodes.values():
            for frame in site.get("cond_indep_stack", ()):
                if frame.name in self.plates and frame.vectorized:
                    known = self.plates[frame.name]
                    self.plates[frame.name] = Plate(known.size, frame.size, known.dim)

    def _why_looped(self) -> str:
        """Empty where two draws at once have the densities that they have one after the other."""
        with seeded(1, torch.device("cpu")), torch.no_grad():
            self.looped = "not yet known"
            u = self.draw_prior(2)
            alone = self.log_terms(u).joint
            try:
                self.looped = ""
                together = self.log_terms(u).joint
            except UsageError:
                raise
            except Exception as error:  # of the kind that the model's Python makes of it
                return " ".join(str(error).split())[:160] or type(error).__name__
        same = torch.allclose(together, alone, rtol=1e-3, atol=1e-3, equal_nan=True)
        return "" if same else "its densities are others when two are computed at once"
