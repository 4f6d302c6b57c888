"""The fraction of labels a pair's classifier gets right, as a score."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from inference.evaluation.evaluated import ScoredData, preparation_of
from inference.evaluation.scores import Score
from inference.isolated import isolated
from inference.learning.settings import check_pair_fits_data
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import as_data
from pyro_models.observed import Data
from pyro_models.pair import Classifies
from pyro_models.seeds import check_seed

__all__ = ["accuracy"]


def accuracy(
    pair: Pair,
    data: ImageData | Data,
    *,
    split: str = "test",
    limit: int | None = None,
    seed: int = 0,
    chunk: int = 1000,
) -> Score:
    """Fraction of labels that argmax_y q(y | x) gets right, with its binomial standard error.

    Parameters
    ----------
    pair
        A pair that classifies; nothing of it changes.
    data
        Data; the split is prepared as they say, with the seed. Data without a label are left out.
    split
        ``"test"``, ``"validation"`` (where settings are chosen) or ``"train"``.
    limit
        Only the first ``limit`` data.
    seed
        Random seed of the preparation.
    chunk
        Data at a time; bounds memory.

    Returns
    -------
    Score
        p̂ and sqrt(p̂ (1 − p̂) / N), N the number of data with a label.

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
    check_pair_fits_data(pair, data, splits=[split], seed=seed)
    check_seed(seed)
    prepared = data.prepared(split, seed=seed, limit=limit)
    y = prepared.y
    if y is None or not bool((y >= 0).any()):
        raise UsageError(f"the {split} split of {data.name} has no labels to compare with")
    right = _right(pair, prepared.x, y, seed=seed, chunk=chunk)[y >= 0]
    value = float(right.double().mean())
    scored = ScoredData(
        data,
        split,
        seed,
        dimensions=math.prod(data.data_shape),
        identity=data.identity_of(split, limit=limit, labels=True),
    )
    return scored.score(
        "accuracy",
        right,
        standard_error=math.sqrt(value * (1 - value) / len(right)),
        preparation=preparation_of(data, seed) if data.is_images else "as given",
    )


def _right(pair: Classifies, x: Tensor, y: Tensor, *, seed: int, chunk: int) -> Tensor:
    """Whether each label is the most probable one, (N,), on the CPU."""
    dtype = next(pair.parameters()).dtype
    with isolated(pair, seed=seed) as device:
        found = [pair.classify(part.to(device, dtype)).argmax(-1).cpu() for part in x.split(chunk)]
    return torch.cat(found) == y
