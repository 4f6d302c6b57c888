"""Six models of the bundled digits: how each is learned, judged, and shown."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

from inference import figures
from inference.evaluation import Evaluation
from inference.learning import Fit, fit
from inference.report.section import Section
from pyro_models import ImageData, Pair, build
from pyro_models.data import Split
from pyro_models.seeds import seeded

__all__ = ["ENTRIES", "Entry", "learn", "shown"]

Draw = Callable[[Pair, Split], Figure]


@dataclass(frozen=True)
class Entry:
    """One model of the demonstration, how it is trained, and what is drawn of it."""

    key: str
    title: str
    model: str
    options: dict[str, Any]
    preparation: str
    training: dict[str, Any]
    draw: dict[str, Draw] = field(default_factory=dict)


def _samples(pair: Pair, test: Split) -> Figure:
    return figures.prior_samples(pair, n=64)


def _reconstructions(pair: Pair, test: Split) -> Figure:
    return figures.reconstructions(pair, test.x, y=test.y)


def _scatter(pair: Pair, test: Split) -> Figure:
    return figures.latent_scatter(pair, test.x, test.y)


def _interpolations(pair: Pair, test: Split) -> Figure:
    assert test.y is not None
    firsts = [int((test.y == c).nonzero()[0]) for c in range(10)]
    return figures.interpolation(pair, test.x[firsts[0::2]], test.x[firsts[1::2]])


ENTRIES = (
    Entry(
        "vae",
        "VAE, dense",
        "vae",
        {"hidden": [400, 100], "latent_dim": 2},
        "grey",
        {"epochs": 150},
        {
            "latent means of the test images": _scatter,
            "decoded grid of z": lambda pair, test: figures.latent_grid(pair),
            "test images beside reconstructions": _reconstructions,
            "between two test images": _interpolations,
        },
    ),
    Entry(
        "conv-vae",
        "VAE, convolutional",
        "vae",
        {"network": "conv", "hidden": [16, 32], "latent_dim": 2},
        "grey",
        {"epochs": 150},
        {
            "latent means of the test images": _scatter,
            "test images beside reconstructions": _reconstructions,
        },
    ),
    Entry(
        "cvae",
        "CVAE, given the label",
        "cvae",
        {"hidden": [256], "latent_dim": 10, "likelihood": "cross_entropy"},
        "grey",
        {"epochs": 100},
        {"ten samples of each class": lambda pair, test: figures.class_grid(pair)},
    ),
    Entry(
        "gaussian-vae",
        "VAE, Gaussian likelihood",
        "vae",
        {"hidden": [400, 100], "latent_dim": 10, "likelihood": "gaussian"},
        "dequantised",
        {"epochs": 150},
        {"samples from the prior, means": _samples},
    ),
    Entry(
        "ppca",
        "PPCA, 10 components",
        "ppca",
        {"latent_dim": 10},
        "dequantised",
        {"epochs": 60, "lr": 1e-2, "schedule": "CosineAnnealingLR"},
        {"samples from the prior, means": _samples},
    ),
    Entry(
        "gmm",
        "GMM, 20 components",
        "gmm",
        {"num_components": 20, "covariance": "diagonal"},
        "dequantised",
        {"epochs": 60, "lr": 1e-2, "schedule": "CosineAnnealingLR"},
        {"means of the components": lambda pair, test: figures.mixture_means(pair)},
    ),
)


def learn(
    entry: Entry, data: ImageData, folder: Path, *, seed: int, device: str, progress: bool
) -> Fit:
    """Train one of the models; its run folder is ``folder/runs/key``."""
    with seeded(seed, torch.device("cpu")):
        pair = build(entry.model, data.data_shape, num_classes=data.num_classes, **entry.options)
    kept = folder / "runs" / entry.key
    return fit(pair, data, seed=seed, device=device, out=kept, progress=progress, **entry.training)


def shown(entry: Entry, trained: Fit, data: ImageData, evaluation: Evaluation) -> Section:
    """The part of the page about one model."""
    test = data.prepared("test")
    drawn = {"learning curves": figures.learning_curves(trained.history)}
    drawn |= {title: draw(trained.pair, test) for title, draw in entry.draw.items()}
    options = ", ".join(f"{k} = {v}" for k, v in {**entry.options, **entry.training}.items())
    return Section(
        entry.key,
        entry.title,
        f"<code>{html.escape(options)}</code>; {entry.preparation} pixels; "
        f"{html.escape(trained.history.stopped)}.",
        numbers=tuple(str(score) for score in evaluation.scores.values()),
        figures=drawn,
    )
