"""How well unseen pixels follow from seen ones: log p(x_unseen | x_seen), and squared errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from inference.evaluation.evaluated import ScoredData, check_limit, evaluated_split
from inference.evaluation.evaluation import Evaluation
from inference.evaluation.evidence import evidence
from inference.evaluation.quantity import Kind
from inference.learning.tempered import words_of_beta
from inference.posterior.completion import complete
from inference.posterior.posterior import Posterior
from inference.precision import DEFAULT, at_precision, in_precision, precision_of
from pyro_models import ImageData, Pair, UsageError
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import as_data, checksum
from pyro_models.data.masks import Mask, mask_name, needed_mask, seen_pixels
from pyro_models.models import title_of
from pyro_models.observed import Data, Labels, observed
from pyro_models.pair import Classifies, ConditionsOnPixels, fill_unseen
from pyro_models.seeds import check_seed

__all__ = ["Conditional", "conditional_log_prob", "evaluate_completion"]


@dataclass(frozen=True, eq=False)
class Conditional(Brief):
    """log p(x_unseen | x_seen) of B data, (B,), nats, with its Monte-Carlo error; 0 where exact.

    It is ``"exact"``, or a ``"lower bound"`` in expectation of a pair that is conditional itself;
    else an ``"estimate"``: a difference of two lower bounds is no bound. How tight it is hangs on
    the K of importance sampling, or else on the ``method``, chains and temperatures of annealing.
    """

    value: Tensor
    standard_error: Tensor
    kind: Kind
    num_particles: int | None
    method: str | None


def conditional_log_prob(
    pair: Pair,
    x: Data,
    mask: Mask,
    *,
    y: Labels | None = None,
    fraction: float = 0.5,
    evidence_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Conditional:
    """log p(x_unseen | x_seen) = log p(x) − log p(x_seen) of every datum, both by evidence.

    For a pair that conditions on pixels, and on no others than the mask's, it is its own evidence,
    log p(x_R | x_C). All is as for :func:`inference.evaluation.evidence`, with x whole, and its
    further options in ``evidence_options``, such as ``{"num_chains": 8}``.
    """
    check_pair(pair)
    options = {"seed": seed, "progress": progress, **(evidence_options or {})}
    complete_data = observed(pair, x, y=y)
    half = observed(pair, complete_data, mask=mask, fraction=fraction, seed=seed)
    if fulfills(pair, ConditionsOnPixels):
        conditional = pair.conditioned_on(needed_mask(half.mask, pair.data_shape))
        conditional = in_precision(conditional, precision_of(pair) or DEFAULT)
        own = evidence(conditional, complete_data, **options)
        return Conditional(own.value, own.standard_error, own.kind, **own.how)
    folder = options.pop("resume", None)
    whole, seen = (
        evidence(pair, of, **options, resume=folder and Path(folder) / name)
        for of, name in ((complete_data, "whole"), (half, "seen"))
    )
    kind: Kind = "exact" if whole.kind == seen.kind == "exact" else "estimate"
    if whole.kind == "objective only":
        kind = "objective only"
    error = (whole.standard_error.square() + seen.standard_error.square()).sqrt()
    value = whole.value.double() - seen.value.double()
    return Conditional(value, error, kind, **whole.how)


@at_precision
def evaluate_completion(
    pair: Pair | Tensor,
    data: ImageData | Data,
    mask: Mask,
    *,
    split: str = "test",
    limit: int | None = None,
    fraction: float = 0.5,
    log_prob: bool = True,
    guide: str | Posterior | Callable[..., Any] = "best",
    complete_options: Mapping[str, Any] | None = None,
    evidence_options: Mapping[str, Any] | None = None,
    name: str | None = None,
    seed: int = 0,
    progress: bool = False,
    precision: str = DEFAULT,
) -> Evaluation:
    """Score the completion of half-seen data, as a row for :func:`inference.evaluation.compare`.

    ``conditional_log_likelihood`` is log p(x_unseen | x_seen), in nats per datum; it does not hang
    on the guide that completes. ``mse_unseen`` is the mean over unseen pixels of (E[x | x_seen] −
    x)², of pixels as prepared. Both name the mask, the measure and the preparation, so that a
    density never shares a column with a probability; ``per_datum`` has the values of every datum.

    Parameters
    ----------
    pair
        A pair, or one image (\\*data_shape), such as the mean of the training data, as everybody's
        completion.
    data, split, limit
        The first ``limit`` data of a split, prepared as they say, with the seed.
    mask, fraction
        What is seen: a name, a ``.npy`` file or an array
        (:func:`pyro_models.data.masks.seen_pixels`); and the fraction of the pixels that the mask
        ``random`` sees, drawn for each datum by the seed.
    log_prob
        False: the squared error alone, which takes no evidence.
    guide, complete_options, evidence_options
        Guide and further options of :func:`inference.posterior.complete`, and options of
        :func:`inference.evaluation.evidence`.
    name
        Name of the row; the pair's title and the guide unless given.
    seed, progress
        Random seed of the preparation, the mask and all draws; show progress bars.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the result says it.

    Raises
    ------
    UsageError
        If nothing is unseen, or the data or options do not fit.

    Examples
    --------
    >>> from pyro_models import BernoulliMixture, load_data
    >>> data = load_data("digits", preparation="threshold")
    >>> train = data.prepared("train").x
    >>> mixture = BernoulliMixture.maximum_likelihood(train, num_components=20)
    >>> print(evaluate_completion(mixture, data, "left").scores["conditional_log_likelihood"].kind)
    exact
    """
    check_seed(seed)
    check_limit(limit)
    data = as_data(data, pair, split=split)
    if not isinstance(pair, Tensor):
        prepared = evaluated_split(pair, data, split=split, limit=limit, seed=seed)
    elif tuple(pair.shape) != data.data_shape:
        raise UsageError(f"an image of shape {tuple(pair.shape)} does not fit {data.data_shape}")
    else:
        prepared = data.prepared(split, seed=seed, limit=limit)
    x, quantity = prepared.x, "conditional_log_likelihood"
    seen = seen_pixels(mask, data.data_shape, num_data=len(x), fraction=fraction, seed=seed)
    seen = seen.expand(x.shape).to(x.device)
    scored = ScoredData.of_split(data, split, seed, limit=limit, labels=False)
    scored = _of_unseen(scored, seen, given=f"x_{mask_name(mask, fraction=fraction)}")
    if isinstance(pair, Tensor):
        error = _squared_error(pair.expand(x.shape), x, seen)
        scores = {"mse_unseen": scored.score("mse_unseen", error)}
        absent = {quantity: "an image is no distribution"}
        return Evaluation(name or "one image", scores, absent, {"mse_unseen": error})
    scored = replace(scored, precision=precision_of(pair))
    y = None if fulfills(pair, Classifies) else prepared.y
    if pair.num_classes is not None and y is not None:
        identity = replace(scored.identity, labels={split: checksum(y)})
        scored = replace(scored, given=f"{scored.given}, y", identity=identity)
    options = {"num_samples": 1, "seed": seed, "guide": guide, "progress": progress}
    completed = complete(pair, x, seen, y=y, **{**options, **(complete_options or {})})
    error = _squared_error(completed.mean.to(x), x, seen)
    scores, absent = {"mse_unseen": scored.score("mse_unseen", error)}, {}
    per_datum = {"mse_unseen": error.cpu()}
    if pair.likelihood.measure is None:
        absent[quantity] = pair.likelihood.no_probability
    elif not log_prob:
        absent[quantity] = "not asked for"
    else:
        options = {"progress": progress, **(evidence_options or {})}
        found = conditional_log_prob(pair, x, seen, y=y, evidence_options=options, seed=seed)
        per_datum[quantity] = found.value.cpu()
        how = {"kind": found.kind, "num_particles": found.num_particles, "method": found.method}
        scores[quantity] = scored.log_probability(
            pair, quantity, found.value, error=found.standard_error, **how
        )
    label = name or f"{title_of(pair)}, {completed.guide}"
    return Evaluation(label, scores, absent, per_datum, words_of_beta(pair))


def _of_unseen(scored: ScoredData, seen: Tensor, *, given: str) -> ScoredData:
    """What scores of the unseen pixels of these data are of."""
    if bool(seen.flatten(1).all(1).any()):
        raise UsageError("the mask sees every pixel of a datum: there is nothing to complete")
    levels, unseen = scored.data.levels_of_noise, (~seen).flatten(1).sum(1).double().mean()
    identity = replace(scored.identity, mask=checksum(seen), levels=levels)
    return replace(scored, dimensions=round(float(unseen)), identity=identity, given=given)


def _squared_error(image: Tensor, x: Tensor, seen: Tensor) -> Tensor:
    """Mean over unseen pixels of (image − x)², (B,)."""
    error = fill_unseen((image - x).double().square(), ~seen)
    return error.flatten(1).sum(1) / (~seen).flatten(1).sum(1)
