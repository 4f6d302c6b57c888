"""Probabilistic PCA on dequantised digits, by plain Pyro SVI, beside its closed form.

With the exact guide the bound is log p(x) itself; ``guide="linear"`` learns an amortised one.
"""

import argparse

import pyro
import torch
from pyro.infer import SVI

from pyro_models import PPCA, load_data


def main(epochs=100, guide="exact", batch_size=64, seed=0):
    pyro.set_rng_seed(seed)
    data = load_data("digits", preparation="dequantised")
    train, test = data.prepared("train"), data.prepared("test")

    pair = PPCA(data.data_shape, latent_dim=2, guide=guide)
    pair.start_from(train.x)
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-3}), pair.elbo())

    losses = []
    for epoch in range(1, epochs + 1):
        total = 0.0
        for rows in torch.randperm(len(train)).split(batch_size):
            total += svi.step(train.x[rows])
        losses.append(total / len(train))
        print(f"epoch {epoch:3d}: ELBO on train {-losses[-1]:8.3f} nats per datum")

    bound = -svi.evaluate_loss(test.x) / len(test)
    print(f"ELBO on test {bound:.3f} nats per datum (pixels in [0, 1])")

    best = PPCA.maximum_likelihood(train.x, latent_dim=2).exact_log_prob(test.x).mean()
    print(f"log p(x) at the closed-form maximum on test {best:.3f} nats per datum")
    return pair, losses


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=100)
    main(parser.parse_args().epochs)
