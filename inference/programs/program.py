"""A Pyro model with its arguments: its sites, and its log density over unconstrained reals."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from inference.programs.running import Runner
from inference.programs.sites import LogTerms, Plate, Unobserved, log_terms, widest
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts
from pyro_models.data import checksum
from pyro_models.errors import in_one_line
from pyro_models.seeds import seeded, stream

__all__ = ["Program"]


class Program(Brief):
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
    dims
        Names of the dimensions of every latent and observed site: its plates, or its own.

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
    Program(model, latent: scale (), observed: y (3,))
    >>> program.log_joint(torch.zeros(5, 1)).shape
    torch.Size([5])
    """

    def __init__(self, model: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._set_up(model, args, kwargs)

    def facts(self) -> Mapping[str, object]:
        """Its sites, and their shapes."""

        def listed(shapes: Mapping[str, Any]) -> str:
            return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())

        return {
            "": self.name,
            "latent": listed({n: site.shape for n, site in self.latents.items()}),
            "enumerated": ", ".join(self.discrete),
            "observed": listed({n: v.shape for n, v in self.observed.items()}),
        }

    def _set_up(
        self,
        model: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        dtype: torch.dtype | None = None,
    ) -> None:
        if not callable(model) or isinstance(model, type):
            what = getattr(model, "__name__", repr(model))
            raise UsageError(f"a program is a Pyro model, a function or a module; got {what}")
        self.model, self.args, self.kwargs = model, args, kwargs
        self._runner = runner = Runner(model, args, kwargs, dtype)
        sites = runner.sites
        self.latents, self.discrete, self.observed = sites.latents, sites.discrete, sites.observed
        self.plates, self.dims = sites.plates, sites.dims
        with seeded(1, torch.device("cpu")), torch.no_grad():
            runner.looped = "not yet known"
            u = self.draw_prior(2)
            runner.find_whether_looped(lambda: self.log_terms(u).joint)
        if self.looped:
            warnings.warn(
                f"{self.name} is run for one draw at a time, as it cannot be vectorised: "
                f"{self.looped}",
                stacklevel=4,
            )

    def double(self) -> Program:
        """The same program in float64: copies of its arguments and modules, the same function."""
        made = object.__new__(Program)
        model, args, kwargs = tree_map(_doubled, (self.model, self.args, dict(self.kwargs)))
        made._set_up(model, args, kwargs, torch.float64)
        return made

    @property
    def name(self) -> str:
        """What the model is called."""
        return self._runner.name

    @property
    def factors(self) -> tuple[str, ...]:
        """Names of what is no data, but a factor of the density (``pyro.factor``)."""
        return tuple(self._runner.sites.factors)

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
    def looped(self) -> str:
        """Why densities are computed one after the other; empty where they are vectorised."""
        return self._runner.looped

    @property
    def subsampled(self) -> dict[str, Plate]:
        """The plates that draw some of their data."""
        return {n: p for n, p in self.plates.items() if p.subsample_size < p.size}

    @property
    def improper(self) -> tuple[str, ...]:
        """Latents whose prior does not integrate to 1: evidence is then up to a constant."""
        return tuple(name for name, site in self.latents.items() if not site.proper)

    @property
    def checksums(self) -> dict[str, str]:
        """Of every observed site."""
        return {name: checksum(value) for name, value in self.observed.items()}

    @cached_property
    def checksum(self) -> str:
        """Of what the model says: sites, observed values, and its log density at three points."""
        points = torch.linspace(-1, 1, 3, dtype=self.dtype, device=self.device)
        with torch.no_grad():
            at = self.log_joint(points.unsqueeze(-1).expand(3, self.dim)).double()
        shown = [f"{value:.4e}" for value in at.tolist()]
        sites = [f"{name} {tuple(site.shape)}" for name, site in self.latents.items()]
        text = f"{sites} {self.checksums} {shown}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    # densities -----------------------------------------------------------------------------------

    def log_terms(
        self,
        u: Tensor,
        *,
        minibatches: bool = False,
        jacobian: bool = True,
        data: Mapping[str, Tensor] | None = None,
    ) -> LogTerms:
        """log p(θ) |dθ/du| and log p(x | θ), each (\\*batch,), at u, (\\*batch, D); nats.

        With ``minibatches`` each u meets data of its own that subsampled plates draw, scaled so
        that both terms are unbiased. Without the ``jacobian`` the first is log p(θ). With ``data``,
        by observed site (\\*batch, \\*shape), each u meets those in the place of the program's.
        """
        flat = u.reshape(-1, self.dim)
        drawn = self._indices(len(flat)) if minibatches else {}
        rows = {n: v.reshape(len(flat), *self.observed[n].shape) for n, v in (data or {}).items()}

        def terms(vector: Tensor, row: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            indices = {name: row[name] for name in drawn}
            values = {name: row[name] for name in rows}
            at = self._runner.at(u=vector, indices=indices, values=values)
            trace = self._runner.trace(at, whole=not indices)
            found = log_terms(trace, at, jacobian=jacobian)
            return found.prior, found.likelihood

        prior, likelihood = self._runner.each(terms, flat, {**drawn, **rows})
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
            at = self._runner.at(u=vector, values=row)
            return log_terms(self._runner.trace(at), at).joint

        def both(vector: Tensor, row: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            gradient = torch.func.grad(joint)
            return gradient(vector, row), torch.func.jacrev(gradient)(vector, row)

        return self._runner.each(both, u, data)

    # coordinates ---------------------------------------------------------------------------------

    def constrain(self, u: Tensor) -> dict[str, Tensor]:
        """θ = T(u) by site, (\\*batch, \\*shape), of u, (\\*batch, D)."""

        def values(vector: Tensor, _: dict[str, Tensor]) -> dict[str, Tensor]:
            at = self._runner.at(u=vector)
            self._runner.trace(at)
            return at.values

        found = self._runner.each(values, u.reshape(-1, self.dim), {})
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
            at = self._runner.at(values=row)
            self._runner.trace(at)
            return at.vector, sum(x.sum() for x in at.log_dets.values())  # type: ignore[return-value]

        count = len(next(iter(given.values())))
        u, log_det = self._runner.each(vector, torch.empty(count, 0, device=self.device), given)
        return u.reshape(*batch, self.dim), log_det.reshape(batch)

    # draws from the prior ------------------------------------------------------------------------

    def draw_prior(self, n: int) -> Tensor:
        """u of n draws from the prior, (n, D), from the global generator.

        An improper prior, from which nothing can be drawn, is replaced by u ~ U(−2, 2).
        """

        def vector(_: Tensor, __: dict[str, Tensor]) -> Tensor:
            at = self._runner.drawing()
            self._runner.trace(at)
            return at.vector

        with torch.no_grad():
            return self._runner.each(vector, torch.empty(n, 0, device=self.device), {}, draws=True)

    def simulate(self, n: int, *, seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """n draws of the latents from the prior, and of data given them; each (n, \\*shape).

        Continuous and discrete latents by name, and observed sites by name.
        """
        check_counts(n=n)
        with seeded(stream(seed, "simulate"), self.device), torch.no_grad():
            drawn = self._predicted(torch.empty(n, 0, device=self.device), {})
        latent = {name: drawn[name] for name in (*self.latents, *self.discrete)}
        return latent, {name: drawn[name] for name in self.observed}

    def predict(self, latents: Mapping[str, Tensor], *, seed: int = 0) -> dict[str, Tensor]:
        """Data x ~ p(x | θ) for each of n values of the latents: observed site → (n, \\*shape).

        Sites of ``pyro.deterministic`` are among them. Discrete latents are drawn anew, given θ.
        """
        rows = torch.empty(len(next(iter(latents.values()))), 0, device=self.device)
        with seeded(stream(seed, "predict"), self.device), torch.no_grad():
            drawn = self._predicted(rows, dict(latents))
        latent = {*self.latents, *self.discrete, *self._runner.sites.factors}
        return {name: values for name, values in drawn.items() if name not in latent}

    def given(self, data: Mapping[str, Tensor]) -> Program:
        """The same program that has observed other data: values by observed site."""
        unknown = [name for name in data if name not in self.observed]
        if unknown:
            raise UsageError(
                f"the model observes {', '.join(self.observed)}, and not {', '.join(unknown)}"
            )
        model = poutine.condition(Unobserved()(self.model), {**self.observed, **data})
        return Program(model, *self.args, **self.kwargs)

    def _predicted(self, rows: Tensor, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """All sites of runs with values of some, data unobserved: (n, \\*shape) by name."""

        def run(_: Tensor, row: dict[str, Tensor]) -> dict[str, Tensor]:
            trace = self._runner.trace(self._runner.drawing(values=row), uncondition=True)
            sites = trace.nodes.items()
            return {
                n: torch.as_tensor(s["value"])
                for n, s in sites
                if s["type"] == "sample" and not site_is_subsample(s)
            }

        with in_one_line(f"a draw of data from {self.name}"):
            return self._runner.each(run, rows, given, draws=True)

    def _indices(self, count: int) -> dict[str, Tensor]:
        """Data that each subsampled plate draws, (count, subsample size)."""
        return {
            name: torch.rand(count, plate.size, device=self.device).argsort(-1)[
                :, : plate.subsample_size
            ]
            for name, plate in self.subsampled.items()
        }


def _doubled(value: Any) -> Any:
    if isinstance(value, nn.Module):
        return deepcopy(value).double()
    narrow = isinstance(value, Tensor) and value.is_floating_point()
    return value.double() if narrow else value
