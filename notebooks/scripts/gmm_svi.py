"""A Gaussian mixture on dequantised digits, assignments summed out, by plain Pyro SVI.

Summed out means that the bound is log p(x) itself.
"""

import argparse

import pyro
import torch
from pyro.infer import SVI

from pyro_models import GMM, load_data


def main(epochs=50, batch_size=64, seed=0):
    pyro.set_rng_seed(seed)
    data = load_data("digits", preparation="dequantised")
    train, test = data.prepared("train"), data.prepared("test")

    pair = GMM(data.data_shape, num_components=10)
    pair.start_from(train.x, seed=seed)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), pair.elbo())

    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(train)).split(batch_size):
            total += svi.step(train.x[rows])
        losses.append(total / len(train))
        print(f"epoch {epoch:3d}: log p(x) on train {-losses[-1]:8.3f} nats per datum")

    bound = -svi.evaluate_loss(test.x) / len(test)
    print(f"log p(x) on test {bound:.3f} nats per datum (pixels in [0, 1])")
    return pair, losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=50)
    main(parser.parse_args().epochs)
