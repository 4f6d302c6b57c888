"""Sparse variational Gaussian processes against the exact ones they approximate."""

import math
from pathlib import Path
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from gp_bo import InferenceWarning, SparseGP, fit_gp, load_gp
from gp_bo.problem import regression_problem
from gp_bo.scaling import Scaling
from gp_bo.sparse import Ascent, InducingPoints, _bound
from pyro_models import UsageError

FIXED = {"lengthscale": 0.3, "variance": 1.5, "noise": 0.1, "mean": 0.2}


def _data(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    return X, (5 * X[:, 0]).sin() + X[:, 1] + 0.3 * noise


@pytest.mark.parametrize("seed", [0, 1])
def test_inducing_points_at_all_data_make_the_exact_posterior_and_evidence(seed: int) -> None:
    X, y = _data(20, seed)
    options = {"kernel": "rbf", "mean": "constant", "noise": "learned", "priors": FIXED}
    gp = regression_problem(X, y, scale=False, **options).gp  # type: ignore[arg-type]
    theta = gp.hyperparameters.constrain(torch.zeros(1, 0, dtype=torch.float64))
    inducing = InducingPoints(X.clone(), torch.zeros(20).double(), torch.eye(20).double())
    bound = _bound(gp, theta, inducing, X, y, forgetting=1.0)
    assert float(bound) == pytest.approx(float(gp.evidence.value(theta)), abs=1e-6)
    none = torch.zeros(1, 0, dtype=torch.float64)
    Ascent(gp, inducing, none, steps=1, lr=0.1, forgetting=0.1).end()
    assert float(_bound(gp, theta, inducing, X, y, forgetting=1e-12)) == pytest.approx(
        float(bound), abs=1e-6
    )
    exact = fit_gp(X, y, inference="map", priors=FIXED)
    known = (gp, Scaling.none(2), exact.draws, X, y, "sparse_variational", 0)
    sparse = SparseGP(*known, inducing=inducing)
    Xs, _ = _data(6, 9)
    for a, b in zip(sparse.predictive_draws(Xs), exact.predictive_draws(Xs), strict=True):
        assert (a - b).abs().max() < 1e-7
    assert (sparse.predict(Xs).variance - exact.predict(Xs).variance).abs().max() < 1e-7
    assert sparse.sample(Xs, 3).shape == (3, 6)


SPARSE: dict[str, Any] = {"inference": "sparse_variational", "progress": False}


def test_fewer_points_and_minibatches_come_near_the_exact_fit() -> None:
    X, y = _data(150, 2)
    Xs, ys = _data(200, 3)
    exact = fit_gp(X, y, inference="map", restarts=2).score(Xs, ys)
    sparse = fit_gp(X, y, num_inducing=40, batch_size=75, epochs=20, **SPARSE)
    assert isinstance(sparse, SparseGP)
    assert abs(sparse.score(Xs, ys).log_density - exact.log_density) < 0.02
    assert float(sparse.hyperparameters["noise"]) == pytest.approx(0.09, rel=0.3)
    rising = sparse.diagnostics["bound_per_row"]
    assert rising[-1] > rising[0]


KERNELS = {
    "matern12 + linear": {"matern12.lengthscale": dist.Gamma(2.0, 4.0)},
    "rational_quadratic": {"variance": dist.Uniform(0.1, 20.0)},
    "rbf * periodic": {"noise": dist.HalfNormal(1.0)},
    "linear": {},  # a covariance of rank two, whatever the number of inducing points
}


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # few steps, for speed
@pytest.mark.parametrize("kernel", KERNELS)
def test_any_kernel_and_prior_has_the_face_of_an_exact_fit(kernel: str) -> None:
    X, y = _data(120, 6)
    priors, options = KERNELS[kernel], {"num_inducing": 15, "batch_size": 60, "epochs": 3}
    fitted = fit_gp(X, y, kernel=kernel, priors=priors, seed=1, **options, **SPARSE)
    assert fitted.scaling.spread == 1 or not priors
    x = X[:5].clone().requires_grad_()
    prediction = fitted.predict(x, include_noise=True)
    prediction.mean.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())
    assert bool((prediction.variance > fitted.hyperparameters["noise"]).all())
    drawn = fitted.sample(X[:5], 2000, include_noise=True, seed=0)
    error = 4 * prediction.standard_deviation / 2000**0.5
    assert bool(((drawn.mean(0) - prediction.mean).abs() < error).all())
    assert fitted.score(X, y).rmse < 1.05 * float(y.std())


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # few steps, for speed
def test_units_of_the_data_do_not_matter() -> None:
    X, y = _data(60, 7)
    options = {"num_inducing": 10, "epochs": 3, **SPARSE}
    a = fit_gp(X, y, **options)
    width = torch.tensor([1.0, 1024.0], dtype=torch.float64)
    b = fit_gp(X * width, 8 * y - 100, **options)
    exact = {"rtol": 1e-6, "atol": 1e-8}
    assert torch.allclose(b.predict(X * width).mean, 8 * a.predict(X).mean - 100, **exact)
    assert torch.allclose(b.predict(X * width).variance, 64 * a.predict(X).variance, **exact)
    lengthscale = a.hyperparameters["lengthscale"] * width
    assert torch.allclose(b.hyperparameters["lengthscale"], lengthscale, **exact)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # few steps, for speed
def test_a_saved_sparse_gaussian_process_predicts_the_same(tmp_path: Path) -> None:
    X, y = _data(50, 4)
    fitted = fit_gp(X, y, num_inducing=10, epochs=2, **SPARSE)
    fitted.save(tmp_path)
    again = load_gp(tmp_path)
    assert isinstance(again, SparseGP)
    assert torch.equal(again.predict(X).variance, fitted.predict(X).variance)
    assert torch.equal(again.predict(X).mean, fitted.predict(X).mean)


def test_a_bound_that_still_rises_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gp_bo.sparse._FIRST_ROWS", 3)  # a poor start
    X, y = _data(200, 5)
    with pytest.warns(InferenceWarning, match="still rises"):
        fit_gp(X, y, num_inducing=20, batch_size=50, epochs=2, lr=0.05, **SPARSE)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_inducing": 0}, "num_inducing"),
        ({"epochs": 0}, "epochs"),
        ({"lr": math.nan}, "lr above 0"),
        ({"noise": 0.0}, "some noise"),
        ({"kernel": "rfb"}, "choose from"),
        ({"steps": 3}, "no option steps; it has num_inducing"),
    ],
)
def test_a_mistake_is_told_in_one_line(options: dict[str, Any], words: str) -> None:
    X, y = _data(10, 0)
    with pytest.raises(UsageError, match=words) as caught:
        fit_gp(X, y, **SPARSE, **options)
    assert "\n" not in str(caught.value)
