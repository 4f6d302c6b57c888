"""Sparse variational Gaussian processes against the exact ones they approximate."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from gp_bo import InferenceWarning, SparseGP, fit_gp, fit_sparse_gp, load_gp
from gp_bo.fit import build_model
from gp_bo.scaling import Scaling
from gp_bo.sparse import InducingPoints, _bound, _refresh
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
    gp = build_model(X, y, scaling=Scaling.none(2), **options)  # type: ignore[arg-type]
    theta = gp.hyperparameters.constrain(torch.zeros(1, 0, dtype=torch.float64))
    inducing = InducingPoints(X.clone(), torch.zeros(20).double(), torch.eye(20).double())
    bound = _bound(gp, theta, inducing, X, y, forgetting=1.0)
    assert float(bound) == pytest.approx(float(gp.evidence.value(theta)), abs=1e-6)
    _refresh(gp, theta, inducing)
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


def test_fewer_points_and_minibatches_come_near_the_exact_fit() -> None:
    X, y = _data(300, 2)
    Xs, ys = _data(200, 3)
    exact = fit_gp(X, y, inference="map", restarts=2).score(Xs, ys)
    sparse = fit_sparse_gp(
        X, y, num_inducing=40, batch_size=100, epochs=60, lr=0.05, progress=False
    )
    scores = sparse.score(Xs, ys)
    assert abs(scores.log_density - exact.log_density) < 0.05
    assert sparse.hyperparameters["noise"] == pytest.approx(0.09, rel=0.4)
    rising = sparse.diagnostics["bound_per_row"]
    assert rising[-1] > rising[0] + 0.1


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_a_saved_sparse_gaussian_process_predicts_the_same(tmp_path: Path) -> None:
    X, y = _data(50, 4)
    fitted = fit_sparse_gp(X, y, num_inducing=10, epochs=2, progress=False)
    fitted.save(tmp_path)
    again = load_gp(tmp_path)
    assert isinstance(again, SparseGP)
    assert torch.equal(again.predict(X).variance, fitted.predict(X).variance)
    assert torch.equal(again.predict(X).mean, fitted.predict(X).mean)


def test_a_bound_that_still_rises_is_told() -> None:
    X, y = _data(200, 5)
    with pytest.warns(InferenceWarning, match="still rises"):
        fit_sparse_gp(X, y, num_inducing=20, batch_size=50, epochs=2, lr=0.05, progress=False)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_inducing": 0}, "num_inducing"),
        ({"epochs": 0}, "epochs"),
        ({"noise": 0.0}, "some noise"),
        ({"kernel": "rfb"}, "choose from"),
    ],
)
def test_a_mistake_is_told_in_one_line(options: dict[str, object], words: str) -> None:
    X, y = _data(10, 0)
    with pytest.raises(UsageError, match=words) as caught:
        fit_sparse_gp(X, y, progress=False, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
