"""Judging a pair on data: every number it can be given, each a score."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from inference.chunks import MAX_ELEMENTS
from inference.evaluation.accuracy import accuracy
from inference.evaluation.contradictions import without_contradictions
from inference.evaluation.estimates import exact_log_prob, log_weights
from inference.evaluation.judged import judged_split
from inference.evaluation.scores import (
    NATS,
    SQUARED_ERROR,
    Kind,
    Score,
    to_bits_per_dimension,
)
from inference.isolated import isolated
from inference.particles import checked_count
from inference.posterior.identity import conditions, given_labels
from inference.posterior.reconstruction import Draw, reconstruct
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.data import Identity, as_data, checksum
from pyro_models.likelihoods.likelihood import LEBESGUE, LEBESGUE_UNIT
from pyro_models.observed import Data
from pyro_models.pair import Classifies, ConditionsOnPixels, Exact
from pyro_models.seeds import stream

__all__ = ["Evaluation", "conditions", "evaluate", "measure_of", "preparation_of"]


@dataclass(frozen=True)
class Evaluation:
    """The scores of one pair on one split.

    Attributes
    ----------
    name
        Name of the row it makes in a comparison.
    scores
        By quantity.
    absent
        Quantities it has no score of, and why.
    per_datum
        The numbers behind the scores, (N,) each; not kept in files.
    """

    name: str
    scores: Mapping[str, Score]
    absent: Mapping[str, str] = field(default_factory=dict)
    per_datum: Mapping[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __str__(self) -> str:
        first = next(iter(self.scores.values()))
        head = f"{self.name} on {first.data} {first.split} ({first.num_data:,} data)"
        scores, absent = without_contradictions(self.scores, self.absent)
        lines = [f"  {score}" for score in scores.values()]
        lines += [f"  {quantity}: none – {why}" for quantity, why in absent.items()]
        return "\n".join([head, *lines])

    def to_json(self) -> str:
        """Name, scores and reasons as JSON."""
        scores, absent = without_contradictions(self.scores, self.absent)
        plain = {q: _without_nan(score.to_dict()) for q, score in scores.items()}
        content = {"name": self.name, "scores": plain, "absent": absent}
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """Read what :meth:`to_json` wrote.

        Raises
        ------
        UsageError
            If the text is something else.
        """
        try:
            content = json.loads(text)
            scores = {
                quantity: Score(**{**values, "standard_error": _or_nan(values["standard_error"])})
                for quantity, values in content["scores"].items()
            }
            return cls(content["name"], scores, content["absent"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError("these are not scores of pyro-models; evaluate again") from error


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """NaN as null, which JSON knows."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values.items()}


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def evaluate(
    pair: Pair,
    data: ImageData | Data,
    *,
    split: str = "test",
    num_particles: int = 100,
    limit: int | None = None,
    with_labels: bool = False,
    name: str | None = None,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: bool = False,
) -> Evaluation:
    """Score a pair on a split.

    ``elbo``, ``log_likelihood`` (exact where the pair knows it, else the importance-sampled L_K),
    ``bits_per_dimension`` (densities of dequantised pixels, probabilities of all grey levels),
    ``mse_sampled`` and ``mse_mean`` (reconstructions from sampled and from mean z, against the grey
    pixels), and ``accuracy`` of a pair that classifies. A pair that infers labels is not given
    them, unless asked for.

    Parameters
    ----------
    pair
        The pair; nothing of it changes.
    data
        Data; the split is prepared as they say, with the seed. Of what is no data set with splits
        (:func:`pyro_models.data.as_data`) all is scored, as it is.
    split
        ``"test"``, ``"validation"`` or ``"train"``.
    num_particles
        K.
    limit
        Judge the first ``limit`` data only; the scores say so.
    with_labels
        Give a pair that infers labels those of the split: its scores are then of p(x | y), with
        log p(x | y) = log p(x, y) − log p(y), as those of a pair that needs labels always are.
    name
        Name for the row; the class's by default.
    seed
        Of preparation and particles; the caller's generators do not move.
    max_elements
        Bound on memory, see :func:`inference.evaluation.estimates.log_weights`.
    progress
        Show a progress bar.

    Examples
    --------
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=5)
    >>> evaluate(ppca, data, num_particles=10).scores["log_likelihood"].kind
    'exact'
    """
    num_particles = checked_count(num_particles)
    data = as_data(data, pair, split=split)
    judged = judged_split(pair, data, split=split, limit=limit, seed=seed)
    x, y = judged.x, judged.y
    infers = fulfills(pair, Classifies)
    if with_labels and (not infers or y is None or bool((y < 0).any())):
        raise UsageError("with_labels is for a pair that infers labels, and data that have them")
    if infers and not with_labels:
        y = None
    with (
        isolated(pair, seed=stream(seed, "particles")),  # not the pixels' own draws again
        tqdm(total=len(x), disable=not progress, unit="datum", leave=False) as bar,
    ):
        weights = log_weights(
            pair,
            x,
            num_particles=num_particles,
            y=y,
            max_elements=max_elements,
            progress=bar.update,
        )
        grey = data.split(split).x[:limit].to(x)
        errors = {
            "mse_sampled": _squared_error(pair, data, x, y, grey, latents="sample"),
            "mse_mean": _squared_error(pair, data, x, y, grey, latents="mean"),
        }

    if fulfills(pair, Classifies) and y is not None:
        prior = pair.log_label_prior(y).to(x)
        weights = replace(weights, elbo=weights.elbo - prior, bound=weights.bound - prior)

    per_datum = {"elbo": weights.elbo, "importance_bound": weights.bound, **errors}
    identity = data.identity_of(split, limit=limit, labels=bool(given_labels(pair, y)))
    identity = replace(identity, conditioned=conditioned_pixels(pair, x))
    describe = _Describe(pair, data, split, len(x), seed, conditions(pair, y), identity)
    scores = {
        "elbo": describe.nats("elbo", weights.elbo, "lower bound", error=weights.elbo_error),
    }
    absent: dict[str, str] = {}
    if fulfills(pair, Exact):
        per_datum["exact_log_prob"] = exact_log_prob(pair, x, max_elements=max_elements)
        scores["log_likelihood"] = describe.nats(
            "log_likelihood", per_datum["exact_log_prob"], "exact"
        )
        bounded = "importance_bound"
    elif pair.likelihood.measure is None:
        absent["log_likelihood"] = pair.likelihood.no_probability
        bounded = "importance_bound"
    else:
        bounded = "log_likelihood"
    scores[bounded] = describe.nats(
        bounded,
        weights.bound,
        "lower bound",
        num_particles=num_particles,
        error=weights.bound_error,
    )
    why_not = _why_no_bits(pair, data)
    if why_not or data.levels is None:
        absent["bits_per_dimension"] = why_not or "the number of grey levels is not known"
    else:
        scores["bits_per_dimension"] = to_bits_per_dimension(
            scores["log_likelihood"], levels=data.levels
        )
    for quantity, values in errors.items():
        scores[quantity] = describe.squared_error(quantity, values)
    if infers and judged.y is not None and bool((judged.y >= 0).any()):
        scores["accuracy"] = accuracy(pair, data, split=split, limit=limit, seed=seed)
    label = name or type(pair).__name__
    return Evaluation(label, scores, absent, {k: v.cpu() for k, v in per_datum.items()})


def measure_of(pair: Pair, data: ImageData) -> str | None:
    """What log-probabilities of the pair on these data are relative to."""
    measure = pair.likelihood.measure
    if measure != LEBESGUE:
        return measure
    return LEBESGUE_UNIT if data.is_images else "Lebesgue in the data's own units"


def preparation_of(data: ImageData, seed: int) -> str:
    """How the pixels were prepared, with the seed where each use draws anew."""
    return f"{data.preparation} (seed {seed})" if data.redraws else data.preparation


def conditioned_pixels(pair: Pair, x: Tensor) -> str | None:
    """A checksum of the pixels that the pair conditions on, for every datum."""
    return checksum(pair.conditioning(x)) if fulfills(pair, ConditionsOnPixels) else None


def _squared_error(
    pair: Pair, data: ImageData, x: Tensor, y: Tensor | None, grey: Tensor, *, latents: Draw
) -> Tensor:
    """Mean over pixels of (reconstruction − grey pixel)², (N,), in chunks over data."""
    errors = []
    for i in range(0, len(x), 250):
        rows = slice(i, i + 250)
        labels = None if y is None else y[rows]
        decoded = reconstruct(pair, x[rows], y=labels, latents=latents)
        decoded = pair.likelihood.grey_mean(
            decoded, preparation=data.preparation, levels=data.levels
        )
        errors.append((decoded - grey[rows]).square().flatten(1).mean(1))
    return torch.cat(errors)


def _why_no_bits(pair: Pair, data: ImageData) -> str:
    if not data.is_images:
        return "vectors are no pixels"
    if fulfills(pair, ConditionsOnPixels):
        return "of unseen pixels given seen ones, not of whole images"
    return pair.likelihood.why_no_bits(preparation=data.preparation, levels=data.levels)


@dataclass(frozen=True)
class _Describe:
    """Makes scores that share everything but the numbers."""

    pair: Pair
    data: ImageData
    split: str
    num_data: int
    seed: int
    given: str | None
    identity: Identity

    def _shared(self, values: Tensor) -> dict[str, Any]:
        values = values.double()
        spread = float(values.std()) if len(values) > 1 else math.nan
        return {
            "value": float(values.mean()),
            "standard_error": spread / math.sqrt(len(values)),
            "data": self.data.name,
            "split": self.split,
            "num_data": self.num_data,
            "dimensions": math.prod(self.data.data_shape),
            "seed": self.seed,
            "identity": self.identity,
        }

    def nats(
        self,
        quantity: str,
        values: Tensor,
        kind: Kind,
        *,
        num_particles: int | None = None,
        error: Tensor | None = None,
    ) -> Score:
        measure = measure_of(self.pair, self.data)
        noise = None
        if error is not None and not bool(error.isnan().any()):
            noise = float(error.double().square().sum().sqrt()) / len(error)
        identity = replace(self.identity, levels=self.data.levels_of_noise)
        return Score(
            quantity=quantity,
            unit=NATS,
            kind="objective only" if measure is None else kind,
            preparation=preparation_of(self.data, self.seed),
            measure=measure,
            given=self.given,
            num_particles=num_particles,
            monte_carlo_error=noise,
            **{**self._shared(values), "identity": identity},
        )

    def squared_error(self, quantity: str, values: Tensor) -> Score:
        return Score(
            quantity=quantity,
            unit=SQUARED_ERROR,
            kind="estimate",
            preparation="grey" if self.data.is_images else "as given",
            given=self.given,
            **self._shared(values),
        )
