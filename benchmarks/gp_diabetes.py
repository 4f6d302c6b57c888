"""Ten-fold prediction of scikit-learn's diabetes data: a fully Bayesian GP beside a point estimate.

    python benchmarks/gp_diabetes.py [--folds 10] [--draws 128] [--kernel rbf]

442 patients, ten inputs. Every method sees the same folds. NLPD is the mean over patients of
−log p(y | rest), nats, outputs in their own unit; a difference is paired by patient, with its
standard error. Coverage is of central intervals, with its binomial standard error. scikit-learn's
GaussianProcessRegressor (ARD RBF + white noise, two restarts) is the other implementation of the
maximum-likelihood GP.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable

import torch
from clock import add_device, processor_seconds
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.model_selection import KFold
from torch import Tensor

from gp_bo import fit_gp
from gp_bo.prediction import LEVELS

Moments = tuple[Tensor, Tensor, Tensor]  # means (S, M), variances (S, M), weights (S,)
Predict = Callable[[Tensor, Tensor, Tensor], Moments]


def ours(
    inference: str, kernel: str, device: torch.device, **options: int
) -> Callable[[Tensor, Tensor, Tensor], Moments]:
    def predict(X: Tensor, y: Tensor, Xs: Tensor) -> Moments:
        fitted = fit_gp(X, y, kernel=kernel, inference=inference, device=device, **options)
        with torch.no_grad():
            moments = *fitted.predictive_marginals(Xs, include_noise=True), fitted.weights
        mean, variance, weights = (part.cpu() for part in moments)
        return mean, variance, weights

    return predict


def scikit_learn(X: Tensor, y: Tensor, Xs: Tensor) -> Moments:
    lower, width = X.amin(0), X.amax(0) - X.amin(0)
    kernel = ConstantKernel() * RBF([1.0] * X.shape[1], (1e-2, 1e4)) + WhiteKernel()
    model = GaussianProcessRegressor(
        kernel, normalize_y=True, n_restarts_optimizer=2, random_state=0
    )
    model.fit(((X - lower) / width).numpy(), y.numpy())
    mean, deviation = model.predict(((Xs - lower) / width).numpy(), return_std=True)
    one = torch.ones(1, dtype=torch.float64)
    return torch.from_numpy(mean)[None], torch.from_numpy(deviation)[None] ** 2, one


def per_patient(y: Tensor, moments: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """−log density, squared error and quantile of each output under the mixture."""
    means, variances, weights = moments
    z = (y - means) / variances.sqrt()
    each = -0.5 * z.square() - 0.5 * (2 * math.pi * variances).log()
    log_density = (each + weights.log()[:, None]).logsumexp(0)
    return -log_density, (y - weights @ means).square(), weights @ torch.special.ndtr(z)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folds", type=int, default=10)
    parser.add_argument("--draws", type=int, default=128)
    parser.add_argument("--warmup", type=int, default=60)
    parser.add_argument("--kernel", default="rbf")
    parser.add_argument("--methods", default="ml,sklearn,map,laplace,nuts")
    add_device(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, y = (torch.from_numpy(a) for a in load_diabetes(return_X_y=True))
    device, how = options.device, (options.kernel, options.device)
    nuts = {"num_draws": options.draws, "warmup": options.warmup, "restarts": 2}
    known = {
        "ml": ours("maximum_likelihood", *how, restarts=2),
        "sklearn": scikit_learn,
        "map": ours("map", *how, restarts=2),
        "laplace": ours("laplace", *how, num_draws=options.draws, restarts=2),
        "nuts": ours("nuts", *how, **nuts),
    }
    methods = {name: known[name] for name in options.methods.split(",")}
    done: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {name: [] for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for fold, (train, test) in enumerate(KFold(10, shuffle=True, random_state=0).split(X)):
        if fold >= options.folds:
            break
        for name, method in methods.items():
            start = processor_seconds(device)
            moments = method(X[train], y[train], X[test])
            seconds[name] += processor_seconds(device) - start
            done[name].append(per_patient(y[test], moments))
            print(f"fold {fold} {name:8s} NLPD {float(done[name][-1][0].mean()):.4f}", flush=True)
    base = torch.cat([nlpd for nlpd, _, _ in next(iter(done.values()))])
    for name, parts in done.items():
        nlpd, squared, quantile = (torch.cat(column) for column in zip(*parts, strict=True))
        count = len(nlpd)
        off = nlpd - base
        error = float(off.std() / math.sqrt(count))
        covered = "  ".join(
            f"{level:.0%}: {float(((quantile - 0.5).abs() <= level / 2).double().mean()):.1%} ± "
            f"{math.sqrt(level * (1 - level) / count):.1%}"
            for level in LEVELS
        )
        print(
            f"{name:8s} NLPD {float(nlpd.mean()):.4f} ± {float(nlpd.std() / math.sqrt(count)):.4f} "
            f"({float(off.mean()):+.4f} ± {error:.4f} against the first)  "
            f"RMSE {float(squared.mean().sqrt()):.2f}  coverage {covered}  {seconds[name]:.0f} s"
        )


if __name__ == "__main__":
    main()
