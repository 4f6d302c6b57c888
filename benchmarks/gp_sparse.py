"""Sparse variational GP of many rows: ours beside GPyTorch's SVGP and an exact GP of 2,000 rows.

    python benchmarks/gp_sparse.py [--rows 10000] [--inducing 200] [--steps 200] [--batch 1024]

Friedman's first function of ten inputs in the unit cube (five do nothing), noise variance 1;
5,000 test rows. RBF with a length-scale per input, constant mean, float64, one thread, outputs
standardised. Both kinds of SVGP start at the same k-means centres and take the same minibatches,
step by step in turn, so that what else the machine does falls on all. GPyTorch's are those of its
tutorials: all by Adam, rate 0.01; and q by natural gradients, rate 0.1, the rest by Adam, rate
0.01; both from GPyTorch's starting values, the latter from ours too: the mode of 256 rows, whose
time is told.
NLPD: −log density of noisy outputs, nats per row; RMSE: of the mean to the noise-free function.
Time is that of the processor.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Callable

import gpytorch
import torch
from clock import add_device, processor_seconds
from sklearn.datasets import make_friedman1
from torch import Tensor
from tqdm import tqdm

from gp_bo import SparseGP, fit_gp
from gp_bo.inference.draws import HyperDraws
from gp_bo.problem import regression_problem
from gp_bo.sparse import SPARSE, Ascent, centers, first_guess

Moments = tuple[Tensor, Tensor]  # means of f and variances of y at the test rows


def data(rows: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs, noisy outputs and the function."""
    X, f = (torch.from_numpy(v) for v in make_friedman1(rows, random_state=seed))
    noise = torch.randn(rows, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return X.to(device), (f + noise).to(device), f.to(device)


class SVGP(gpytorch.models.ApproximateGP):
    def __init__(self, Z: Tensor, kind: Callable[..., object]) -> None:
        strategy = gpytorch.variational.VariationalStrategy(
            self, Z, kind(len(Z)), learn_inducing_locations=True
        )
        super().__init__(strategy)
        self.mean_module = gpytorch.means.ConstantMean()
        self.covar_module = gpytorch.kernels.ScaleKernel(
            gpytorch.kernels.RBFKernel(ard_num_dims=Z.shape[1])
        )

    def forward(self, x: Tensor) -> gpytorch.distributions.MultivariateNormal:
        return gpytorch.distributions.MultivariateNormal(self.mean_module(x), self.covar_module(x))


class PeerSVGP:
    """GPyTorch's, one step at a time, in scaled units."""

    def __init__(self, X: Tensor, y: Tensor, Z: Tensor, *, natural: bool) -> None:
        self.X, self.y = X, y
        name = "Natural" if natural else "Cholesky"
        kind = getattr(gpytorch.variational, f"{name}VariationalDistribution")
        self.model = SVGP(Z.clone(), kind).double().to(Z.device)
        self.likelihood = gpytorch.likelihoods.GaussianLikelihood().double().to(Z.device)
        self.bound = gpytorch.mlls.VariationalELBO(self.likelihood, self.model, len(y))
        own = [*self.likelihood.parameters()]
        if natural:
            q = [*self.model.variational_parameters()]
            own += [*self.model.hyperparameters()]
            self.optimizers = [gpytorch.optim.NGD(q, num_data=len(y), lr=0.1)]
        else:
            own += [*self.model.parameters()]
            self.optimizers = []
        self.optimizers.append(torch.optim.Adam(own, lr=0.01))
        self.model.train()

    def start_at(self, theta: dict[str, Tensor]) -> PeerSVGP:
        """Hyper-parameters other than GPyTorch's own to begin with."""
        self.model.covar_module.base_kernel.lengthscale = theta["lengthscale"][0]
        self.model.covar_module.outputscale = theta["variance"][0]
        self.model.mean_module.constant.data = theta["mean"][0]
        self.likelihood.noise = theta["noise"][0]
        return self

    def step(self, batch: Tensor) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        loss = -self.bound(self.model(self.X[batch]), self.y[batch])
        loss.backward()
        for optimizer in self.optimizers:
            optimizer.step()

    @torch.no_grad()
    def predict(self, Xs: Tensor) -> Moments:
        self.model.eval()
        parts = [self.model(part) for part in Xs.split(1000)]
        mean = torch.cat([part.mean for part in parts])
        noise = self.likelihood.noise
        return mean, torch.cat([part.variance for part in parts]) + noise


def scores(moments: Moments, y: Tensor, f: Tensor) -> str:
    mean, variance = moments
    each = 0.5 * ((y - mean).square() / variance + variance.log() + math.log(2 * math.pi))
    error = float(each.std()) / math.sqrt(len(y))
    rmse = float((mean - f).square().mean().sqrt())
    return f"NLPD {float(each.mean()):.4f} ± {error:.4f}, RMSE to f {rmse:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (
        ("rows", 10_000),
        ("inducing", 200),
        ("steps", 200),
        ("batch", 1024),
        ("exact_rows", 2000),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    add_device(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    X, y, _ = data(given.rows, given.seed, given.device)
    Xs, ys, fs = data(5000, given.seed + 1, given.device)
    options = {"kernel": "rbf", "noise": "learned", "mean": "constant"}
    problem = regression_problem(X, y, priors=None, scale=None, **options)
    generator = torch.Generator().manual_seed(given.seed)
    start = processor_seconds(given.device)
    inducing = centers(problem.gp, given.inducing, given.seed)
    between = processor_seconds(given.device)
    gp, Z = problem.gp, inducing.Z.clone()
    u = first_guess(gp, generator)
    ascent = Ascent(gp, inducing, u, steps=given.steps, lr=0.03, forgetting=0.1)
    print(
        f"{given.rows} rows: k-means {between - start:.1f} s; our start, mode of 256 rows and one "
        f"pass, {processor_seconds(given.device) - between:.1f} s"
    )
    peers = {
        "GPyTorch, Adam": PeerSVGP(gp.X, gp.y, Z, natural=False),
        "GPyTorch, natural gradients": PeerSVGP(gp.X, gp.y, Z, natural=True),
        "the same from our start": PeerSVGP(gp.X, gp.y, Z, natural=True).start_at(
            gp.hyperparameters.constrain(u)
        ),
    }
    takers: dict[str, Callable[[Tensor], object]] = {"ours": ascent.step}
    takers |= {name: peer.step for name, peer in peers.items()}
    spent = dict.fromkeys(takers, 0.0)
    for _ in tqdm(range(given.steps), unit="step", mininterval=5):
        batch = torch.randint(given.rows, (given.batch,), generator=generator)
        for name, step in takers.items():
            start = processor_seconds(given.device)
            step(batch)
            spent[name] += processor_seconds(given.device) - start
    draws = HyperDraws(ascent.end(), torch.ones(1, dtype=torch.float64, device=given.device))
    ours = SparseGP(
        gp, problem.scaling, draws, problem.X, problem.y, SPARSE, given.seed, inducing=inducing
    )
    with torch.no_grad():
        predicted = ours.predict(Xs, include_noise=True)
    found = {"ours": (predicted.mean, predicted.variance)}
    scaling = problem.scaling
    for name, peer in peers.items():
        mean, variance = peer.predict(scaling.inputs(Xs))
        found[name] = scaling.mean_back(mean), scaling.variance_back(variance)
    for name, moments in found.items():
        per_step = 1000 * spent[name] / given.steps
        print(
            f"{name:28s} {scores(moments, ys, fs)}; {per_step:.1f} ms a step, "
            f"{spent[name] / spent['ours']:.2f} × ours"
        )
    if given.exact_rows:
        start = processor_seconds(given.device)
        few = slice(given.exact_rows)
        exact = fit_gp(X[few], y[few], inference="map", restarts=1, **options)
        with torch.no_grad():
            predicted = exact.predict(Xs, include_noise=True)
        moments = (predicted.mean, predicted.variance)
        print(
            f"exact, first {given.exact_rows} rows      {scores(moments, ys, fs)}; "
            f"{processor_seconds(given.device) - start:.0f} s"
        )


if __name__ == "__main__":
    main()
