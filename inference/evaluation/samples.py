"""How good samples of a pair are, by features of as many data: quantities that come by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from inference.evaluation.evaluated import Evaluated, ScoredData, preparation_of
from inference.evaluation.feature_distances import (
    coverage_of,
    density_of,
    frechet_distance,
    in_balls,
    kernel_distance,
)
from inference.evaluation.features import Classifier, classifier_of
from inference.evaluation.quantity import Compute, Quantity, register_quantity
from inference.evaluation.scores import Score
from inference.posterior.decoding import Draw
from inference.posterior.reconstruction import generate
from pyro_models import ImageData, Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.pair import ConditionsOnPixels
from pyro_models.seeds import stream

__all__ = ["BINARY", "NUM_SAMPLES", "OF_SAMPLES", "ComparedFeatures"]

NUM_SAMPLES = 10_000
"""Most samples, and as many data, that are compared: a Fréchet distance falls with their number."""

BINARY = ("threshold", "dynamic", "static")  # preparations
_SAMPLED_AT_ONCE = 500
_NUMBERS_AT_ONCE = 2**26  # of the latents of samples that are drawn in one call


@dataclass(frozen=True, eq=False)
class ComparedFeatures:
    """Features of the first N data of a split and of as many samples, and what they are of.

    Attributes
    ----------
    scored
        The data, as scores of them share it; ``preparation`` says how their pixels were.
    classifier, real, drawn
        What sees the features, (N, D) each.
    """

    scored: ScoredData
    preparation: str
    classifier: Classifier
    real: Tensor
    drawn: Tensor

    @cached_property
    def balls(self) -> tuple[Tensor, Tensor, Tensor]:
        """What density and coverage share."""
        return in_balls(self.real, self.drawn)

    def score(self, quantity: str) -> Score | str:
        """The score of a quantity of samples, or the reason why there is none."""
        try:
            value, error = _DISTANCES[quantity.removesuffix("_mean")](self)
        except UsageError as why:
            return str(why)
        return self.scored.score(
            quantity,
            torch.tensor([value], device="cpu"),
            value=value,
            standard_error=error,
            num_data=len(self.real),
            measure=f"{self.classifier}, n = {len(self.real):,}",
            preparation=self.preparation,
        )


_DISTANCES: dict[str, Callable[[ComparedFeatures], tuple[float, float]]] = {
    "frechet": lambda of: frechet_distance(of.real, of.drawn),
    "kernel": lambda of: kernel_distance(of.real, of.drawn),
    "density": lambda of: density_of(*of.balls),
    "coverage": lambda of: coverage_of(*of.balls),
}

OF_SAMPLES = tuple(_DISTANCES)
"""The quantities of samples x ~ p(x | z); with ``_mean`` after their names, of E[x | z]."""


def _levelled(x: Tensor, data: ImageData) -> Tensor:
    """Draws of prepared pixels as grey ones: of dequantised x, ⌊L x⌋/(L − 1)."""
    if data.preparation != "dequantised" or data.levels is None:
        return x
    return (x * data.levels).floor().clamp(0, data.levels - 1) / (data.levels - 1)


def _samples(pair: Pair, *, n: int, y: Tensor | None, pixels: Draw, seed: int) -> Tensor:
    """Samples in parts, whose size hangs on the pair alone."""
    numbers = sum(math.prod(site.event_shape) for site in pair.latent_sites.values())
    size = max(1, min(_SAMPLED_AT_ONCE, _NUMBERS_AT_ONCE // max(1, numbers)))
    parts = []
    for i, start in enumerate(range(0, n, size)):
        stop = min(n, start + size)
        own, labels = stream(seed, "samples", i), None if y is None else y[start:stop]
        parts.append(generate(pair, n=stop - start, y=labels, pixels=pixels, seed=own).cpu())
    return torch.cat(parts)


def _compared(of: Evaluated, pixels: Draw) -> ComparedFeatures | str:
    """The features that all distances of one kind of samples share, made once."""
    pair, data = of.pair, of.data
    classifier = classifier_of(data)
    if isinstance(classifier, str):
        return classifier
    if fulfills(pair, ConditionsOnPixels):
        return "of unseen pixels given seen ones, not of whole images"
    if pixels == "sample" and pair.likelihood.no_probability:
        return f"{pair.likelihood.no_probability} to draw x from: see the means"
    if not of.whole:
        return "compared with whole images, and some pixels are unseen"
    n = min(NUM_SAMPLES, len(of.x))
    y = None if of.y is None or pair.num_classes is None else of.y[:n]
    drawn = _samples(pair, n=n, y=y, pixels=pixels, seed=of.scored.seed)
    if not bool(drawn.isfinite().all()):
        return "some samples hold NaN or infinite values"
    binary = data.preparation in BINARY
    if pixels == "sample":
        real, drawn = of.x if binary else of.grey, _levelled(drawn, data)
    else:
        to_grey = partial(pair.likelihood.grey_mean, preparation=data.preparation)
        real, drawn = of.grey, to_grey(drawn, levels=data.levels)
    identity = data.identity_of(of.scored.split, limit=n, labels=y is not None)
    scored = replace(of.scored, identity=identity)
    prepared = preparation_of(of.scored) if binary and pixels == "sample" else "grey"
    features = (classifier.features(x) for x in (real[:n], drawn))
    return ComparedFeatures(scored, prepared, classifier, *features)


def _of_samples(quantity: str, pixels: Draw) -> Compute:
    def compute(of: Evaluated) -> Score | str:
        if pixels not in of.shared:
            of.shared[pixels] = _compared(of, pixels)
        found = of.shared[pixels]
        return found if isinstance(found, str) else found.score(quantity)

    return compute


def _register(name: str, title: str, topic: str, *fields: Any) -> None:
    """A quantity of samples x ~ p(x | z), and the same of means E[x | z]."""
    kinds: list[tuple[str, str, Draw]] = [("", "", "sample"), ("_mean", ", x mean", "mean")]
    for suffix, words, pixels in kinds:
        of = name + suffix
        compute, shown = _of_samples(of, pixels), ("comparison",)
        how: dict[str, Any] = {"shown": shown, "by_name": True, "compute": compute}
        how["topic"] = topic
        register_quantity(Quantity(of, title + words, *fields, **how))


_register(
    "frechet",
    "Fréchet",
    "Fréchet distance of samples",
    "squared feature distance, larger for fewer images",
    "lower",
    3,
)
_register("kernel", "kernel distance", "Kernel distance of samples", "MMD² of features", "lower", 4)
_register(
    "density",
    "density",
    "Density of samples near data",
    "samples near data, 1 for data",
    "higher",
    3,
)
_register("coverage", "coverage", "Coverage of the data", "share of the data", "higher", 3)
