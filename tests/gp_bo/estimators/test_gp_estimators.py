"""Gaussian processes as scikit-learn estimators: its own checks, its own numbers, its own tools."""

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator, clone
from sklearn.datasets import make_friedman2, make_moons
from sklearn.exceptions import NotFittedError
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from gp_bo import InferenceWarning, load_gp
from gp_bo.estimators import GPClassifier, GPRegressor
from pyro_models import UsageError

ONE_START = {"inference_options": {"restarts": 1}, "random_state": 0}


@parametrize_with_checks([GPRegressor(**ONE_START), GPClassifier(**ONE_START)])
def test_scikit_learn_checks(estimator: BaseEstimator, check: Any) -> None:
    check(estimator)


@pytest.fixture(scope="module")
def waves() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    X = random.uniform(0, 6, size=(30, 1))
    return X, np.sin(X[:, 0]) + 0.1 * random.normal(size=30)


def test_at_given_hyperparameters_the_numbers_are_those_of_scikit_learn(
    waves: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = waves
    fixed = {"lengthscale": 1.5, "variance": 2.0}
    ours = GPRegressor(noise=0.01, mean="zero", priors=fixed, scale=False).fit(X, y)
    theirs = GaussianProcessRegressor(ConstantKernel(2.0) * RBF(1.5), alpha=0.01, optimizer=None)
    theirs.fit(X, y)
    Xs = np.linspace(-1, 7, 20)[:, None]
    for which in ({"return_std": True}, {"return_cov": True}):
        (mean, spread), (their_mean, their_spread) = (
            g.predict(Xs, **which) for g in (ours, theirs)
        )
        assert_allclose(mean, their_mean, atol=1e-6)
        assert_allclose(spread, their_spread, atol=1e-6)
    assert_allclose(ours.log_marginal_likelihood_value_, theirs.log_marginal_likelihood_value_)
    assert_allclose(ours.score(X, y), theirs.score(X, y))
    noisy = ours.predict(Xs, return_std=True, include_noise=True)[1]
    assert_allclose(noisy**2, ours.predict(Xs, return_std=True)[1] ** 2 + 0.01)


def test_maximum_likelihood_finds_what_scikit_learn_finds(
    waves: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = waves
    ours = GPRegressor(noise=0.01, mean="zero", inference="maximum_likelihood", scale=False)
    theirs = GaussianProcessRegressor(ConstantKernel() * RBF(), alpha=0.01, random_state=0)
    ours.set_params(random_state=0).fit(X, y)
    theirs.fit(X, y)
    assert_allclose(ours.log_marginal_likelihood_value_, theirs.log_marginal_likelihood_value_,
                    rtol=1e-5)  # fmt: skip
    assert_allclose(ours.hyperparameters_["lengthscale"].item(),
                    theirs.kernel_.k2.length_scale, rtol=1e-2)  # fmt: skip


def test_draws_of_theta_are_mixed_in_every_answer(waves: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = waves
    options = {"num_draws": 50}
    gp = GPRegressor(inference="laplace", inference_options=options, random_state=0).fit(X, y)
    assert gp.fitted_.num_draws == 50
    Xs = np.linspace(0, 6, 5)[:, None]
    mean, std = gp.predict(Xs, return_std=True)
    _, covariance = gp.predict(Xs, return_cov=True)
    assert_allclose(np.diag(covariance), std**2, rtol=1e-8)
    drawn = gp.sample_y(Xs, 4000, random_state=1)
    assert drawn.shape == (5, 4000)
    assert_allclose(drawn.mean(1), mean, atol=0.02)
    assert_allclose(np.cov(drawn), covariance, atol=0.01)


def test_a_grid_a_pipeline_and_frames(waves: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = waves
    frame = pd.DataFrame({"time": X[:, 0]})
    grid = {"gpregressor__kernel": ["linear", "rbf"],
            "gpregressor__inference_options__restarts": [1]}  # fmt: skip
    pipeline = make_pipeline(StandardScaler().set_output(transform="pandas"), GPRegressor())
    search = GridSearchCV(pipeline, grid, cv=3).fit(frame, y)
    best = search.best_estimator_[-1]
    assert best.kernel == "rbf"
    assert best.inference_options == {"restarts": 1}
    assert best.feature_names_in_.tolist() == ["time"]
    assert search.best_score_ > 0.9
    X, y = make_friedman2(40, random_state=0)
    poisson = GPRegressor(likelihood="poisson", **ONE_START)
    counts = np.random.default_rng(0).poisson(y / 100)
    assert poisson.fit(X, counts).score(X, counts) > 0.5
    with pytest.raises(UsageError, match="covariance of E"):
        poisson.predict(X, return_cov=True)


def test_a_classifier_knows_its_labels_and_several_by_one_versus_rest() -> None:
    X, y = make_moons(60, noise=0.1, random_state=0)
    names = np.array(["lower", "upper"])[y]
    assert cross_val_score(GPClassifier(**ONE_START), X, names, cv=3).mean() > 0.85
    gp = GPClassifier(**ONE_START).fit(X, names)
    assert gp.classes_.tolist() == ["lower", "upper"]
    p = gp.predict_proba(X)
    assert_allclose(p.sum(1), 1)
    assert_allclose(p[:, 1], gp.fitted_.predict(X).mean.numpy())
    with pytest.raises(UsageError, match="OneVsRestClassifier"):
        GPClassifier().fit(X, np.arange(60) % 3)
    three = OneVsRestClassifier(GPClassifier(**ONE_START)).fit(X, y + (X[:, 0] > 1))
    assert three.score(X, y + (X[:, 0] > 1)) > 0.9


@pytest.mark.parametrize("kind", [GPRegressor, GPClassifier])
def test_it_is_pickled_and_kept_in_a_folder(kind: Any, tmp_path) -> None:
    X, y = make_moons(40, noise=0.1, random_state=0)
    frame = pd.DataFrame(X, columns=["east", "north"])
    gp = kind("matern52", **ONE_START).fit(frame, y)
    gp.save(tmp_path / "gp")
    ask = "predict_proba" if kind is GPClassifier else "predict"
    for again in (kind.load(tmp_path / "gp"), pickle.loads(pickle.dumps(gp))):
        assert_allclose(getattr(again, ask)(frame), getattr(gp, ask)(frame))
        assert again.feature_names_in_.tolist() == ["east", "north"]
        assert_allclose(again.log_marginal_likelihood_value_, gp.log_marginal_likelihood_value_)
    assert load_gp(tmp_path / "gp").inference == "map"
    other = GPClassifier if kind is GPRegressor else GPRegressor
    with pytest.raises(UsageError, match="load it by that class"):
        other.load(tmp_path / "gp")
    with pytest.raises(UsageError, match="no estimator in"):
        kind.load(tmp_path)


def test_mistakes_are_one_line(waves: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = waves
    wrong = {
        "unknown kernel": {"kernel": "rbff"},
        "inference": {"inference": "mcmc"},
        "has no option": {"inference_options": {"draws": 2}},
        "mapping of options": {"inference_options": 2},
        "noise is": {"noise": -1.0},
    }
    for message, parameters in wrong.items():
        with pytest.raises(UsageError, match=message) as caught:
            GPRegressor(**parameters).fit(X, y)
        assert "\n" not in str(caught.value)
    with pytest.raises(NotFittedError):
        _ = clone(GPRegressor()).log_marginal_likelihood_value_
    with pytest.raises(UsageError, match="at most one"):
        GPRegressor(**ONE_START).fit(X, y).predict(X, return_std=True, return_cov=True)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_of_constant_outputs_the_constant_is_predicted_and_the_score_is_one(constant) -> None:
    X = np.random.default_rng(0).normal(size=(12, 2))
    gp = GPRegressor(random_state=0).fit(X, np.full(12, constant))
    assert gp.predict(X + 0.5) == pytest.approx(constant, abs=1e-6)
    assert gp.score(X, np.full(12, constant)) == 1.0
    assert gp.score(X, np.full(12, constant + 1 + abs(constant))) == 0.0


def test_why_constant_outputs_have_no_maximum_is_said() -> None:
    X = np.random.default_rng(0).normal(size=(40, 1))
    gp = GPRegressor(inference="maximum_likelihood", random_state=0)
    with pytest.warns(InferenceWarning, match="y is the same in every row"):
        gp.fit(X, np.full(40, 3.0))
    assert gp.predict(X) == pytest.approx(3.0, abs=1e-4)
