"""Every quantity that is computed and shown here: one entry each, and the function behind it."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.evaluation.accuracy import accuracy
from inference.evaluation.estimates import exact_log_prob
from inference.evaluation.evaluated import Evaluated
from inference.evaluation.quantity import (
    BITS,
    FRACTION,
    NATS,
    SQUARED_ERROR,
    Compute,
    Kind,
    Quantity,
    register_quantity,
)
from inference.evaluation.scores import Score, to_bits_per_dimension
from inference.pareto import RELIABLE
from inference.posterior.reconstruction import Draw, reconstruct
from pyro_models.contract import fulfills
from pyro_models.pair import Classifies, ConditionsOnPixels, Exact

__all__: list[str] = []

_AT_ONCE = 250  # data that are reconstructed in one call


def _elbo(of: Evaluated) -> Score:
    return of.scored.log_probability(of.pair, "elbo", of.weights.elbo, error=of.weights.elbo_error)


def _log_likelihood(of: Evaluated) -> Score | str:
    if fulfills(of.pair, Exact):
        values = exact_log_prob(of.pair, of.x, max_elements=of.max_elements)
        of.per_datum["exact_log_prob"] = values
        return of.scored.log_probability(of.pair, "log_likelihood", values, kind="exact")
    if of.pair.likelihood.measure is None:
        return of.pair.likelihood.no_probability
    return _from_particles(of, "log_likelihood")


def _importance_bound(of: Evaluated) -> Score | None:
    """L_K, where log p(x) is not L_K itself."""
    known = of.scores.get("log_likelihood")
    return None if known and known.kind != "exact" else _from_particles(of, "importance_bound")


def _from_particles(of: Evaluated, quantity: str) -> Score:
    weights = of.weights
    k = weights.num_particles
    return of.scored.log_probability(
        of.pair, quantity, weights.bound, error=weights.bound_error, num_particles=k
    )


def _bits_per_dimension(of: Evaluated) -> Score | str:
    pair, data = of.pair, of.data
    if not data.is_images:
        return "vectors are no pixels"
    if fulfills(pair, ConditionsOnPixels):
        return "of unseen pixels given seen ones, not of whole images"
    why_not = pair.likelihood.why_no_bits(preparation=data.preparation, levels=data.levels)
    if why_not or data.levels is None:
        return why_not or "the number of grey levels is not known"
    return to_bits_per_dimension(of.scores["log_likelihood"], levels=data.levels)


def _squared_error(quantity: str, latents: Draw) -> Compute:
    """Mean over pixels of (reconstruction − grey pixel)², in chunks over data."""

    def compute(of: Evaluated) -> Score:
        pair, data, errors = of.pair, of.data, []
        for i in range(0, len(of.x), _AT_ONCE):
            rows = slice(i, i + _AT_ONCE)
            y = None if of.y is None else of.y[rows]
            decoded: Tensor = pair.likelihood.grey_mean(
                reconstruct(pair, of.x[rows], y=y, latents=latents),
                preparation=data.preparation,
                levels=data.levels,
            )
            errors.append((decoded - of.grey[rows]).square().flatten(1).mean(1))
        against = "grey" if data.is_images else "as given"
        return of.score(quantity, torch.cat(errors), preparation=against)

    return compute


def _accuracy(of: Evaluated) -> Score | None:
    if not fulfills(of.pair, Classifies) or of.labels is None or not bool((of.labels >= 0).any()):
        return None
    scored = of.scored
    return accuracy(of.pair, of.data, split=scored.split, limit=of.limit, seed=scored.seed)


_LOWER: Kind = "lower bound"
_UPPER: Kind = "upper bound"
_COLUMNS = ("comparison", "sweep")
_GUIDES = ("guides",)
_DIAGNOSTICS = ("diagnostics",)

for entry in (
    Quantity(
        name="elbo",
        title="ELBO",
        unit=NATS,
        direction="higher",
        column_digits=2,
        kind=_LOWER,
        shown=(*_COLUMNS, *_GUIDES),
        compute=_elbo,
    ),
    Quantity(
        name="log_likelihood",
        title="log p(x)",
        unit=NATS,
        direction="higher",
        column_digits=2,
        kind=_LOWER,
        may_be_exact=True,
        compute=_log_likelihood,
    ),
    Quantity(
        name="conditional_log_likelihood",
        title="log p(x)",
        unit=NATS,
        direction="higher",
        column_digits=2,
        may_be_exact=True,
        shown=("comparison",),
    ),
    Quantity(
        name="importance_bound",
        title="L_K",
        unit=NATS,
        direction="higher",
        column_digits=2,
        kind=_LOWER,
        shown=("sweep", *_GUIDES),
        compute=_importance_bound,
    ),
    Quantity(
        name="bits_per_dimension",
        title="bits per dimension",
        unit=BITS,
        direction="lower",
        column_digits=4,
        kind=_UPPER,
        may_be_exact=True,
        compute=_bits_per_dimension,
    ),
    Quantity(
        name="mse_sampled",
        title="MSE, z sampled",
        unit=SQUARED_ERROR,
        direction="lower",
        digits=5,
        column_digits=4,
        compute=_squared_error("mse_sampled", "sample"),
    ),
    Quantity(
        name="mse_mean",
        title="MSE, z mean",
        unit=SQUARED_ERROR,
        direction="lower",
        digits=5,
        column_digits=4,
        compute=_squared_error("mse_mean", "mean"),
    ),
    Quantity(
        name="mse_unseen",
        title="MSE of unseen pixels",
        unit=SQUARED_ERROR,
        direction="lower",
        digits=5,
        column_digits=4,
        shown=("comparison",),
    ),
    Quantity(
        name="accuracy",
        title="accuracy",
        unit=FRACTION,
        direction="higher",
        digits=4,
        compute=_accuracy,
    ),
    Quantity(name="gap", title="log p(x) − ELBO", unit=NATS, direction="lower", shown=_GUIDES),
    Quantity(
        name="approximation_gap",
        title="approximation gap",
        unit=NATS,
        direction="lower",
        shown=_GUIDES,
    ),
    Quantity(
        name="amortisation_gap",
        title="amortisation gap",
        unit=NATS,
        direction="lower",
        shown=_GUIDES,
    ),
    Quantity(
        name="share_unreliable",
        title=f"share k̂ > {RELIABLE}",
        unit="share of the data",
        direction="lower",
        digits=2,
        shown=_GUIDES,
    ),
    Quantity(
        name="effective_sample_size",
        title="ESS",
        unit="particles, median over data",
        direction="higher",
        digits=1,
        shown=_GUIDES,
    ),
    Quantity(
        name="milliseconds",
        title="ms per datum",
        unit="ms per datum",
        direction="lower",
        digits=2,
        shown=_GUIDES,
    ),
    Quantity(
        name="num_parameters",
        title="parameters per datum",
        unit="parameters per datum",
        digits=0,
        shown=_GUIDES,
    ),
    Quantity(
        name="k_hat",
        title="Pareto k̂",
        unit="median over data",
        direction="lower",
        digits=2,
        shown=(),
    ),
    Quantity(name="kl", title="KL", unit="nats", shown=_DIAGNOSTICS),
    Quantity(
        name="posterior_mean_variance",
        title="Var over x of E[z | x]",
        unit="",
        digits=4,
        shown=_DIAGNOSTICS,
    ),
    Quantity(
        name="posterior_variance",
        title="mean of Var[z | x]",
        unit="",
        digits=4,
        shown=_DIAGNOSTICS,
    ),
):
    register_quantity(entry)
