"""The part of the report on samples: how far they are from data, beside what is easily had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference.evaluation import compare, evaluate, sample_floors
from inference.report.page import Section
from pyro_models import ImageData, Pair

__all__ = ["samples_section"]

QUANTITIES = ("frechet", "coverage", "frechet_mean", "coverage_mean")


def samples_section(pairs: Mapping[str, tuple[Pair, ImageData]], *, seed: int) -> Section:
    """Samples of every pair beside training data, by features of a small classifier."""
    data = next(iter(pairs.values()))[1]
    options: dict[str, Any] = {"quantities": QUANTITIES, "seed": seed}
    rows = [evaluate(pair, own, name=name, **options) for name, (pair, own) in pairs.items()]
    return Section(
        "samples",
        "Samples",
        "Do samples look like data? As many samples as there are test images, "
        f"{len(data.split('test'))}, are compared with these by 64 features of a small classifier: "
        "x drawn from p(x | z), and the means E[x | z]. The "
        "floors are training images in the place of samples, PPCA, and the Gaussians of 20 "
        "clusters. A Fréchet distance of so few images is mostly its bias: only values of the same "
        "number are compared. Coverage is the share of test images that have a sample near.",
        table=compare([*rows, *sample_floors(data, **options)], quantities=QUANTITIES).to_html(),
    )
