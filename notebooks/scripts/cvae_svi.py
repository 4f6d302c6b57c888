"""A VAE of binarised digits given their labels, by plain Pyro SVI."""

import argparse

import pyro
import torch
from pyro.infer import SVI

from pyro_models import CVAE, load_data


def main(epochs=50, batch_size=64, seed=0):
    pyro.set_rng_seed(seed)
    data = load_data("digits", preparation="threshold")
    train, test = data.prepared("train"), data.prepared("test")

    pair = CVAE(data.data_shape, num_classes=10, latent_dim=4, hidden=[128], likelihood="bernoulli")
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), pair.elbo())

    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(train)).split(batch_size):
            total += svi.step(train.x[rows], y=train.y[rows])
        losses.append(total / len(train))
        print(f"epoch {epoch:3d}: ELBO of x given y on train {-losses[-1]:8.3f} nats per datum")

    bound = -svi.evaluate_loss(test.x, y=test.y) / len(test)
    print(f"ELBO of x given y on test {bound:.3f} nats per datum")
    return pair, losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=50)
    main(parser.parse_args().epochs)
