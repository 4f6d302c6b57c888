"""Eight models of the bundled digits: how each is learned, evaluated, and shown."""

from __future__ import annotations

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.evaluation import Evaluation
from inference.experiment import Experiment
from inference.figures import Shown, draw_figure
from inference.learning import Fit
from inference.learning.settings import Settings
from inference.report.page import Section
from pyro_models import ImageData

__all__ = ["ENTRIES", "Entry", "learn", "shown"]


@dataclass(frozen=True)
class Entry:
    """One model of the demonstration, how it is trained, and what is drawn of it.

    ``draw`` has the names of figures by what is written below them.
    """

    key: str
    title: str
    model: str
    preparation: str
    options: dict[str, Any]
    training: dict[str, Any]
    draw: dict[str, str] = field(default_factory=dict)


_COSINE = {"epochs": 60, "lr": 1e-2, "schedule": "CosineAnnealingLR"}
_MEANS = {"latent means of the test images": "latent_scatter"}
_AGAIN = {"test images beside reconstructions": "reconstructions"}
_PRIOR = {"samples from the prior, means": "prior_samples"}

ENTRIES = (
    Entry(
        *("vae", "VAE, dense", "vae", "grey"),
        {"hidden": [400, 100], "latent_dim": 2},
        {"epochs": 150},
        _MEANS
        | {"decoded grid of z": "latent_grid"}
        | _AGAIN
        | {"between two test images": "interpolation"},
    ),
    Entry(
        *("conv-vae", "VAE, convolutional", "vae", "grey"),
        {"network": "conv", "hidden": [16, 32], "latent_dim": 2},
        {"epochs": 150},
        _MEANS | _AGAIN,
    ),
    Entry(
        *("cvae", "CVAE, given the label", "cvae", "grey"),
        {"hidden": [256], "latent_dim": 10, "likelihood": "cross_entropy"},
        {"epochs": 100},
        {"ten samples of each class": "class_grid"},
    ),
    Entry(
        *("gaussian-vae", "VAE, Gaussian likelihood", "vae", "dequantised"),
        {"hidden": [400, 100], "latent_dim": 10, "likelihood": "gaussian"},
        {"epochs": 150},
        _PRIOR,
    ),
    Entry(
        *("ppca", "PPCA, 10 components", "ppca", "dequantised"), {"latent_dim": 10}, _COSINE, _PRIOR
    ),
    Entry(
        *("gmm", "GMM, 20 components", "gmm", "dequantised"),
        {"num_components": 20, "covariance": "diagonal"},
        _COSINE,
        {"means of the components": "mixture_means"},
    ),
    Entry(
        *("flow", "flow, uniform dequantisation", "flow", "grey"),
        {
            "flow": {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [128, 128]}},
            "levels": 17,
        },
        {"epochs": 30},
        {"samples": "prior_samples"},
    ),
    Entry(
        *("gan", "GAN", "generator", "dequantised"),
        {},
        {"objective": "adversarial", "epochs": 60},
        {"samples": "prior_samples"},
    ),
)


def learn(entry: Entry, folder: Path, *, seed: int, device: str, progress: bool) -> Fit:
    """Train one of the models; its run folder is ``folder/runs/key``."""
    settings = Settings(seed=seed, device=device).replace(**entry.training)
    experiment = Experiment(
        entry.model, "digits", settings, options=entry.options, preparation=entry.preparation
    )
    return experiment.run(out=folder / "runs" / entry.key, progress=progress)


def shown(entry: Entry, trained: Fit, data: ImageData, evaluation: Evaluation) -> Section:
    """The part of the page about one model."""
    seen = Shown(
        pair=trained.pair,
        load_test=lambda: data.prepared("test"),
        load_history=lambda: trained.history,
        load_train=lambda: data.prepared("train"),
    )
    named = {"learning curves": "learning_curves", **entry.draw}
    drawn = {title: draw_figure(name, seen) for title, name in named.items()}
    options = ", ".join(f"{k} = {v}" for k, v in {**entry.options, **entry.training}.items())
    return Section(
        entry.key,
        entry.title,
        f"<code>{html.escape(options)}</code>; {entry.preparation} pixels; "
        f"{html.escape(trained.history.stopped)}.",
        numbers=tuple(str(score) for score in evaluation.scores.values()),
        figures=drawn,
    )
