"""Trains the small classifiers whose features samples are compared by, and writes their weights.

``python benchmarks/classifiers.py --data digits`` takes seconds, ``mnist`` and ``fashion-mnist``
two minutes of one core. Images are shifted at random by up to a twelfth of their side, so that
features of training and of test images are alike. Weights are written as float16; what is printed
is of these. Scores name the checksum: of weights that are trained again there is no comparison with
what was scored by the old ones. The scale of the features is arbitrary; on the training data their
mean square is made 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from clock import add_device, seconds
from safetensors.torch import save_file
from torch import Tensor, nn

from inference.evaluation import features
from inference.evaluation.features import CLASSIFIERS, images_network
from pyro_models import load_data

FOLDER = Path(features.__file__).with_name("classifiers")
EPOCHS = {"digits": 100, "mnist": 5, "fashion-mnist": 6}


def shifted(x: Tensor) -> Tensor:
    """All of a batch moved by the same few pixels."""
    most = x.shape[-1] // 12
    by = torch.randint(-most, most + 1, (2,)).tolist()
    return x.roll(by, (-2, -1))


def trained(name: str, device: torch.device) -> nn.Sequential:
    """The network of a data set, on all but its test data."""
    torch.manual_seed(0)
    train = load_data(name, all_training=True).prepared("train")
    assert train.y is not None
    net, size = images_network(train.x.shape[-1]).to(device), 128
    x, y = train.x.to(device), train.y.to(device)
    steps = EPOCHS[name] * (len(train) // size)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, max_lr=4e-3, total_steps=steps)
    for step in range(steps):
        if step % (len(train) // size) == 0:
            order = torch.randperm(len(train))
        rows = order[step % (len(train) // size) * size :][:size]
        adam.zero_grad()
        nn.functional.cross_entropy(net(shifted(x[rows])), y[rows]).backward()
        adam.step()
        schedule.step()
    with torch.no_grad():
        parts = x.split(1000)
        scale = torch.stack([net[:-1](part).square().mean() for part in parts]).mean().sqrt()
        net[-3].weight /= scale
        net[-3].bias /= scale
        net[-1].weight *= scale
    return net.cpu()


def main() -> None:
    """Train, write, read again, and say how often it is right."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", choices=list(EPOCHS), default="digits")
    add_device(parser)
    given = parser.parse_args()
    name, began = given.data, seconds(given.device)
    net = trained(name, given.device)
    weights = {key: value.half().contiguous() for key, value in net.state_dict().items()}
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.safetensors"
    save_file(weights, path)
    classifier, test = CLASSIFIERS[name](), load_data(name).prepared("test")
    assert test.y is not None
    right = float((classifier.classify(test.x) == test.y).float().mean())
    print(f"{name}: {right:.2%} of {len(test):,} test images, checksum {classifier.checksum}")
    print(f"{path.stat().st_size / 1000:.0f} kB, {seconds(given.device) - began:.0f} s")


if __name__ == "__main__":
    main()
