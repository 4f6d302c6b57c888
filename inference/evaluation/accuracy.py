"""The fraction of labels a pair's classifier gets right, as a score."""

from __future__ import annotations

import math

import torch

from inference.evaluation.evaluated import ScoredData, evaluated_split, preparation_of
from inference.evaluation.scores import Score
from inference.isolated import isolated
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import Split, as_data
from pyro_models.observed import Data
from pyro_models.pair import Classifies

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
    data = as_data(data, pair, split=split)
    found = evaluated_split(pair, data, split=split, limit=limit, seed=seed)
    if found.y is None or not bool((found.y >= 0).any()):
        raise UsageError(f"the {split} split of {data.name} has no labels to compare with")
    scored = ScoredData.of_split(data, split, seed, limit=limit, labels=True)
    return accuracy_on(pair, found, scored, chunk=chunk)


def accuracy_on(pair: Classifies, found: Split, scored: ScoredData, *, chunk: int = 1000) -> Score:
    """The accuracy on prepared data, some of which have labels."""
    assert found.y is not None
    with isolated(pair, seed=scored.seed):
        best = torch.cat([pair.classify(part).argmax(-1) for part in found.x.split(chunk)])
    right = (best == found.y)[found.y >= 0].cpu()
    value = float(right.double().mean())
    return scored.score(
        "accuracy",
        right,
        standard_error=math.sqrt(value * (1 - value) / len(right)),
        preparation=preparation_of(scored) if scored.data.is_images else "as given",
    )
