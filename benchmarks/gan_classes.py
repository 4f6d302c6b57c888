"""Does a GAN draw every class? Counts of the classes of 1,000 samples under a small classifier.

The classifier is the one that samples are compared by, which comes along (or is of your own:
:func:`inference.evaluation.register_classifier`); its accuracy on test data is printed beside the
counts, and so are the counts among test data. ``python benchmarks/gan_classes.py`` trains on the
bundled digits, and with ``--data mnist --epochs 12`` on MNIST.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from clock import add_device, seconds
from torch import Tensor

from inference import Experiment, Settings, generate
from inference.evaluation.features import Classifier, classifier_of
from pyro_models import ImageData, UsageError


def classifier(data: ImageData) -> Classifier:
    """The classifier of a data set, where there is one."""
    found = classifier_of(data)
    if isinstance(found, str):
        raise UsageError(found)
    return found


def counts(net: Classifier, x: Tensor) -> list[int]:
    """How many of the data are of each class, by the classifier."""
    return torch.bincount(net.classify(x), minlength=10).tolist()


def main() -> None:
    """Train, draw, count."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", help="the generator's defaults unless given")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--hidden", type=int, nargs="+")
    parser.add_argument("--latent_dim", type=int)
    parser.add_argument("--lr", type=float)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out")
    add_device(parser)
    given = parser.parse_args()
    experiment = Experiment("generator", settings=Settings(objective="adversarial"))
    if given.preset:
        experiment = Experiment.preset(given.preset)
    experiment = experiment.replace(
        data=given.data,
        epochs=given.epochs,
        seed=given.seed,
        snapshots=None,
        device=str(given.device),
    )
    for name in ("hidden", "latent_dim"):
        if getattr(given, name):
            experiment = experiment.replace(**{f"options.{name}": getattr(given, name)})
    if given.lr:
        options: dict[str, Any] = {**experiment.settings.objective_options, "critic_lr": given.lr}
        experiment = experiment.replace(lr=given.lr, objective_options=options)
    pair, data = experiment.make()
    net = classifier(data)
    test = data.prepared("test")
    assert test.y is not None
    right = float((net.classify(test.x) == test.y).float().mean())
    began = seconds(given.device)
    fitted = experiment.run(made=(pair, data), progress=False, out=given.out)
    took = seconds(given.device) - began
    print(f"{given.preset or 'generator'} on {given.data}: {given.epochs} epochs in {took:.0f} s")
    print({k: round(v, 3) for k, v in fitted.history.epochs[-1].measures.items()})
    print(f"classes of {given.n} samples:", counts(net, generate(pair, n=given.n, seed=1)))
    print(f"classes of {min(given.n, len(test))} test data:", counts(net, test.x[: given.n]))
    print(f"the classifier is right on {right:.1%} of the test data")


if __name__ == "__main__":
    main()
