"""log p(x_seen) of every datum by the best method there is, and what kind of number it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from inference.chunks import MAX_ELEMENTS
from inference.evaluation.annealing import anneal
from inference.evaluation.estimates import exact_log_prob, log_weights
from inference.evaluation.quadrature import MOST_DIMENSIONS, quadrature
from inference.evaluation.scores import Kind
from inference.learning.settings import check_seed
from inference.posterior.infer import infer
from inference.posterior.target import condition, log_label_prior
from inference.undisturbed import stream, undisturbed
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.masks import Mask
from pyro_models.observed import observed
from pyro_models.pair import Exact

__all__ = ["METHODS", "Evidence", "evidence"]

METHODS = ("best", "exact", "quadrature", "importance", "annealing")


@dataclass(frozen=True, eq=False)
class Evidence:
    """log p(x_seen) of B data, or log p(x_seen | y) of a pair that is given labels.

    Attributes
    ----------
    value
        (B,), nats.
    standard_error
        Monte-Carlo standard error of each value, (B,): 0 where exact, the error estimate of the
        grid for quadrature, by the delta method for the others. Where it is not well below 1 it
        says too little: a sample that has missed the bulk of the posterior does not know.
    effective_sample_size
        Of the weights behind each value, (B,), between 1 and ``num_particles``; ``None`` where
        there are none.
    kind
        ``"exact"``; ``"estimate"`` (quadrature); ``"lower bound"`` in expectation (importance
        sampling, annealing); ``"objective only"`` where the likelihood is no probability.
    method
        ``"exact"``, ``"quadrature"``, ``"importance"`` or ``"annealing"``.
    num_particles
        Samples or chains per datum; ``None`` without.
    settings
        What else the value hangs on: temperatures, leapfrog steps, acceptance (mean over data).
    measure
        What p is a density of, as the likelihood says it.
    given
        ``"y"`` if labels were given to a pair that uses them.
    seed
        Of all draws.
    """

    value: Tensor
    standard_error: Tensor
    effective_sample_size: Tensor | None
    kind: Kind
    method: str
    num_particles: int | None
    settings: Mapping[str, float | str] = field(default_factory=dict)
    measure: str | None = None
    given: str | None = None
    seed: int = 0

    def __len__(self) -> int:
        return len(self.value)

    @property
    def mean(self) -> tuple[float, float]:
        """Mean over data, and its standard error over data; NaN for one datum."""
        value = self.value.double()
        spread = float(value.std()) if len(value) > 1 else math.nan
        return float(value.mean()), spread / math.sqrt(len(value))

    @property
    def monte_carlo_error(self) -> float:
        """The part of the mean's standard error that more samples would lower."""
        return float(self.standard_error.double().square().sum().sqrt()) / len(self)

    def __str__(self) -> str:
        mean, error = self.mean
        details = [f"{name} {value}" for name, value in self.settings.items()]
        if self.num_particles is not None:
            word = "C" if self.method == "annealing" else "K"
            details.insert(0, f"{word} = {self.num_particles}")
        if self.effective_sample_size is not None:
            details.append(f"lowest ESS {float(self.effective_sample_size.min()):.1f}")
        what = "log p(x)" if self.given is None else f"log p(x | {self.given})"
        spread = "" if math.isnan(error) else f" ± {error:.3f}"
        bound = " in expectation" if self.kind == "lower bound" else ""
        by = ""
        if self.method != "exact":
            details.append(f"seed {self.seed}")
            error_of = "error" if self.method == "quadrature" else "Monte-Carlo error"
            by = f", by {', '.join([self.method, *details])}; {error_of} "
            by += f"{self.monte_carlo_error:.4f}"
        return (
            f"{what} {mean:.3f}{spread} nats per datum over {len(self):,} data "
            f"({self.kind}{bound}{by})"
        )


def evidence(
    pair: Pair,
    x: Tensor,
    *,
    mask: Mask | None = None,
    y: Tensor | None = None,
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
) -> Evidence:
    """log p(x_seen) = log ∫ p(x_seen | z) p(z) dz of every datum.

    Parameters
    ----------
    pair
        A pair; nothing of it changes.
    x, mask
        Prepared data, (B, \\*data_shape), and what is seen of them: an array, True or 1, or a name
        such as ``"left"`` (:func:`pyro_models.masks.seen_pixels`); all unless given.
    y
        Labels (B,) for a pair that needs or takes them: p is then p(x_seen | y).
    method
        ``"exact"`` where the pair knows it; ``"quadrature"`` for one or two latents;
        ``"annealing"``: annealed importance sampling; ``"importance"``: L_K. ``"best"``: the first
        of these that there is.
    guide
        Any guide with a density, such as a posterior from ``infer``, or a name that ``infer``
        knows. For importance sampling the proposal, the pair's own unless given; for annealing
        where the path starts, the prior unless given.
    num_particles
        K of importance sampling.
    num_chains, num_temperatures, num_leapfrog, schedule
        Of :func:`inference.evaluation.annealing.anneal`.
    seed
        Of all draws; the caller's generators do not move.
    max_elements
        Numbers that one chunk's reconstructions may hold; bounds memory.
    progress
        Show a progress bar of data.

    Raises
    ------
    UsageError
        If the method is unknown or does not exist for this pair, or the data do not fit it.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[16], likelihood="bernoulli")
    >>> found = evidence(vae, torch.rand(3, 1, 8, 8).round())
    >>> found.method, found.kind
    ('quadrature', 'estimate')
    """
    if method not in METHODS:
        raise UsageError(f"unknown method {method!r}: choose from {', '.join(METHODS)}")
    check_seed(seed)
    data = observed(pair, x, mask=mask, y=y, seed=seed)
    x, mask, y = data.x, data.mask, data.y
    used = _best(pair) if method == "best" else method
    if isinstance(guide, str):
        guide = infer(pair, x, mask=mask, y=y, guide=guide, seed=seed, progress=progress)
    with tqdm(total=len(x), disable=not progress, unit="datum", leave=False) as bar:
        if used == "exact":
            found = _exact(pair, x, mask, max_elements)
        elif used == "importance":
            found = _importance(
                pair,
                x,
                y,
                mask=mask,
                guide=guide,
                num_particles=num_particles,
                seed=seed,
                max_elements=max_elements,
                progress=bar.update,
            )
        elif used == "quadrature":
            grid = quadrature(
                condition(pair, x, mask=mask, y=y), max_elements=max_elements, progress=bar.update
            )
            nodes = {"nodes per dimension": int(grid.nodes.max())}
            found = _Found(grid.log_evidence, grid.error, None, "estimate", None, nodes)
        else:
            chains = anneal(
                condition(pair, x, mask=mask, y=y, guide=guide),
                num_chains=num_chains,
                num_temperatures=num_temperatures,
                schedule=schedule,
                num_leapfrog=num_leapfrog,
                seed=seed,
                max_elements=max_elements,
                progress=bar.update,
            )
            found = _Found(
                chains.estimate,
                chains.standard_error,
                chains.effective_sample_size,
                "lower bound",
                num_chains,
                {
                    "T =": num_temperatures,
                    "leapfrog steps": num_leapfrog,
                    "acceptance": round(float(chains.acceptance.mean()), 2),
                },
            )
    measure = pair.likelihood.measure
    return Evidence(
        value=found.value.detach(),
        standard_error=found.error.detach(),
        effective_sample_size=found.size,
        kind="objective only" if measure is None else found.kind,
        method=used,
        num_particles=found.num_particles,
        settings=found.settings,
        measure=measure,
        given=None if y is None or pair.num_classes is None else "y",
        seed=seed,
    )


@dataclass(frozen=True)
class _Found:
    value: Tensor
    error: Tensor
    size: Tensor | None
    kind: Kind
    num_particles: int | None
    settings: Mapping[str, float | str] = field(default_factory=dict)


def _best(pair: Pair) -> str:
    if fulfills(pair, Exact):
        return "exact"
    continuous = [site for site in pair.latent_sites.values() if not site.discrete]
    if not continuous:
        return "importance"  # all is enumerated: every weight is the evidence itself
    dim = sum(math.prod(site.event_shape) for site in continuous)
    return "quadrature" if dim <= MOST_DIMENSIONS else "annealing"


def _exact(pair: Pair, x: Tensor, mask: Tensor | None, max_elements: int) -> _Found:
    if not fulfills(pair, Exact):
        raise UsageError(
            f"{type(pair).__name__} does not know log p(x) exactly: use annealing, or best"
        )
    value = exact_log_prob(pair, x, mask=mask, max_elements=max_elements)
    return _Found(value, torch.zeros_like(value), None, "exact", None)


def _importance(pair: Pair, x: Tensor, y: Tensor | None, *, seed: int, **options: Any) -> _Found:
    with undisturbed(pair, seed=stream(seed, "particles")):
        weights = log_weights(pair, x, y=y, **options)
        value = weights.bound - log_label_prior(pair, x, y)
    size, error = weights.effective_sample_size, weights.bound_error
    return _Found(value, error, size, "lower bound", weights.num_particles)
