"""log p(x) of held-out data against the σ of N(G(z), σ² I), and the pair at the best σ."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.blocks import spread
from inference.evaluation.annealing import anneal, relative_error
from inference.evaluation.evidence import METHODS, POOR, evidence
from inference.evaluation.quantity import Kind, quantity_named
from inference.evaluation.spherical import fixed_sigma, with_sigma
from inference.evaluation.table import Table, Tabular
from inference.particles import log_mean_exp
from inference.posterior.log_density import condition
from inference.precision import DEFAULT, at_precision
from inference.progress import bar, showing
from inference.standard_error import mean_and_error
from pyro_models import Pair, UsageError
from pyro_models.likelihoods.likelihood import widened
from pyro_models.observed import Data, observed
from pyro_models.options import check_known
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed

__all__ = ["SIGMAS", "SigmaCurve", "checked_sigmas", "sigma_curve"]

SIGMAS = (0.05, 0.07, 0.1, 0.14, 0.2, 0.28)
"""Of pixels in [0, 1]."""


@dataclass(frozen=True, eq=False)
class SigmaCurve(Tabular):
    """Estimates of log p(x) of the same B data for S values of σ.

    Attributes
    ----------
    sigmas
        σ, rising, in units of the data.
    value, standard_error
        (S, B), nats, and the Monte-Carlo standard error of each.
    kind, method
        What kind of number they are, and how they were found, in words.
    pair
        The pair at the best σ.
    seed
        Seed of all draws.
    """

    sigmas: tuple[float, ...]
    value: Tensor
    standard_error: Tensor
    kind: Kind
    method: str
    pair: Pair
    seed: int = 0

    def facts(self) -> Mapping[str, object]:
        """The grid of σ and the best of it; printed, it is the table."""
        return {
            "σ": f"{len(self.sigmas)} from {min(self.sigmas):g} to {max(self.sigmas):g}",
            "best": self.sigma,
            "data": self.value.shape[1],
            "kind": f"{self.kind} by {self.method}",
        }

    @property
    def means(self) -> list[tuple[float, float]]:
        """Mean over data for each σ, and its standard error over data."""
        return [mean_and_error(values) for values in self.value]

    @property
    def best(self) -> int:
        """Which σ has the highest mean."""
        return int(widened(self.value).mean(1).argmax())

    @property
    def sigma(self) -> float:
        """The σ with the highest mean."""
        return self.sigmas[self.best]

    @property
    def at_end(self) -> bool:
        """Whether the best σ is the first or the last of several: there may be a better beyond."""
        return len(self.sigmas) > 1 and self.best in (0, len(self.sigmas) - 1)

    @property
    def table(self) -> Table:
        """A row for each σ."""
        of, rows = quantity_named("log_likelihood"), []
        for sigma, (mean, error), noise in zip(
            self.sigmas, self.means, self.standard_error, strict=True
        ):
            poor = int((noise > POOR).sum())
            rows.append((f"{sigma:g}", of.text(mean, error), str(poor)))
        end = ["the best σ is at an end of the grid: there may be a better one beyond"]
        return Table(
            heads=[["σ"], [of.title, of.unit, self.kind], ["poorly known", "data"]],
            rows=rows,
            caption=f"{self.value.shape[1]:,} data; by {self.method}; best σ: {self.sigma:g}.",
            notes=end if self.at_end else [],
        )

    def __str__(self) -> str:
        return self.to_text().removesuffix("\n")


def checked_sigmas(sigmas: Sequence[float]) -> tuple[float, ...]:
    """Values of σ, rising; a ``UsageError`` is raised of what is no set of positive numbers."""
    found = tuple(sorted(sigmas)) if all(_is_positive(s) for s in sigmas) else ()
    if not found or len(set(found)) < len(found):
        raise UsageError(f"sigmas are positive numbers, each once; got {list(sigmas)}")
    return tuple(map(float, found))


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf


@at_precision
def sigma_curve(
    pair: Pair,
    x: Data,
    sigmas: Sequence[float] = SIGMAS,
    *,
    method: str = "annealing",
    seed: int = 0,
    progress: bool = False,
    workers: int | None = None,
    resume: str | Path | None = None,
    precision: str = DEFAULT,
    **options: Any,
) -> SigmaCurve:
    """log p(x) under N(G(z), σ² I) against σ; choose σ by it on validation data (Wu et al. 2017).

    One annealing serves all σ. It goes to the posterior of the least, σ₀, and with β = (σ₀ / σ)² it
    passes that of each other: N(x; G, σ₀² I)^β = c N(x; G, σ² I), where log c is
    D/2 (log 2πσ² − β log 2πσ₀²). So log p_σ(x) = log E[w_β] − log c, and all σ share their draws.

    Parameters
    ----------
    pair
        A pair whose likelihood is ``gaussian`` with a number as its scale, such as a ``Generator``;
        nothing of it changes.
    x
        Prepared data, as :func:`pyro_models.observed.observed` takes them.
    sigmas
        Values of σ, in units of the data.
    method, options
        ``"annealing"`` from the prior, with options of :func:`inference.evaluation.anneal`; or
        another method of :func:`inference.evaluation.evidence` for each σ, with options of it.
    seed, progress, workers, resume, precision
        As for :func:`inference.evaluation.evidence`.

    Raises
    ------
    UsageError
        If the pair has no fixed σ, or a value is none.

    Examples
    --------
    >>> from pyro_models import Generator
    >>> gan = Generator((5,), latent_dim=2, hidden=[8])
    >>> x = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))
    >>> curve = sigma_curve(gan, x, (0.5, 1.0, 2.0), num_temperatures=50)
    >>> curve.sigma, curve.pair.sigma
    (1.0, 1.0)
    """
    fixed_sigma(pair)
    check_choice("method", method, METHODS)
    check_seed(seed)
    sigmas = checked_sigmas(sigmas)
    known = inspect.signature(anneal if method == "annealing" else evidence).parameters
    check_known(options, [name for name in known if name not in _OWN], who="a curve of σ")
    how: dict[str, Any] = {"seed": seed, "workers": workers, "resume": resume, "progress": progress}
    found = _annealed if method == "annealing" else _each
    value, error, kind, by = found(pair, x, sigmas, method=method, **how, **options)
    best = sigmas[int(widened(value).mean(1).argmax())]
    curve = SigmaCurve(sigmas, value, error, kind, by, with_sigma(pair, best), seed)
    if curve.at_end:
        warnings.warn(
            f"the best σ, {best:g}, is at an end of the grid: there may be a better one beyond",
            stacklevel=3,
        )
    return curve


_OWN = ("target", "pair", "x", "stops", "blocks", "mask", "y", "fraction")  # not of a user's choice
Found = tuple[Tensor, Tensor, Kind, str]


def _annealed(
    pair: Pair,
    x: Data,
    sigmas: tuple[float, ...],
    *,
    method: str,
    workers: int | None,
    resume: str | Path | None,
    progress: bool,
    **options: Any,
) -> Found:
    """By one path to the posterior of the least σ, which passes those of all others."""
    least, *others = sigmas
    target = condition(with_sigma(pair, least), x)
    stops = [(least / sigma) ** 2 for sigma in reversed(others)]
    settings = {"sigmas": sigmas, **{n: v for n, v in options.items() if n != "max_elements"}}
    of: dict[str, Any] = {"identity": target.identity, "settings": settings}
    with (
        showing(progress),
        spread(workers, resume, target.pair, **of) as blocks,
        bar(len(target), unit="data") as done,
    ):
        found = anneal(target, stops=stops, blocks=blocks, progress=done.update, **options)
    weights = [found.log_weights, *(() if found.stopped is None else found.stopped.flip(0))]
    seen = target.mask
    size = math.prod(pair.data_shape) if seen is None else seen.flatten(1).sum(1)
    values = []
    for sigma, log_w in zip(sigmas, weights, strict=True):
        beta = (least / sigma) ** 2
        log_c = math.log(2 * math.pi * sigma**2) - beta * math.log(2 * math.pi * least**2)
        values.append(log_mean_exp(widened(log_w)) - 0.5 * size * log_c)
    chains, temperatures = len(found.log_weights), len(found.betas) - 1
    by = f"annealing, {chains} chains, {temperatures} temperatures"
    return torch.stack(values), torch.stack([*map(relative_error, weights)]), "lower bound", by


def _each(
    pair: Pair, x: Data, sigmas: tuple[float, ...], *, resume: str | Path | None, **options: Any
) -> Found:
    """By an evidence of its own for each σ."""
    data = observed(pair, x)
    found = []
    for sigma in sigmas:
        folder = resume and Path(resume) / f"sigma-{sigma:g}"
        found.append(evidence(with_sigma(pair, sigma), data, resume=folder, **options))
    kinds = {e.kind for e in found}
    kind: Kind = kinds.pop() if len(kinds) == 1 else "estimate"
    one, k = found[0], found[0].num_particles
    by = one.how["method"] or (f"{one.method}, K = {k}" if k else one.method)
    values = torch.stack([e.value for e in found])
    return values, torch.stack([e.standard_error for e in found]), kind, by
