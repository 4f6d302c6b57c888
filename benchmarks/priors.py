"""One VAE under several priors at equal epochs: L_K on test images, and paired differences.

784-200-200-20 gated, dynamically binarised MNIST (a slice of the training images), mixture and
VampPrior of equally many components. What differs is p(z) alone: data, their order, the pixels
drawn and the start of the networks are those of one seed. Run ``python benchmarks/priors.py``;
``--help`` for its options.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import torch
from clock import add_device, seconds

from inference import fit
from inference.evaluation import log_weights
from inference.isolated import isolated
from pyro_models import VAE, load_data
from pyro_models.data import Split
from pyro_models.seeds import seeded


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--train", type=int, default=10_000, help="training images")
    parser.add_argument("--test", type=int, default=1000, help="test images")
    parser.add_argument("--components", type=int, default=100)
    parser.add_argument("--num_particles", type=int, default=1000, help="K of L_K")
    parser.add_argument("--priors", nargs="+", default=["standard", "mixture", "vamp"])
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    given = parser.parse_args()
    data = load_data("mnist", preparation="dynamic")
    train = data.splits["train"]
    slice_ = Split(train.x[: given.train], train.y[: given.train])
    data = replace(data, splits={**data.splits, "train": slice_})
    x = data.prepared("test", limit=given.test).x.to(given.device)
    options = {
        "mixture": {"num_components": given.components},
        "vamp": {"num_pseudo_inputs": given.components},
    }
    found = {}
    print(f"| prior | L_{given.num_particles} | less that of {given.priors[0]} | seconds |")
    print("|---|---|---|---|")
    for name in given.priors:
        began = seconds(given.device)
        with seeded(given.seed, torch.device("cpu")):
            prior = {"class_path": name, "init_args": options.get(name, {})}
            shared = {"hidden": [200, 200], "activation": "gated", "likelihood": "bernoulli"}
            pair = VAE(data.data_shape, latent_dim=20, prior=prior, **shared)
        fit(
            pair,
            data,
            epochs=given.epochs,
            batch_size=100,
            lr=1e-3,
            beta_warmup=given.epochs // 5,
            curve_size=0,
            seed=given.seed,
            device=given.device,
            progress=False,
        )
        with isolated(pair, seed=given.seed):
            bound = log_weights(pair, x, num_particles=given.num_particles).bound
        found[name] = bound.double()
        ahead = found[name] - found[given.priors[0]]
        cells = [f"{v.mean():.2f} ± {v.std() / len(v) ** 0.5:.2f}" for v in (found[name], ahead)]
        print(
            f"| {name} | {cells[0]} | {cells[1]} | {seconds(given.device) - began:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
