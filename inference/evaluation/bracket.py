"""Bidirectional Monte Carlo: log p(x) of simulated data between a lower and an upper bound.

Of data simulated from the model an exact posterior draw is known: the z they were made from. Chains
that anneal from q give a lower bound on log p(x) in expectation, chains that run from that draw
back to q an upper bound (Grosse, Ghahramani & Adams 2015). The gap between them bounds the error of
the annealing on such data, and hints at its error on real data, whose posteriors are alike as far
as the model fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from inference.blocks import HERE, Blocks, computed, spread
from inference.chunks import MAX_ELEMENTS
from inference.evaluation.annealing import Annealed, anneal, log_ratio, relative_error
from inference.evaluation.quantity import quantity_named
from inference.evaluation.scores import contradiction
from inference.isolated import isolated
from inference.mcmc.hmc import transition
from inference.particles import log_mean_exp
from inference.posterior.chains import block_size
from inference.posterior.identity import conditions
from inference.posterior.log_density import LogDensity, condition
from inference.precision import DEFAULT, at_precision, precision_of
from inference.standard_error import mean_and_error
from pyro_models import Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import check_pair
from pyro_models.counts import check_counts
from pyro_models.data.masks import Mask
from pyro_models.data.observed import labels_for
from pyro_models.device import device_of
from pyro_models.observed import Labels
from pyro_models.seeds import check_seed, stream

__all__ = ["Bracket", "bracket", "reversed_weights"]


@dataclass(frozen=True, eq=False)
class Bracket(Brief):
    """Bounds on log p(x) of simulated data, in expectation, (B,) each, nats.

    Attributes
    ----------
    lower, lower_error, forward
        Bound from chains that start at q, its standard error, and the annealing behind them.
    upper, upper_error
        Bound from chains that start at the exact draw, and its standard error given that draw.
    x, given, precision
        The data, (B, \\*data_shape), and what p is given and the precision, as of
        :class:`inference.evaluation.Evidence`.
    """

    lower: Tensor
    lower_error: Tensor
    upper: Tensor
    upper_error: Tensor
    x: Tensor
    forward: Annealed
    given: str | None = None
    precision: str | None = None

    def facts(self) -> Mapping[str, object]:
        """Both bounds on average over the data."""
        of, means = quantity_named("log_likelihood"), (self.lower.mean(), self.upper.mean())
        lower, upper = (of.text(float(mean)) for mean in means)
        found = f"between {lower} and {upper} {of.unit}"
        return {of.heading(self.given): found, "data": len(self.x), "precision": self.precision}

    @property
    def gap(self) -> Tensor:
        """Upper − lower, (B,): at least the error of either, in expectation."""
        return self.upper - self.lower

    def __str__(self) -> str:
        of, n = quantity_named("log_likelihood"), len(self.x)
        lower, upper = float(self.lower.double().mean()), float(self.upper.double().mean())
        gap = of.text(upper - lower, mean_and_error(self.gap)[1])
        found = f"between {of.text(lower)} and {of.text(upper)} {of.unit}, gap {gap}"
        noise = (self.lower_error.double().square() + self.upper_error.double().square()).sum()
        wrong = contradiction(
            ("the lower bound", lower), ("the upper", upper), error=float(noise.sqrt()) / n
        )
        if wrong is not None:
            found = f"not bracketed, {wrong}; anneal longer"
        return (
            f"{of.heading(self.given)} of {n} simulated data: {found} "
            f"(bounds in expectation, C = {len(self.forward.log_weights)}, "
            f"T = {len(self.forward.betas) - 1}, seed {self.forward.seed}"
            f"{f', in {self.precision}' if self.precision else ''})"
        )


@at_precision
def bracket(
    pair: Pair,
    *,
    num_data: int = 100,
    mask: Mask | None = None,
    y: Labels | None = None,
    fraction: float = 0.5,
    guide: Callable[..., Any] | None = None,
    num_leapfrog: int = 10,
    seed: int = 0,
    workers: int | None = None,
    resume: str | Path | None = None,
    precision: str = DEFAULT,
    **options: Any,
) -> Bracket:
    """Bound log p(x) of data simulated from the pair's model from both sides.

    Parameters
    ----------
    pair
        A pair with a continuous latent and a likelihood that is a probability.
    num_data, y
        B, the number of data to simulate, and their labels (B,) for a pair that needs them.
    mask, fraction
        Pixels that count as seen, as :func:`pyro_models.observed.observed` takes them; both bounds
        are then on log p(x_seen).
    guide
        Start the path at a guide instead of the prior.
    num_leapfrog, seed, options
        As for :func:`inference.evaluation.anneal`.
    workers, resume
        As for :func:`inference.evaluation.evidence`.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the result says it.

    Raises
    ------
    UsageError
        If the likelihood is an objective only: there is nothing to simulate from.

    Examples
    --------
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> bool(bracket(ppca, num_data=20, num_temperatures=100).gap.mean() < 0.1)
    True
    """
    check_pair(pair)
    check_counts(num_data=num_data)
    check_seed(seed)
    if pair.likelihood.measure is None:
        raise UsageError(f"no data can be simulated: {pair.likelihood.no_probability}")
    labels = labels_for(y, num_data, device_of(pair))
    with isolated(pair, seed=stream(seed, "simulated data")):
        sites = poutine.trace(pair.model).get_trace(None, y=labels, n=num_data).nodes
    x = sites["x"]["value"]
    target = condition(pair, x, mask=mask, y=labels, guide=guide, fraction=fraction, seed=seed)
    z = target.pack({name: sites[name]["value"] for name in target.sites})
    limit = {k: v for k, v in options.items() if k == "max_elements"}
    settings = {n: v for n, v in options.items() if n not in ("max_elements", "progress")}
    how: dict[str, Any] = {"num_leapfrog": num_leapfrog, "seed": seed}
    of: dict[str, Any] = {"identity": target.identity, "guides": (guide,)}
    with spread(workers, resume, pair, settings={**settings, **how}, **of) as blocks:
        forward = anneal(target, blocks=blocks, **how, **options)
        inverse = -reversed_weights(target, z, forward, blocks=blocks, **how, **limit)
    lower, error, given = forward.estimate, forward.standard_error, conditions(pair, labels)
    upper, upper_error = -log_mean_exp(inverse), relative_error(inverse)
    bounds = lower, error, upper, upper_error
    return Bracket(*bounds, x, forward, given, precision_of(pair))


def reversed_weights(
    target: LogDensity,
    z: Tensor,
    forward: Annealed,
    *,
    num_leapfrog: int = 10,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    blocks: Blocks = HERE,
) -> Tensor:
    """log w of chains that run from exact posterior draws back to q, (C, B), nats.

    The transitions of ``forward``, the annealing of this target, in reverse order, with its step
    sizes; given its pilots' all of them are fixed. All chains of a datum start at one exact draw z,
    (B, D), or each at one of its own, (C, B, D). E[w⁻¹] = 1 / p(x), where log w is the sum that
    ``forward`` has, so −log (1/C) Σ w⁻¹ is an upper bound on log p(x) in expectation.
    """
    num_chains, betas = len(forward.log_weights), forward.betas.tolist()
    bounded = replace(target, max_elements=max_elements)

    def part(rows: slice | Tensor) -> tuple[LogDensity, Tensor, Tensor, Tensor]:
        return (
            bounded.select(rows),
            z[..., rows, :],
            forward.step_sizes[:, rows],
            forward.scale[rows],
        )

    def backward(of: tuple[LogDensity, Tensor, Tensor, Tensor]) -> tuple[Tensor]:
        some, place, steps, scale = of
        place = place.expand(num_chains, -1, -1)
        at = some.at(place)
        log_weights = torch.zeros_like(at.joint)
        for t in range(len(betas) - 1, 0, -1):
            log_weights += (betas[t] - betas[t - 1]) * log_ratio(at)
            if t > 1:
                how = {"step": steps[t - 2], "beta": betas[t - 1], "scale": scale}
                moved = transition(some, place, at, num_leapfrog=num_leapfrog, **how)
                place, at = moved.z, moved.at
        return (log_weights,)

    parts = computed(
        backward,
        part,
        pair=target.pair,
        count=len(target),
        size=block_size(target, num_chains),
        seed=seed,
        purpose="annealing in reverse",
        blocks=blocks,
    )
    return torch.cat([log_weights for (log_weights,) in parts], 1)
