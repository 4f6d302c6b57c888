"""What sample scores are beside: those of training images, of PPCA and of a mixture; and of any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from inference.evaluation.evaluated import ScoredData, check_limit, preparation_of
from inference.evaluation.evaluation import Evaluation, evaluate
from inference.evaluation.features import classifier_of
from inference.evaluation.samples import BINARY, NUM_SAMPLES, OF_SAMPLES, ComparedFeatures
from pyro_models import ImageData, UsageError
from pyro_models.data.rows import in_memory
from pyro_models.models import PAIRS
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed, stream

__all__ = ["evaluate_samples", "sample_floors"]

_COMPONENTS = 20


def evaluate_samples(
    x: Tensor,
    data: ImageData,
    *,
    split: str = "test",
    limit: int | None = None,
    quantities: Sequence[str] = OF_SAMPLES,
    name: str = "samples",
    seed: int = 0,
) -> Evaluation:
    """Score images of any origin as samples of the data, as ``evaluate`` scores those of a pair.

    Parameters
    ----------
    x
        Images (M, C, H, W), grey in [0, 1], or binary where the data are prepared so; the first N
        are taken.
    data, split, limit
        The first N data of the split that they are compared with: 10,000, or what there are, or
        ``limit``.
    quantities
        Some of :data:`inference.evaluation.samples.OF_SAMPLES`; under a name with ``_mean`` the
        number is the same, so that it stands beside those of means.
    name, seed
        Name of the row, and random seed of a preparation that draws.

    Raises
    ------
    UsageError
        If a quantity is not of samples, there are fewer than N, or they are of another shape.

    Examples
    --------
    >>> from pyro_models import load_data
    >>> digits = load_data("digits")
    >>> found = evaluate_samples(digits.prepared("train").x, digits, quantities=["coverage"])
    >>> found.scores["coverage"].value > 0.9
    True
    """
    check_seed(seed)
    check_limit(limit)
    known = [name + suffix for name in OF_SAMPLES for suffix in ("", "_mean")]
    for quantity in quantities:
        check_choice("quantity of samples", quantity, known)
    n = min(NUM_SAMPLES, len(data.split(split)), limit or NUM_SAMPLES)
    scored = ScoredData.of_split(data, split, seed, limit=n, labels=False)
    classifier = classifier_of(data)
    if isinstance(classifier, str):
        return Evaluation(name, {}, dict.fromkeys(quantities, classifier))
    if len(x) < n:
        raise UsageError(f"{n:,} data are compared with as many samples; got {len(x):,}")
    drawn, grey = classifier.features(x[:n]), in_memory(data.split(split).x[:n])
    scores, absent = {}, {}
    of_grey = ComparedFeatures(scored, "grey", classifier, classifier.features(grey), drawn)
    of_drawn = of_grey
    if data.preparation in BINARY:
        real = classifier.features(data.prepared(split, seed=seed, limit=n).x)
        of_drawn = ComparedFeatures(scored, preparation_of(scored), classifier, real, drawn)
    for quantity in quantities:
        of = of_grey if quantity.endswith("_mean") else of_drawn
        found = of.score(quantity)
        if isinstance(found, str):
            absent[quantity] = found
        else:
            scores[quantity] = found
    return Evaluation(name, scores, absent)


def sample_floors(
    data: ImageData,
    *,
    split: str = "test",
    limit: int | None = None,
    quantities: Sequence[str] = OF_SAMPLES,
    seed: int = 0,
) -> list[Evaluation]:
    """The rows that sample scores are read beside: how good and how bad they can easily be.

    Training images in the place of samples are about the best that there is: no number says more
    than its distance from theirs. PPCA of 20 components in closed form, and the Gaussians of 20
    clusters, are what linear and clustered models make, of dequantised pixels where grey levels are
    known.

    Parameters
    ----------
    data, split, limit, quantities, seed
        As for :func:`evaluate_samples`; of the training data themselves, test data are the samples.

    Examples
    --------
    >>> from pyro_models import load_data
    >>> rows = sample_floors(load_data("digits"), quantities=["coverage"])
    >>> [row.name for row in rows]
    ['floor: training data', 'floor: PPCA', 'floor: 20 Gaussians']
    >>> rows[0].scores["coverage"].value > rows[1].scores["coverage"].value
    True
    """
    shared: dict[str, Any] = {"split": split, "limit": limit, "seed": seed}
    shared["quantities"] = quantities
    other = "test" if split == "train" else "train"
    own = stream(seed, "floor")
    noisy = data
    if data.is_images:
        noisy = data.with_preparation("grey" if data.levels is None else "dequantised")

    def of_images(name: str) -> Evaluation:
        plain = data if data.preparation in BINARY else replace(data, preparation="grey")
        images = plain.prepared(other, seed=own, limit=NUM_SAMPLES).x
        return evaluate_samples(images, data, name=name, **shared)

    def of_ppca(name: str) -> Evaluation:
        ppca: Any = PAIRS["ppca"]
        pair = ppca.maximum_likelihood(train(), latent_dim=_COMPONENTS)
        return evaluate(pair, noisy, name=name, **shared)

    def of_gaussians(name: str) -> Evaluation:
        pair: Any = PAIRS["gmm"](data.data_shape, num_components=_COMPONENTS)
        pair.start_from(train(), seed=seed)
        return evaluate(pair, noisy, name=name, **shared)

    def train() -> Tensor:
        return noisy.sampled("train", torch.Generator().manual_seed(own)).x

    named = {f"{'training' if other == 'train' else other} data": of_images, "PPCA": of_ppca}
    rows = []
    for what, make in {**named, f"{_COMPONENTS} Gaussians": of_gaussians}.items():
        try:
            rows.append(make(f"floor: {what}"))
        except UsageError as why:
            rows.append(Evaluation(f"floor: {what}", {}, dict.fromkeys(quantities, str(why))))
    return rows
