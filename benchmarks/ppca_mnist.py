"""PPCA by SVI beside its closed form, and importance sampling beside exact log p(x), on MNIST.

All 60,000 training images, dequantised; scores on the 10,000 test images in nats per image.

1. The closed form (Tipping & Bishop) beside scikit-learn's PCA, float64, same degrees of freedom.
2. SVI beside the closed form, for each number of components q and several seeds.
3. Importance sampling from a guide that is deliberately 20 % too wide, beside exact log p(x): the
   weights are unbiased, mean of p̂(x)/p(x) = 1, at every K, and L_K tightens with K.

Run ``python benchmarks/ppca_mnist.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import math
import statistics

import torch
from clock import add_device
from sklearn.decomposition import PCA
from torch import Tensor

from inference import fit
from inference.evaluation import log_weights
from inference.isolated import isolated
from pyro_models import PPCA, ImageData, load_data


def mean_log_prob(ppca: PPCA, x: Tensor) -> float:
    with torch.no_grad():
        return float(ppca.exact_log_prob(x).double().mean())


def beside_sklearn(train: Tensor, test: Tensor, q: int) -> None:
    """Equal likelihoods on the same data, up to rounding."""
    ours = PPCA.maximum_likelihood(train.double(), latent_dim=q, ddof=1)
    theirs = PCA(q, svd_solver="full").fit(train.double().flatten(1).cpu().numpy())
    a, b = mean_log_prob(ours, test.double()), theirs.score(test.double().flatten(1).cpu().numpy())
    print(f"q = {q:2}: closed form {a:.6f}, scikit-learn {b:.6f}, difference {a - b:+.1e}")


def by_svi(data: ImageData, q: int, seed: int, epochs: int, device: torch.device) -> PPCA:
    torch.manual_seed(seed)
    ppca = PPCA(data.data_shape, latent_dim=q)
    fit(
        ppca,
        data,
        epochs=epochs,
        batch_size=500,
        lr=1.5e-3,
        optimizer_options={"eps": 0.1},  # constant pixels have tiny gradients: no large steps there
        schedule="CosineAnnealingLR",
        seed=seed,
        curve_size=0,
        progress=False,
        device=device,
    )
    return ppca


def importance_sampling(train: Tensor, test: Tensor, q: int) -> None:
    """Estimates from a guide that is not the posterior, for growing K."""
    ppca = PPCA.maximum_likelihood(train.double(), latent_dim=q, guide="linear")
    with torch.no_grad():
        ppca.guide.raw_tril += math.log(1.2) * torch.eye(q, device=test.device)
        exact = ppca.exact_log_prob(test.double())
    print(f"q = {q}: exact log p(x) {float(exact.mean()):.4f} nats per image")
    for k in (1, 2, 5, 10, 50, 100, 500):
        with isolated(ppca, seed=k):
            bound = log_weights(ppca, test.double(), num_particles=k).bound
        ratio = (bound - exact).exp()
        off = float(ratio.mean()) - 1
        error = float(ratio.std()) / math.sqrt(len(ratio))
        print(
            f"  K = {k:3}: L_K − exact {float((bound - exact).mean()):+.5f} nats; "
            f"mean p̂/p − 1 = {off:+.5f}, {off / error:+.1f} standard errors",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--components", type=int, nargs="+", default=[2, 10, 50], help="q")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--epochs", type=int, default=50, help="epochs of SVI (default 50)")
    add_device(parser)
    options = parser.parse_args()
    data = load_data("mnist", preparation="dequantised", all_training=True)
    train, test = (data.prepared(name).x.to(options.device) for name in ("train", "test"))
    for q in options.components:
        beside_sklearn(train, test, q)
    importance_sampling(train, test, options.components[0])
    for q in options.components:
        best = mean_log_prob(PPCA.maximum_likelihood(train, latent_dim=q), test)
        found = [
            mean_log_prob(by_svi(data, q, seed, options.epochs, options.device), test)
            for seed in range(options.seeds)
        ]
        spread = max(found) - min(found)
        print(
            f"q = {q:2}: SVI {statistics.mean(found):.3f} (spread {spread:.3f} over "
            f"{options.seeds} seeds), closed form {best:.3f}, "
            f"worst gap {best - min(found):+.3f} nats per image",
            flush=True,
        )


if __name__ == "__main__":
    main()
