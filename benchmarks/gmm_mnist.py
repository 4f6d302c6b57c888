"""GMM by SVI beside scikit-learn's EM: same data, components, additive floor and k-means starts.

Held-out log-likelihood in nats per test image, five starts each, on MNIST (60,000 / 10,000):
PCA-50 features of grey pixels with diagonal and full covariances, dequantised pixels with diagonal
ones. Run ``python benchmarks/gmm_mnist.py`` (some 20 minutes on two cores); ``--help`` for less.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from typing import Any

import torch
from clock import add_device
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture

from inference import evaluate, fit
from pyro_models import GMM, ImageData, load_data
from pyro_models.data import Split

FLOOR = 1e-3
CASES = ("features-diagonal", "features-full", "pixels-diagonal")


def pca_features(data: ImageData, count: int) -> ImageData:
    """The first principal components of the grey pixels, fitted on the training images."""
    train, test = data.split("train"), data.split("test")
    pca = PCA(count, random_state=0).fit(train.x.flatten(1).numpy())
    splits = {
        name: Split(torch.as_tensor(pca.transform(split.x.flatten(1).numpy())).float(), split.y)
        for name, split in (("train", train), ("test", test))
    }
    return ImageData(f"mnist PCA-{count}", splits)


def by_svi(
    data: ImageData,
    covariance: str,
    components: int,
    seed: int,
    *,
    epochs: int,
    device: torch.device,
) -> float:
    """Held-out log p(x) per datum of our GMM."""
    gmm = GMM(data.data_shape, num_components=components, covariance=covariance, floor=FLOOR)
    gmm.start_from(data.prepared("train").x, seed=seed)  # the clusters that EM starts from, too
    fit(
        gmm,
        data,
        epochs=epochs,
        batch_size=1000 if covariance == "full" else 500,
        lr=3e-2 if covariance == "full" else 5e-2,
        schedule="CosineAnnealingLR",
        seed=seed,
        curve_size=0,
        progress=False,
        device=device,
    )
    return evaluate(gmm, data, num_particles=1).scores["log_likelihood"].value


def by_em(data: ImageData, covariance: str, components: int, seed: int) -> float:
    """Held-out log p(x) per datum of scikit-learn's GaussianMixture, run to convergence."""
    kind: dict[str, Any] = {"diagonal": "diag", "full": "full"}
    mixture = GaussianMixture(
        components,
        covariance_type=kind[covariance],
        reg_covar=FLOOR,
        random_state=seed,
        max_iter=500,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mixture.fit(data.prepared("train").x.flatten(1).double().numpy())
    return float(mixture.score(data.prepared("test").x.flatten(1).double().numpy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--components", type=int, default=10, help="K (default 10)")
    parser.add_argument("--starts", type=int, default=5, help="k-means starts (default 5)")
    parser.add_argument("--epochs", type=int, default=30, help="epochs of SVI (default 30)")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES)
    add_device(parser)
    options = parser.parse_args()
    how = {"epochs": options.epochs, "device": options.device}
    mnist = load_data("mnist", all_training=True)
    features = pca_features(mnist, 50)
    cases = {
        "features-diagonal": (features, "diagonal"),
        "features-full": (features, "full"),
        "pixels-diagonal": (mnist.with_preparation("dequantised"), "diagonal"),
    }
    print(f"held-out log p(x), nats per datum, K = {options.components}, floor {FLOOR}")
    for data, covariance in (cases[name] for name in options.cases):
        ours, theirs, case = [], [], (covariance, options.components)
        for seed in range(options.starts):
            theirs.append(by_em(data, *case, seed))
            ours.append(by_svi(data, *case, seed, **how))
            print(f"  start {seed}: SVI {ours[-1]:.3f}  EM {theirs[-1]:.3f}", flush=True)
        title = f"{data.name} {data.preparation if data.is_images else ''} {covariance}"
        print(
            f"{title}: median SVI {statistics.median(ours):.3f}, "
            f"EM {statistics.median(theirs):.3f}; difference "
            f"{statistics.median(ours) - statistics.median(theirs):+.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
