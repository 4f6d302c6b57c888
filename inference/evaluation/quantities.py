"""Every quantity that is computed and shown here: one entry each, and the function behind it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.evaluation.estimates import exact_log_prob
from inference.evaluation.evaluated import Evaluated, ScoredData, evaluated_split, preparation_of
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
from inference.isolated import isolated
from inference.pareto import RELIABLE
from inference.posterior.decoding import Draw
from inference.posterior.reconstruction import reconstruct
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair, fulfills, has_encoder
from pyro_models.data import Split, as_data
from pyro_models.data.preparation import AS_GIVEN
from pyro_models.observed import Data, Observed
from pyro_models.pair import Classifies, ConditionsOnPixels, Exact

__all__ = ["accuracy", "accuracy_on"]


def accuracy(
    pair: Pair,
    data: ImageData | Data,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    chunk: int = 1000,
) -> Score:
    """Fraction p̂ of labels that argmax_y q(y | x) gets right, of the N data that have a label.

    Its standard error is binomial, sqrt(p̂ (1 − p̂) / N).

    Parameters
    ----------
    pair
        A pair that classifies; nothing of it changes.
    data, split, limit, seed
        The first ``limit`` data of the split ``"test"``, ``"validation"`` (where settings are
        chosen) or ``"train"``, prepared as they say with the seed.
    chunk
        Data at a time; bounds memory.

    Raises
    ------
    UsageError
        If the pair has no classifier, or the split no label.

    Examples
    --------
    >>> from pyro_models import SemiSupervisedVAE, load_data
    >>> data = load_data("digits", preparation="threshold")
    >>> m2 = SemiSupervisedVAE(data.data_shape, num_classes=10, latent_dim=2, hidden=[16])
    >>> accuracy(m2, data).num_data
    360
    """
    check_pair(pair)
    if not fulfills(pair, Classifies):
        raise UsageError(f"{type(pair).__name__} has no classifier q(y | x) to evaluate")
    data = as_data(data, pair, split=split, half_seen=True)
    found = evaluated_split(pair, data, split=split, limit=limit, seed=seed)
    if found.y is None or not bool((found.y >= 0).any()):
        raise UsageError(f"the {split} split of {data.name} has no labels to compare with")
    scored = ScoredData.of_split(data, split, seed, limit=limit, labels=True)
    return accuracy_on(pair, found, scored, chunk=chunk)


def accuracy_on(pair: Classifies, found: Split, scored: ScoredData, *, chunk: int = 1000) -> Score:
    """The accuracy on prepared data, some of which have labels."""
    assert found.y is not None
    with isolated(pair, seed=scored.seed):
        parts = Observed.unchecked(found.x, mask=found.mask).chunks(chunk)
        best = torch.cat([pair.classify(part.x, part.mask).argmax(-1) for part in parts])
    right = (best == found.y)[found.y >= 0].cpu()
    value = float(right.double().mean())
    return scored.score(
        "accuracy",
        right,
        standard_error=math.sqrt(value * (1 - value) / len(right)),
        preparation=preparation_of(scored),
    )


_AT_ONCE = 250  # data that are reconstructed in one call


def _elbo(of: Evaluated) -> Score:
    return of.scored.log_probability(of.pair, "elbo", of.weights.elbo, error=of.weights.elbo_error)


def _log_likelihood(of: Evaluated) -> Score | str:
    if fulfills(of.pair, Exact):
        values = exact_log_prob(of.pair, of.x, mask=of.mask, max_elements=of.max_elements)
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
    bound, error, k = of.weights.bound, of.weights.bound_error, of.weights.num_particles
    return of.scored.log_probability(of.pair, quantity, bound, error=error, num_particles=k)


def _bits_per_dimension(of: Evaluated) -> Score | str:
    pair, data = of.pair, of.data
    if not data.is_images:
        return "vectors are no pixels"
    if not of.whole:
        return "of whole images, and some pixels are unseen"
    if fulfills(pair, ConditionsOnPixels):
        return "of unseen pixels given seen ones, not of whole images"
    if not has_encoder(pair):
        return "there is no encoder, and a bound by draws of the prior is far too low: see evidence"
    why_not = pair.likelihood.why_no_bits(preparation=data.preparation, levels=data.levels)
    if why_not or data.levels is None:
        return why_not or "the number of grey levels is not known"
    return to_bits_per_dimension(of.scores["log_likelihood"], levels=data.levels)


def _squared_error(quantity: str, latents: Draw) -> Compute:
    """Mean over pixels of (reconstruction − grey pixel)², in chunks over data."""

    def compute(of: Evaluated) -> Score | str:
        if not has_encoder(of.pair):
            return "there is no encoder: infer latents image by image (pyro-models infer)"
        data, errors = of.data, []
        if data.table is not None and any(c.kind != "real" for c in data.table.columns):
            return "columns of several kinds have no unit in common: see impute"
        preparation, levels = data.preparation, data.levels
        parts = Observed.unchecked(of.x, of.y, of.mask).chunks(_AT_ONCE)
        for part, grey in zip(parts, of.grey.split(_AT_ONCE), strict=True):
            again = reconstruct(of.pair, part.x, y=part.y, mask=part.mask, latents=latents)
            mean = of.pair.likelihood.grey_mean(again, preparation=preparation, levels=levels)
            errors.append(_mean_of_seen((mean - grey).square(), part.mask))
        against = "grey" if data.is_images else AS_GIVEN
        return of.score(quantity, torch.cat(errors), preparation=against)

    return compute


def _mean_of_seen(values: Tensor, mask: Tensor | None) -> Tensor:
    """The mean over each datum, (N,), of those of its values that are seen."""
    if mask is None:
        return values.flatten(1).mean(1)
    return torch.where(mask, values, 0.0).flatten(1).sum(1) / mask.flatten(1).sum(1)


def _accuracy(of: Evaluated) -> Score | None:
    if not fulfills(of.pair, Classifies) or of.labels is None or not bool((of.labels >= 0).any()):
        return None
    scored = ScoredData.of_split(
        of.data, of.scored.split, of.scored.seed, limit=of.limit, labels=True
    )
    return accuracy_on(of.pair, Split(of.x, of.labels, of.mask), scored)


_LOWER: Kind = "lower bound"
_UPPER: Kind = "upper bound"
_BOTH = ("comparison", "sweep")
_GUIDES = ("guides",)
_DIAGNOSTICS = ("diagnostics",)
_SHARE = f"share k̂ > {RELIABLE}"
_OF_PARTICLES = "particles, median over data"
_PROBABLE = "Log-probability"
_AGAIN = "Reconstruction"

# fmt: off
# name, title, unit, better, digits, those in a column of a comparison; and what is not as usual
for entry in (
    Quantity("elbo", "ELBO", NATS, "higher", 3, 2,
             kind=_LOWER, shown=(*_BOTH, *_GUIDES), compute=_elbo, topic=_PROBABLE),
    Quantity("log_likelihood", "log p(x)", NATS, "higher", 3, 2,
             kind=_LOWER, may_be_exact=True, compute=_log_likelihood, topic=_PROBABLE),
    Quantity("conditional_log_likelihood", "log p(x)", NATS, "higher", 3, 2,
             may_be_exact=True, shown=("comparison",), topic=_PROBABLE),
    Quantity("spherical_log_likelihood", "log p(x) under N(G(z), σ²)", NATS, "higher", 1,
             kind=_LOWER, may_be_exact=True, shown=("comparison",), topic=_PROBABLE),
    Quantity("kernel_density", "kernel density", NATS, "higher", 1,
             kind="objective only", shown=("comparison",), topic=_PROBABLE),
    Quantity("importance_bound", "L_K", NATS, "higher", 3, 2,
             kind=_LOWER, shown=("sweep", *_GUIDES), compute=_importance_bound,
             needs=("log_likelihood",), topic=_PROBABLE),
    Quantity("bits_per_dimension", BITS, BITS, "lower", 3, 4,
             kind=_UPPER, may_be_exact=True, compute=_bits_per_dimension,
             needs=("log_likelihood",), topic="Code length"),
    Quantity("mse_sampled", "MSE, z sampled", SQUARED_ERROR, "lower", 5, 4,
             compute=_squared_error("mse_sampled", "sample"), topic=_AGAIN),
    Quantity("mse_mean", "MSE, z mean", SQUARED_ERROR, "lower", 5, 4,
             compute=_squared_error("mse_mean", "mean"), topic=_AGAIN),
    Quantity("mse_unseen", "MSE of unseen pixels", SQUARED_ERROR, "lower", 5, 4,
             shown=("comparison",), topic="Completion"),
    Quantity("accuracy", "accuracy", FRACTION, "higher", 4,
             compute=_accuracy, topic="Classification"),
    Quantity("gap", "log p(x) − ELBO", NATS, "lower", shown=_GUIDES),
    Quantity("approximation_gap", "approximation gap", NATS, "lower", shown=_GUIDES),
    Quantity("amortisation_gap", "amortisation gap", NATS, "lower", shown=_GUIDES),
    Quantity("share_unreliable", _SHARE, "share of the data", "lower", 2, shown=_GUIDES),
    Quantity("effective_sample_size", "ESS", _OF_PARTICLES, "higher", 1,
             shown=(*_GUIDES, *_DIAGNOSTICS)),
    Quantity("milliseconds", "ms per datum", "ms per datum", "lower", 2, shown=_GUIDES),
    Quantity("num_parameters", "parameters per datum", "parameters per datum", None, 0,
             shown=_GUIDES),
    Quantity("k_hat", "Pareto k̂", "median over data", "lower", 2, shown=_DIAGNOSTICS),
    Quantity("active_units", "active units", "latent dimensions", None, 0, shown=_DIAGNOSTICS),
    Quantity("kl", "KL", "nats", shown=_DIAGNOSTICS),
    Quantity("posterior_mean_variance", "Var over x of E[z | x]", "", None, 4, shown=_DIAGNOSTICS),
    Quantity("posterior_variance", "mean of Var[z | x]", "", None, 4, shown=_DIAGNOSTICS),
):
    register_quantity(entry)
# fmt: on
