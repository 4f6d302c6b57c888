"""What is evaluated: a pair, and some data as they say they are prepared, which scores share."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from torch import Tensor

from inference.evaluation.estimates import LogWeights
from inference.evaluation.quantity import quantity_named
from inference.evaluation.scores import Score
from inference.learning.recorded_data import check_held_out
from inference.learning.settings import check_pair_fits_data
from inference.standard_error import error_of_mean, mean_and_error
from pyro_models import ImageData, Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.data import Identity, Split
from pyro_models.data.preparation import AS_GIVEN
from pyro_models.likelihoods.likelihood import LEBESGUE, LEBESGUE_UNIT
from pyro_models.seeds import check_seed

__all__ = ["Evaluated", "ScoredData", "check_limit", "evaluated_split", "preparation_of"]


def check_limit(limit: int | None) -> None:
    """Refuse to evaluate less than one datum; ``None`` is all of them."""
    if limit is not None:
        check_counts(limit=limit)


def evaluated_split(
    pair: Pair, data: ImageData, *, split: str, limit: int | None, seed: int
) -> Split:
    """The first ``limit`` data of a split, prepared, on the pair's device and in its float type.

    Refused are data or a seed that do not fit, a limit below 1, and a split that is empty.
    """
    check_seed(seed)
    check_limit(limit)
    check_pair_fits_data(pair, data, splits=[split], seed=seed)
    check_held_out(pair, data, split)
    prepared = data.prepared(split, seed=seed, limit=limit)
    if not len(prepared):
        raise UsageError(f"the {split} split of {data.name} is empty")
    first = next(pair.parameters())
    y = None if prepared.y is None else prepared.y.to(first.device)
    mask = None if prepared.mask is None else prepared.mask.to(first.device)
    return Split(prepared.x.to(first.device, first.dtype), y, mask)


@dataclass(frozen=True)
class ScoredData:
    """The data that several scores are of: which of their splits, and its preparation's seed.

    Each datum has so many ``dimensions`` that the scores are of; the ``identity`` says what the
    data are by their content, and ``given``, in words, what is conditioned on, ``None`` for
    nothing. The ``precision`` is that of the pair, see :class:`inference.evaluation.Score`; and
    where data are not ``whole``, log-probabilities are of what is seen of each.
    """

    data: ImageData
    split: str
    seed: int
    dimensions: int
    identity: Identity
    given: str | None = None
    precision: str | None = None
    whole: bool = True

    @classmethod
    def of_split(
        cls, data: ImageData, split: str, seed: int, *, limit: int | None, labels: bool
    ) -> ScoredData:
        """The first ``limit`` data of a split, whole; ``labels`` says whether theirs matter."""
        identity = data.identity_of(split, limit=limit, labels=labels)
        seen = data.split(split).mask
        whole = seen is None or bool(seen[:limit].all())
        return cls(data, split, seed, math.prod(data.data_shape), identity, whole=whole)

    def score(self, quantity: str, values: Tensor, **fields: Any) -> Score:
        """The score of N values, (N,): their mean and its standard error.

        The quantity, by its name, says unit and kind, and the data most of the rest; further
        ``fields`` of the score are given, or given in place of these.
        """
        of = quantity_named(quantity)
        value, error = mean_and_error(values)
        shared = {
            "value": value,
            "standard_error": error,
            "unit": of.unit,
            "kind": of.kind,
            "data": self.data.name,
            "split": self.split,
            "preparation": preparation_of(self),
            "num_data": len(values),
            "dimensions": self.dimensions,
            "given": self.given,
            "seed": self.seed,
            "identity": self.identity,
            "precision": self.precision,
        }
        return Score(quantity=quantity, **{**shared, **fields})

    def log_probability(
        self, pair: Pair, quantity: str, values: Tensor, error: Tensor | None = None, **fields: Any
    ) -> Score:
        """The score of a pair's log-probabilities, or of bounds on them, in nats.

        The likelihood says what they are relative to; ``error`` is the Monte-Carlo standard error
        of each value, (N,). All else is as for :meth:`score`.
        """
        noise = math.nan if error is None else error_of_mean(error)
        measure = pair.likelihood.measure
        if measure == LEBESGUE:
            measure = LEBESGUE_UNIT if self.data.is_images else "Lebesgue in the data's own units"
        if measure is not None and not self.whole:
            measure = f"{measure}, of what is seen"
        shared = {
            "measure": measure,
            "monte_carlo_error": None if math.isnan(noise) else noise,
            "identity": replace(self.identity, levels=self.data.levels_of_noise),
        }
        objective = {"kind": "objective only"} if measure is None else {}
        return self.score(quantity, values, **{**shared, **fields, **objective})


def preparation_of(scored: ScoredData) -> str:
    """How the pixels were prepared, with the seed where each use draws anew; vectors are not."""
    data = scored.data
    if not data.is_images:
        return AS_GIVEN
    return f"{data.preparation} (seed {scored.seed})" if data.redraws else data.preparation


@dataclass(frozen=True)
class Evaluated:
    """A pair and the data that it is evaluated on, for the functions that compute quantities.

    Attributes
    ----------
    pair
        The pair, in evaluation mode and without gradients while a function is called.
    scored, limit
        The data, and what the scores of them share; and how many were asked for.
    x, y, mask, labels
        Prepared data (N, \\*data_shape); the labels that the pair is given, (N,) or ``None``; what
        is seen, ``None`` where all is; and the labels that the data have, −1 where missing, given
        to the pair or not.
    grey
        The data before their preparation, (N, \\*data_shape).
    weigh, max_elements
        Makes ``weights``, the bounds from the log-weights of K particles, given y where there is
        one, when they are first asked for; and the numbers that one chunk may hold.
    scores, per_datum
        The scores of the quantities before this one, and the numbers behind them, (N,) each.
    shared
        What one quantity has made and others need as well, by a name.
    """

    pair: Pair
    scored: ScoredData
    x: Tensor
    y: Tensor | None
    labels: Tensor | None
    grey: Tensor
    weigh: Callable[[], LogWeights]
    limit: int | None
    max_elements: int
    mask: Tensor | None = None
    scores: dict[str, Score] = field(default_factory=dict)
    per_datum: dict[str, Tensor] = field(default_factory=dict)
    shared: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def weights(self) -> LogWeights:
        """The bounds of every datum."""
        found = self.weigh()
        self.per_datum.update(elbo=found.elbo, importance_bound=found.bound)
        return found

    @property
    def whole(self) -> bool:
        """Whether everything of all data is seen."""
        return self.mask is None or bool(self.mask.all())

    @property
    def data(self) -> ImageData:
        """The data that the split is of."""
        return self.scored.data

    def score(self, quantity: str, values: Tensor, **fields: Any) -> Score:
        """The score of one value for each datum, (N,), which is kept in ``per_datum``."""
        self.per_datum[quantity] = values
        return self.scored.score(quantity, values, **fields)
