"""Few labels on MNIST: M2 beside a supervised classifier and the all-zero code for a missing label.

As in Kingma et al. (2014), a VAE (M1, 784-500-50, no label seen) is learned once on the 50,000
training images, and M2 on its latents (M1 + M2). For each draw of labels, ten classes alike:

* M1 + M2: p(x | y, z) on the 50 latent means, z of 8; first on the labelled data alone, then on all
* classifier, latents: the same network as q(y | x) of M2, on the labelled latents alone
* classifier, pixels: 784-500-10, on the labelled images alone, pixels binarised afresh
* all-zero label: a CVAE of M2's size that is told "missing" by a vector of zeros; it classifies by
  Bayes' rule over its importance-sampled bounds on log p(x | y)

Accuracy on the 10,000 test images: mean over draws, and spread (largest − smallest). Settings were
chosen by the accuracy on the 10,000 validation images, on three other draws of 100 labels: far more
labels than the models are given. ``--pixels`` adds M2 on pixels.
Run ``python benchmarks/semi_supervised_mnist.py`` (some minutes on two cores); ``--help`` for less.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from clock import add_device, seconds
from torch import Tensor, nn

from inference import fit
from inference.evaluation import accuracy, log_weights
from inference.posterior import latents_as_data
from pyro_models import CVAE, VAE, ImageData, SemiSupervisedVAE, load_data, load_preset
from pyro_models.networks import make_classifier

OPTIONS = {"latent_dim": 8, "hidden": [400], "likelihood": "gaussian"}
ALPHA = 2.0
FIRST_STEPS = 300  # on the labelled data alone
BATCH = 100


def m1(data: ImageData, epochs: int, device: torch.device) -> VAE:
    """A VAE of binarised pixels; it sees no label."""
    torch.manual_seed(0)
    options = {"latent_dim": 50, "hidden": [500], "output_bias": "data"}
    vae = VAE(data.data_shape, likelihood="bernoulli", **options)
    learn(vae, data, epochs=epochs, device=device)
    told_grey = VAE(data.data_shape, likelihood="cross_entropy", **options)  # the mean of the draws
    told_grey.load_state_dict(vae.state_dict())
    return told_grey.to(device)


def learn(pair: nn.Module, data: ImageData, **settings: object) -> None:
    options = {"batch_size": BATCH, "lr": 2e-3, "schedule": "CosineAnnealingLR", **settings}
    fit(pair, data, curve_size=0, progress=False, **options)


def learn_labelled_first(
    pair: nn.Module, data: ImageData, epochs: int, draw: int, device: torch.device
) -> None:
    """A start at the classes: some steps on the labelled data alone, then all data."""
    labelled, how = data.labelled(), {"seed": draw, "device": device}
    steps = -(-len(labelled.split("train")) // BATCH)
    learn(pair, labelled, epochs=-(-FIRST_STEPS // steps), schedule=None, lr=1e-3, **how)
    learn(pair, data, epochs=epochs, labelled_per_batch=20, **how)


def by_m2(data: ImageData, epochs: int, draw: int, device: torch.device) -> float:
    torch.manual_seed(draw)
    pair = SemiSupervisedVAE(
        data.data_shape, num_classes=10, classification_weight=ALPHA, **OPTIONS
    )
    learn_labelled_first(pair, data, epochs, draw, device)
    return accuracy(pair, data).value


def by_zeros(data: ImageData, epochs: int, draw: int, device: torch.device) -> float:
    torch.manual_seed(draw)
    cvae = CVAE(data.data_shape, num_classes=10, missing_label="zeros", **OPTIONS)
    learn_labelled_first(cvae, data, epochs, draw, device)
    test = data.prepared("test")
    x, y = test.x.to(device), test.y.to(device)
    bounds = [
        log_weights(cvae, x, num_particles=10, y=torch.full_like(y, c)).bound for c in range(10)
    ]
    return float((torch.stack(bounds).argmax(0) == y).float().mean())


def by_classifier(
    data: ImageData, hidden: list[int], draw: int, device: torch.device, *, steps: int = 1000
) -> float:
    """The network of M2's q(y | x), trained on the labelled data alone, by Adam."""
    torch.manual_seed(draw)
    labelled = data.labelled()
    network = make_classifier("dense", data.data_shape, hidden, 10).to(device)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3, fused=True)
    generator = torch.Generator().manual_seed(draw)
    while steps > 0:
        split = labelled.draw("train", generator)
        for rows in torch.randperm(len(split), generator=generator).split(BATCH):
            optimiser.zero_grad()
            x, y = split.x[rows].to(device), split.y[rows].to(device)
            nn.functional.cross_entropy(network(x), y).backward()
            optimiser.step()
            steps -= 1
    test = data.prepared("test")
    with torch.no_grad():
        found: Tensor = network(test.x.to(device)).argmax(-1).cpu()
    return float((found == test.y).float().mean())


def by_pixels(
    images: ImageData, labels: int, epochs: int, draw: int, device: torch.device
) -> float:
    """M2 on binarised pixels, with the settings of its preset."""
    torch.manual_seed(draw)
    settings = load_preset("m2-100" if labels < 1000 else "m2-3000")
    pair = SemiSupervisedVAE(images.data_shape, num_classes=10, **settings["options"])
    how = {name: settings[name] for name in ("lr", "labelled_per_batch")}
    learn(pair, images, epochs=epochs, **how, seed=draw, device=device)
    return accuracy(pair, images).value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--labels", type=int, nargs="+", default=[100, 3000])
    parser.add_argument("--draws", type=int, default=5, help="draws of labels (default 5)")
    parser.add_argument("--epochs", type=int, default=10, help="of M1 and of M2 (default 10)")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own)")
    parser.add_argument("--pixels", type=int, metavar="EPOCHS", help="also M2 on pixels: 10 min")
    add_device(parser)
    options = parser.parse_args()
    on = options.device
    if options.threads:
        torch.set_num_threads(options.threads)
    begin = seconds(on)
    images = load_data("mnist", preparation="dynamic")
    latents = latents_as_data(m1(images, options.epochs, on), images.with_preparation("grey"))
    print(f"M1 learned in {seconds(on) - begin:.0f} s", flush=True)
    for labels in options.labels:
        found: dict[str, list[float]] = {}
        taken: dict[str, float] = {}
        for draw in range(options.draws):
            features = latents.with_labels(labels, seed=draw)
            pixels = images.with_labels(labels, seed=draw)
            methods: dict[str, Callable[[], float]] = {
                "M1 + M2": lambda d=draw, x=features: by_m2(x, options.epochs, d, on),
                "classifier, latents": lambda d=draw, x=features: by_classifier(x, [400], d, on),
                "classifier, pixels": lambda d=draw, x=pixels: by_classifier(x, [500], d, on),
                "all-zero label": lambda d=draw, x=features: by_zeros(x, options.epochs, d, on),
            }
            if options.pixels:
                methods["M2 on pixels"] = lambda d=draw, x=pixels, n=labels: by_pixels(
                    x, n, options.pixels, d, on
                )
            for name, method in methods.items():
                start = seconds(on)
                found.setdefault(name, []).append(method())
                taken[name] = taken.get(name, 0.0) + seconds(on) - start
            line = ", ".join(f"{name} {100 * values[-1]:.2f}" for name, values in found.items())
            print(f"  {labels} labels, draw {draw}: {line}", flush=True)
        for name, values in found.items():
            print(
                f"{labels} labels, {name}: {100 * statistics.mean(values):.2f} % "
                f"(spread {100 * (max(values) - min(values)):.2f}), "
                f"{taken[name] / len(values):.0f} s a draw",
                flush=True,
            )
    print(f"all in {seconds(on) - begin:.0f} s")


if __name__ == "__main__":
    main()
