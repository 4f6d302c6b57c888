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
from pyro_models.models import title_of

__all__ = ["ENTRIES", "Entry", "learn", "shown"]


@dataclass(frozen=True)
class Entry:
    """One model of the demonstration, how it is trained, and what is drawn of it.

    Attributes
    ----------
    key, model, preparation
        Name of its run folder, of its pair, and of what is done to the pixels.
    options, training
        Options of the pair, and settings of the training.
    words
        A sentence or two on what it is.
    draw
        Names of figures by what is written below them: what it is, and after a colon what to see.
    called
        What readers call it, where that is not the pair's title.
    """

    key: str
    model: str
    preparation: str
    options: dict[str, Any]
    training: dict[str, Any]
    words: str
    draw: dict[str, str] = field(default_factory=dict)
    called: str = ""

    def title(self, trained: Fit) -> str:
        """What readers call it."""
        return self.called or title_of(trained.pair)


_COSINE = {"epochs": 60, "lr": 1e-2, "schedule": "CosineAnnealingLR"}
_CURVES = (
    "Learning curves: the bound of training and validation images after each epoch. Where the "
    "lower curve stays while the upper one still rises, training images are learned by heart; the "
    "circle marks the epoch that is kept for comparison."
)
_MEANS = {
    "Latent means of the test images: one colour for each digit. Clusters that stand apart are "
    "digits that two numbers tell apart; where colours mix, the decoder takes one digit for "
    "another.": "latent_scatter"
}
_AGAIN = {
    "Test images beside reconstructions: look whether it is still the same digit, and what of the "
    "hand that wrote it is lost on the way through two numbers.": "reconstructions"
}
_PRIOR = {
    "Samples from the prior: the mean image of each drawn z. The more of them are digits, the "
    "better prior and posteriors fit together.": "prior_samples"
}

ENTRIES = (
    Entry(
        *("vae", "vae", "grey"),
        {"hidden": [400, 100], "latent_dim": 2},
        {"epochs": 150},
        "A variational autoencoder with two latents, which can be drawn as they are: an encoder "
        "gives q(z | x) for each image, a decoder the pixels for each z. It is trained by the "
        "cross-entropy of grey pixels.",
        _MEANS
        | {
            "Decoded grid of z: images at normal quantiles of both latents. Neighbours change from "
            "one digit into the next without a jump.": "latent_grid"
        }
        | _AGAIN
        | {
            "Between two test images: decoded along a straight line of z. Every step on the way "
            "should be a possible digit.": "interpolation"
        },
    ),
    Entry(
        *("conv-vae", "vae", "grey"),
        {"network": "conv", "hidden": [16, 32], "latent_dim": 2},
        {"epochs": 150},
        "The same model with convolutional networks in the place of dense ones, and two latents "
        "again, so that both are compared by the same pictures.",
        _MEANS | _AGAIN,
    ),
    Entry(
        *("cvae", "cvae", "grey"),
        {"hidden": [256], "latent_dim": 10, "likelihood": "cross_entropy"},
        {"epochs": 100},
        "A conditional VAE is told which digit it is, so its latents are left with how the digit "
        "is written. Its numbers are of p(x | y) and stand apart from those of p(x).",
        {
            "Ten samples of each class: every column is one label. Look whether the label is "
            "obeyed, and how much the hands differ within a column.": "class_grid"
        },
    ),
    Entry(
        *("gaussian-vae", "vae", "dequantised"),
        {"hidden": [400, 100], "latent_dim": 10, "likelihood": "gaussian"},
        {"epochs": 150},
        "A VAE with ten latents and a Gaussian likelihood whose σ is learned. Noise fills the "
        "steps between grey levels, so its density may be compared with those of PPCA and GMM.",
        _PRIOR,
    ),
    Entry(
        *("ppca", "ppca", "dequantised"),
        {"latent_dim": 10},
        _COSINE,
        "Probabilistic principal component analysis is the VAE whose decoder is linear. Everything "
        "about it is known exactly: posterior, evidence, and the maximum of the likelihood.",
        _PRIOR,
    ),
    Entry(
        *("gmm", "gmm", "dequantised"),
        {"num_components": 20, "covariance": "diagonal"},
        _COSINE,
        "A mixture of twenty Gaussians with diagonal covariances. Its only latent is the number k "
        "of the component, which is summed out exactly.",
        {
            "Means of the components: each is the average of the images that it is responsible "
            "for, with its weight π below. Blurred ones hold several hands, or digits.": (
                "mixture_means"
            )
        },
    ),
    Entry(
        *("flow", "flow", "grey"),
        {
            "flow": {"class_path": "dense", "init_args": {"couplings": 4, "hidden": [128, 128]}},
            "levels": 17,
        },
        {"epochs": 30},
        "A normalising flow maps images to a Normal and back, and loses nothing on the way: what "
        "it reconstructs is the image itself, so its squared error is 0 and says nothing.",
        {
            "Samples: images that noise is mapped back to. Strokes may be sharp and still not join "
            "to a digit: a density is not a look.": "prior_samples"
        },
    ),
    Entry(
        *("gan", "generator", "dequantised"),
        {},
        {"objective": "adversarial", "epochs": 60},
        "A generator is trained against a critic that tells its images from real ones. It has no "
        "encoder and no bound that rises; as N(G(z), σ²) it has a density all the same.",
        {
            "Samples: images of drawn z. Look for digits that never come and for images that come "
            "again and again: a GAN may leave out what its critic does not miss.": "prior_samples"
        },
        called="GAN",
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
    curves = _CURVES
    if entry.training.get("objective") == "adversarial":
        curves = (
            "Learning curves: what critic and generator lose, and how often the critic is right. "
            "A game has no bound that rises; look for curves that settle, and a critic that is "
            "neither always right nor always wrong."
        )
    named = {curves: "learning_curves", **entry.draw}
    drawn = {title: draw_figure(name, seen) for title, name in named.items()}
    options = ", ".join(f"{k} = {v}" for k, v in {**entry.options, **entry.training}.items())
    return Section(
        entry.key,
        entry.title(trained),
        html.escape(entry.words, quote=False),
        settings=f"Settings: {options}; {entry.preparation} pixels; {trained.history.stopped}. "
        f"Run folder: runs/{entry.key}.",
        figures=drawn,
        table=evaluation.to_html(),
    )
