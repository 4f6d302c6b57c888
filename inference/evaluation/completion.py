"""How well unseen pixels follow from seen ones: log p(x_unseen | x_seen), and squared errors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from inference.evaluation.evaluated import ScoredData, check_limit
from inference.evaluation.evaluation import Evaluation
from inference.evaluation.evidence import Evidence, evidence
from inference.evaluation.quantity import Kind
from inference.learning.recorded_data import check_held_out
from inference.learning.settings import check_pair_fits_data
from inference.posterior.completion import Completion, complete
from inference.posterior.posterior import Posterior
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import Split, as_data, checksum
from pyro_models.data.masks import Mask, mask_name, needed_mask, seen_pixels
from pyro_models.observed import Data, Labels, observed
from pyro_models.pair import Classifies, ConditionsOnPixels, fill_unseen
from pyro_models.seeds import check_seed

__all__ = ["Conditional", "conditional_log_prob", "evaluate_completion"]


@dataclass(frozen=True, eq=False)
class Conditional:
    """log p(x_unseen | x_seen) of B data.

    Attributes
    ----------
    value
        (B,), nats.
    standard_error
        Monte-Carlo standard error of each value, (B,); 0 where exact.
    kind
        ``"exact"``; ``"lower bound"`` in expectation of a pair that is conditional itself; else
        ``"estimate"``: a difference of two lower bounds is no bound. ``"objective only"`` where the
        likelihood is no probability.
    num_particles
        Number of particles K of importance sampling, if that is behind it.
    method
        What else decides how tight it is: chains and temperatures of annealing.
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

    For a pair that conditions on pixels it is its own evidence, log p(x_R | x_C).

    Parameters
    ----------
    pair, x, y
        As for :func:`inference.evaluation.evidence.evidence`; x is whole.
    mask
        True = seen, as :func:`pyro_models.data.masks.pixel_mask` takes it.
    evidence_options
        Options of :func:`inference.evaluation.evidence.evidence`, such as ``{"num_chains": 8}``.
    seed
        Random seed of all draws.
    progress
        Show progress bars.

    Examples
    --------
    >>> import torch
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> conditional_log_prob(ppca, x, torch.tensor([True, True, False, False])).kind
    'exact'

    Raises
    ------
    UsageError
        As evidence does, or if the pair conditions on other pixels.
    """
    check_pair(pair)
    options = {"seed": seed, "progress": progress, **(evidence_options or {})}
    complete_data = observed(pair, x, y=y)
    half = observed(pair, complete_data, mask=mask, fraction=fraction, seed=seed)
    if fulfills(pair, ConditionsOnPixels):
        own = evidence(
            pair.conditioned_on(needed_mask(half.mask, pair.data_shape)), complete_data, **options
        )
        return Conditional(own.value, own.standard_error, own.kind, *_how(own))
    whole = evidence(pair, complete_data, **options)
    seen = evidence(pair, half, **options)
    kind: Kind = "exact" if whole.kind == seen.kind == "exact" else "estimate"
    if whole.kind == "objective only":
        kind = "objective only"
    error = (whole.standard_error.square() + seen.standard_error.square()).sqrt()
    value = whole.value.double() - seen.value.double()
    return Conditional(value, error, kind, *_how(whole))


def _how(found: Evidence) -> tuple[int | None, str | None]:
    """K of importance sampling, and the settings of annealing in words."""
    if found.method != "annealing":
        return found.num_particles, None
    temperatures = found.settings["T ="]
    return None, f"annealing, {found.num_particles} chains, {temperatures} temperatures"


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
) -> Evaluation:
    """Score the completion of half-seen data, as a row for :func:`inference.evaluation.compare`.

    ``conditional_log_likelihood`` is log p(x_unseen | x_seen), in nats per datum; it does not hang
    on the guide that completes. ``mse_unseen`` is the mean over unseen pixels of
    (E[x | x_seen] − x)², of pixels as prepared. Both name the mask, the measure and the
    preparation, so that a density never shares a column with a probability.

    Parameters
    ----------
    pair
        A pair, or one image (\\*data_shape), such as the mean of the training data, as everybody's
        completion.
    data
        Data; the split is prepared as they say, with the seed.
    mask
        What is seen: a name, a ``.npy`` file or an array
        (:func:`pyro_models.data.masks.seen_pixels`; the name ``random`` takes the seed).
    split, limit
        Split of the data, of which only the first ``limit`` are used.
    fraction
        Fraction of the pixels that the mask ``random`` sees, drawn for each datum.
    log_prob
        False: the squared error alone, which takes no evidence.
    guide, complete_options
        Guide and further options of :func:`inference.posterior.complete`.
    evidence_options
        Options of :func:`inference.evaluation.evidence.evidence`.
    name
        Name of the row; the pair's class and the guide unless given.
    seed
        Random seed of the preparation, the mask and all draws.
    progress
        Show progress bars.

    Returns
    -------
    Evaluation
        The scores, with the values of every datum in ``per_datum``.

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
    if isinstance(pair, Tensor) and tuple(pair.shape) != data.data_shape:
        raise UsageError(f"an image of shape {tuple(pair.shape)} does not fit {data.data_shape}")
    if not isinstance(pair, Tensor):
        check_pair_fits_data(pair, data, splits=[split], seed=seed)
        check_held_out(pair, data, split)
    prepared = data.prepared(split, seed=seed, limit=limit)
    seen = seen_pixels(mask, data.data_shape, num_data=len(prepared), fraction=fraction, seed=seed)
    seen = seen.expand(prepared.x.shape)
    if bool(seen.flatten(1).all(1).any()):
        raise UsageError("the mask sees every pixel of a datum: there is nothing to complete")
    identity = replace(
        data.identity_of(split, limit=limit), mask=checksum(seen), levels=data.levels_of_noise
    )
    given = f"x_{mask_name(mask, fraction=fraction)}"
    unseen = (~seen).flatten(1).sum(1).double().mean()
    scored = ScoredData(data, split, seed, round(float(unseen)), identity, given)
    if isinstance(pair, Tensor):
        error = _squared_error(pair.expand(prepared.x.shape), prepared.x, seen)
        return Evaluation(
            name or "one image",
            {"mse_unseen": scored.score("mse_unseen", error)},
            {"conditional_log_likelihood": "an image is no distribution"},
            {"mse_unseen": error},
        )
    return _evaluate_pair(
        pair,
        prepared,
        seen,
        scored,
        name=name,
        log_prob=log_prob,
        evidence_options={"progress": progress, **(evidence_options or {})},
        complete_options={"guide": guide, "progress": progress, **(complete_options or {})},
    )


def _evaluate_pair(
    pair: Pair,
    prepared: Split,
    seen: Tensor,
    scored: ScoredData,
    *,
    name: str | None,
    log_prob: bool,
    evidence_options: Mapping[str, Any],
    complete_options: Mapping[str, Any],
) -> Evaluation:
    first = next(iter(pair.parameters()))
    x, seed = prepared.x.to(first.device, first.dtype), scored.seed
    y = None if prepared.y is None or fulfills(pair, Classifies) else prepared.y.to(x.device)
    if pair.num_classes is not None and y is not None:
        identity = replace(scored.identity, labels={scored.split: checksum(y)})
        scored = replace(scored, given=f"{scored.given}, y", identity=identity)
    mask = seen.to(x.device)
    options: dict[str, Any] = {"num_samples": 1, "seed": seed, **complete_options}
    completed: Completion = complete(pair, x, mask, y=y, **options)
    error = _squared_error(completed.mean.to(x), x, mask)
    scores = {"mse_unseen": scored.score("mse_unseen", error)}
    absent: dict[str, str] = {}
    per_datum = {"mse_unseen": error.cpu()}
    quantity = "conditional_log_likelihood"
    if pair.likelihood.measure is None:
        absent[quantity] = pair.likelihood.no_probability
    elif not log_prob:
        absent[quantity] = "not asked for"
    else:
        found = conditional_log_prob(
            pair, x, mask, y=y, evidence_options=evidence_options, seed=seed
        )
        per_datum[quantity] = found.value.cpu()
        scores[quantity] = scored.log_probability(
            pair,
            quantity,
            found.value,
            error=found.standard_error,
            kind=found.kind,
            num_particles=found.num_particles,
            method=found.method,
        )
    label = name or f"{type(pair).__name__}, {completed.guide}"
    return Evaluation(label, scores, absent, per_datum)


def _squared_error(image: Tensor, x: Tensor, seen: Tensor) -> Tensor:
    """Mean over unseen pixels of (image − x)², (B,)."""
    error = fill_unseen((image - x).double().square(), ~seen)
    return error.flatten(1).sum(1) / (~seen).flatten(1).sum(1)
