"""log p(x_seen) of every datum by the best method there is, and what kind of number it is."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.blocks import spread
from inference.chunks import MAX_ELEMENTS
from inference.evaluation.annealing import anneal
from inference.evaluation.estimates import exact_log_prob, log_weights
from inference.evaluation.quadrature import MOST_DIMENSIONS, quadrature
from inference.evaluation.quantity import Kind, quantity_named
from inference.evaluation.tightest import filled, tightest
from inference.isolated import isolated
from inference.particles import checked_count
from inference.posterior.identity import conditions, identity_of
from inference.posterior.infer import infer
from inference.posterior.log_density import condition, log_label_prior
from inference.precision import DEFAULT, at_precision, precision_of
from inference.progress import bar, showing
from inference.standard_error import error_of_mean, mean_and_error
from pyro_models import Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import Identity
from pyro_models.data.masks import Mask
from pyro_models.observed import Data, Labels, Observed, observed
from pyro_models.pair import Exact
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed

__all__ = ["METHODS", "Evidence", "evidence"]

CALLERS = "the caller's own"
METHODS = ("best", "exact", "quadrature", "importance", "annealing")

POOR = 0.5
"""Nats of Monte-Carlo error above which a datum's log p(x) says little, on either side."""


@dataclass(frozen=True, eq=False)
class Evidence(Brief):
    """log p(x_seen) of B data, or log p(x_seen | y) of a pair that is given labels.

    Attributes
    ----------
    value, standard_error
        (B,), nats, and the Monte-Carlo standard error of each: 0 where exact, the error estimate of
        the grid for quadrature, :func:`inference.evaluation.annealing.relative_error` for the
        others. Where it is not well below 1 the value may be too high or too low; and a sample that
        has missed the bulk of the posterior does not know.
    effective_sample_size
        Of the weights behind each value, (B,), between 1 and their number (``num_particles``, where
        ``sources`` says nothing else); NaN for a datum, ``None`` where there are none.
    kind
        ``"exact"``; ``"estimate"`` (quadrature); ``"lower bound"`` in expectation (importance
        sampling, annealing); ``"objective only"`` where the likelihood is no probability.
    method, num_particles, settings
        ``"exact"``, ``"quadrature"``, ``"importance"``, ``"annealing"`` or ``"the caller's own"``;
        samples or chains per datum, ``None`` without; and what else the value hangs on:
        temperatures, leapfrog steps, acceptance (mean over data).
    measure, given
        What p is a density of, as the likelihood says it; and what it is given: ``"y"`` if labels
        were given to a pair that uses them, the pixels of a pair that conditions on pixels.
    seed, identity
        Random seed of all draws; and what it is of, by content: data, mask, labels, the model's
        weights. ``None`` where it is the caller's own, of which this is unknown.
    sources
        What is behind the value of each datum, where it is not ``method`` for all: annealing where
        a grid could not resolve it, the L_K of a guide where its error was smaller.
    precision
        As of :class:`inference.evaluation.Score`.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor | None
    kind: Kind
    method: str
    num_particles: int | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    measure: str | None = None
    given: str | None = None
    seed: int = 0
    identity: Identity | None = None
    sources: tuple[str, ...] = ()
    precision: str | None = None

    def facts(self) -> Mapping[str, object]:
        """The mean over data, its kind and how it was found."""
        of = quantity_named("log_likelihood")
        return {
            of.heading(self.given): f"{of.text(*self.mean)} {of.unit}",
            "data": len(self),
            "kind": self.kind,
            "method": self.method,
            "precision": self.precision,
        }

    @classmethod
    def of_caller(cls, value: Tensor) -> Evidence:
        """log p(x) of every datum, (B,), as the caller knows it, taken at their word.

        A ``UsageError`` is raised if it is no tensor of finite numbers, one per datum.
        """
        if not isinstance(value, Tensor) or value.dim() != 1 or not value.is_floating_point():
            what = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"log_evidence is an Evidence, or a tensor (B,) of nats; got {what}")
        value = value.detach()
        if not bool(value.isfinite().all()):
            row = int((~value.isfinite()).nonzero()[0])
            raise UsageError(f"log_evidence of datum {row} is {float(value[row])}")
        return cls(value, torch.zeros_like(value), None, "estimate", CALLERS, None)

    def __len__(self) -> int:
        return len(self.value)

    @property
    def mean(self) -> tuple[float, float]:
        """Mean over data, and its standard error over data; NaN for one datum."""
        return mean_and_error(self.value)

    @property
    def sampled_rows(self) -> Tensor:
        """Where the value is an average over samples or chains, (B,) booleans."""
        sources = self.sources or (self.method,) * len(self)
        sampled = [source not in ("exact", "quadrature") for source in sources]
        return torch.tensor(sampled, device=self.value.device)

    @property
    def how(self) -> dict[str, Any]:
        """What a score of it says of how tight it is: K, or the settings of annealing in words."""
        if self.method != "annealing":
            return {"num_particles": self.num_particles, "method": None}
        by = f"annealing, {self.num_particles} chains, {self.settings['T =']} temperatures"
        return {"num_particles": None, "method": by}

    @property
    def is_sampled(self) -> bool:
        """Whether any value is an average over samples or chains."""
        return bool(self.sampled_rows.any())

    @property
    def poor(self) -> Tensor:
        """Where samples are too few to know log p(x) to half a nat, (B,) booleans."""
        error = self.standard_error
        return self.sampled_rows & ~(error <= POOR) & ~error.isnan()

    @property
    def monte_carlo_error(self) -> float:
        """The part of the mean's standard error that more samples would lower."""
        return error_of_mean(self.standard_error)

    def __str__(self) -> str:
        of = quantity_named("log_likelihood")
        bound = " in expectation" if self.kind == "lower bound" else ""
        by = f", {CALLERS}" if self.method == CALLERS else ""
        if self.method not in (CALLERS, "exact"):
            what = "error" if self.method == "quadrature" else "Monte-Carlo error"
            by = f", by {', '.join([self.method, *self._details()])}; {what} "
            by += f"{self.monte_carlo_error:.4f}{self._warning()}"
        return (
            f"{of.heading(self.given)} {of.text(*self.mean)} {of.unit} over {len(self):,} data "
            f"({self.kind}{bound}{f', in {self.precision}' if self.precision else ''}{by})"
        )

    def _details(self) -> Iterator[str]:
        if self.num_particles is not None:
            yield f"{'C' if self.method == 'annealing' else 'K'} = {self.num_particles}"
        for name, value in self.settings.items():
            yield f"{name} {value}"
        if self.effective_sample_size is not None:
            sizes = self.effective_sample_size
            yield f"lowest ESS {float(sizes[~sizes.isnan()].min()):.1f}"
        if self.sources:
            counts = ", ".join(f"{name} {count}" for name, count in Counter(self.sources).items())
            yield f"data by source: {counts}"
        yield f"seed {self.seed}"

    def _warning(self) -> str:
        """How many of the data are poorly known."""
        if not bool(self.poor.any()):
            return ""
        worst = float(self.standard_error[self.poor].max())
        return (
            f"; poorly known for {int(self.poor.sum())} of {len(self)} data, too high or too low "
            f"by {worst:.1f} nats or more: {self._advice()}"
        )

    def _advice(self) -> str:
        """What would lower the error: no start at a guide, which may know one mode alone."""
        if self.method == "importance":
            return "take more particles, a guide that fits better, or the method annealing"
        start = ", or from the prior" if "from" in self.settings else ""
        return f"anneal longer, or with more chains{start}"


@at_precision
def evidence(
    pair: Pair,
    x: Data,
    *,
    mask: Mask | None = None,
    y: Labels | None = None,
    fraction: float = 0.5,
    method: str = "best",
    guide: str | Callable[..., Any] | None = None,
    num_particles: int = 1000,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog: int = 10,
    schedule: str = "sigmoidal",
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
    workers: int | None = None,
    resume: str | Path | None = None,
    precision: str = DEFAULT,
) -> Evidence:
    """log p(x_seen) = log ∫ p(x_seen | z) p(z) dz of every datum.

    Parameters
    ----------
    pair
        A pair; nothing of it changes.
    x, mask, y, fraction
        Prepared data, (B, \\*data_shape), what is seen of them, and labels (B,), as
        :func:`pyro_models.observed.observed` takes them; with labels p is p(x_seen | y).
    method
        ``"exact"`` where the pair knows it; ``"quadrature"`` for one or two latents;
        ``"annealing"``: annealed importance sampling; ``"importance"``: L_K. ``"best"``: the first
        of these that there is; data that a grid cannot resolve are annealed, and where annealing
        knows log p(x) poorly the L_K of the guide is taken if its error is smaller.
    guide
        Any guide with a density, such as a posterior from ``infer``, or a name that ``infer``
        knows. For importance sampling the proposal, the pair's own unless given; for annealing
        where the path starts, the prior unless given; from a guide that knows one mode of several
        the estimate may be hundreds of nats too low with a small error.
    num_particles
        Number of particles K of importance sampling.
    num_chains, num_temperatures, num_leapfrog, schedule
        Options of :func:`inference.evaluation.anneal`.
    seed
        Random seed of all draws; the caller's generators do not move.
    max_elements, progress
        Numbers that may be decoded at once, which bounds memory; show a progress bar.
    workers, resume
        Processes that blocks of data are spread over, with one thread each (with ``"cuda"`` a GPU
        each, in turn); this one with all its threads unless given. A folder where finished blocks
        are kept: the same call goes on from there after a kill. Random numbers are those of each
        block, so that neither changes a number, nor does ``max_elements`` beyond rounding (of
        what is sampled not at all from ``2**22`` on).
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the result says it.

    Raises
    ------
    UsageError
        If the method is unknown or does not exist for this pair, the data do not fit it, or
        quadrature is asked for by name and cannot resolve a datum; or the folder ``resume`` holds
        blocks of another evaluation.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[16], likelihood="bernoulli")
    >>> found = evidence(vae, torch.rand(3, 1, 8, 8).round())
    >>> found.method, found.kind
    ('quadrature', 'estimate')
    """
    check_pair(pair)
    check_choice("method", method, METHODS)
    checked_count(num_particles)
    check_seed(seed)
    data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
    used = _best(pair, data) if method == "best" else method
    if isinstance(guide, str | Mapping):
        guide = infer(pair, data, guide=guide, seed=seed, progress=progress)

    of_chains: dict[str, Any] = {
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "num_leapfrog": num_leapfrog,
        "schedule": schedule,
    }

    def annealed(rows: slice | Tensor, **how: Any) -> Evidence:
        target = condition(pair, data, guide=guide).select(rows)
        chains = anneal(target, seed=seed, **of_chains, **how)
        settings: dict[str, Any] = {
            **({} if guide is None else {"from": getattr(guide, "name", None) or "a guide"}),
            "T =": num_temperatures,
            "leapfrog steps": num_leapfrog,
            "acceptance": round(float(chains.acceptance.mean()), 2),
        }
        found = chains.estimate, chains.standard_error, chains.effective_sample_size
        return Evidence(*found, "lower bound", "annealing", num_chains, settings)

    def sampled(**how: Any) -> Evidence:
        how |= {"num_particles": num_particles, "guide": guide, "seed": seed}
        of = log_weights(pair, data.x, y=data.y, mask=data.mask, **how)
        with isolated(pair):
            value = of.bound - log_label_prior(pair, data.x, data.y)
        found = value, of.bound_error, of.effective_sample_size
        return Evidence(*found, "lower bound", "importance", of.num_particles)

    unresolved: Mapping[int, str] = {}
    settings = {"method": method, "num_particles": num_particles, "seed": seed, **of_chains}
    of_data: dict[str, Any] = {"identity": identity_of(pair, data), "guides": (guide, pair.guide)}
    with (
        showing(progress),
        spread(workers, resume, pair, settings=settings, **of_data) as blocks,
        bar(len(data), unit="data", what=used) as done,
    ):
        how: dict[str, Any] = {"max_elements": max_elements, "blocks": blocks}
        if used == "exact":
            if not fulfills(pair, Exact):
                raise UsageError(
                    f"{type(pair).__name__} does not know log p(x) exactly: use annealing, or best"
                )
            value = exact_log_prob(pair, data.x, mask=data.mask, max_elements=max_elements)
            found = Evidence(value, torch.zeros_like(value), None, "exact", used, None)
        elif used == "importance":
            found = sampled(progress=done.update, **how)
        elif used == "quadrature":
            grid = quadrature(condition(pair, data), progress=done.update, **how)
            nodes = {"nodes per dimension": int(grid.nodes.max())}
            found = Evidence(grid.log_evidence, grid.error, None, "estimate", used, None, nodes)
            unresolved = grid.unresolved
        else:
            found = annealed(slice(None), progress=done.update, **how)
        if unresolved:
            if method == "quadrature":
                raise _unresolved(unresolved, len(data))
            rows = torch.tensor(list(unresolved), device=found.value.device)
            found = filled(found, rows, annealed(rows, **how))
        measure = pair.likelihood.measure
        found = replace(
            found,
            value=found.value.detach(),
            standard_error=found.standard_error.detach(),
            kind="objective only" if measure is None else found.kind,
            measure=measure,
            given=conditions(pair, data.y),
            seed=seed,
            identity=of_data["identity"],
            precision=precision_of(pair),
        )
        if method != "best" or not bool(found.poor.any()):
            return found
        own = sampled(**how)
    bound = (own.value, own.standard_error, own.effective_sample_size)
    return tightest(found, [(f"L_{num_particles} of the guide", *bound)])


def _unresolved(why: Mapping[int, str], count: int) -> UsageError:
    row = next(iter(why))
    return UsageError(
        f"quadrature cannot resolve {len(why)} of {count} data; datum {row}: {why[row]}. Choose "
        "the method annealing, or best, which anneals these"
    )


def _best(pair: Pair, data: Observed) -> str:
    continuous = [site for site in pair.latent_sites.values() if not site.discrete]
    decided = any(site.why_not_free for site in continuous)  # by x, as far as that is seen
    if fulfills(pair, Exact) and not (decided and data.half_seen):
        return "exact"
    if decided or not continuous:
        return "importance"  # where all is enumerated, every weight is the evidence itself
    dim = sum(math.prod(site.event_shape) for site in continuous)
    return "quadrature" if dim <= MOST_DIMENSIONS else "annealing"
