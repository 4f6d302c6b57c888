"""What a scikit-learn user does with a pair: fit, transform, score, predict, search, keep."""

import pickle
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp, softmax
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris, make_blobs
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import inference
from inference.estimators import PairClassifier, PairEstimator
from inference.learning import Run
from pyro_models import PPCA, VAE, UsageError
from pyro_models.models import PAIRS

QUICK: dict[str, Any] = {"epochs": 1, "random_state": 0, "num_particles": 5, "curve_size": 0}
PIXELS = {"data_shape": (1, 8, 8)}
SMALL = {"hidden": [8], "latent_dim": 2}
LAYERS = {"hidden": [8, 8], "top_hidden": [8, 8], "latent_dims": [3, 2]}
DENSE = {"class_path": "dense", "init_args": {"hidden": [8]}}
FEW_STEPS = {"infer_options": {"max_steps": 5, "starts": 4}}
EVERYTHING = {"transform", "inverse_transform", "sample"}
LABELS = {"predict", "predict_proba"}

# parameters, number of latents, what it has, and what log p(x) is
CASES: dict[str, tuple[dict[str, Any], int, set[str], str]] = {
    "vae": ({"options": SMALL}, 2, EVERYTHING, "lower bound"),
    "cvae": ({"options": SMALL}, 2, EVERYTHING | LABELS, "lower bound"),
    "m2": ({"options": SMALL}, 2, EVERYTHING | LABELS, "lower bound"),
    "two_layer_vae": ({"options": LAYERS}, 5, EVERYTHING, "lower bound"),
    "hvae": ({"options": LAYERS}, 5, EVERYTHING, "lower bound"),
    "ppca": ({"options": {"latent_dim": 3}}, 3, EVERYTHING, "exact"),
    "gmm": ({"options": {"num_components": 4}}, 4, EVERYTHING | LABELS, "exact"),
    "flow": ({"options": {"flow": DENSE}}, 16, EVERYTHING, "exact"),
    "bernoulli_mixture": (
        {"options": {"num_components": 4}, "binarize": 0.5}, 4, EVERYTHING | LABELS, "exact",
    ),
    "completion_cvae": (
        {"options": SMALL, "binarize": 0.5, **PIXELS}, 2, {"transform"}, "lower bound",
    ),
    "diffusion": (
        {"options": {"num_steps": 3, "denoiser": "dense", "hidden": [8], "levels": 17}},
        0, {"sample"}, "lower bound",
    ),
    "generator": (
        {"options": SMALL, "objective": "adversarial", **FEW_STEPS}, 2, EVERYTHING, "lower bound",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    return X[:150] / 16, y[:150]


@pytest.mark.parametrize("name", PAIRS)
def test_every_registered_pair_is_an_estimator(
    name: str, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    parameters, size, has, kind = CASES[name]
    X, y = digits
    X = X[:, 16:32] if name in ("diffusion", "flow") else X
    estimator = PairEstimator(name, **parameters, **QUICK)
    methods = EVERYTHING | LABELS | {"fit_transform", "get_feature_names_out"}
    has = has | ({"fit_transform", "get_feature_names_out"} if "transform" in has else set())
    assert {m for m in methods if hasattr(estimator, m)} == has
    assert estimator.fit(X, y) is estimator
    assert {m for m in methods if hasattr(estimator, m)} == has
    few = X[:3]
    scores = estimator.score_samples(few)
    assert scores.shape == (3,)
    assert np.isfinite(scores).all()
    assert estimator.score_kind_ == estimator.evidence(few).kind == kind
    if "transform" in has:
        Z = estimator.transform(few)
        assert Z.shape == (3, size) == (3, len(estimator.get_feature_names_out()))
        assert Z.dtype == np.float64
    if "inverse_transform" in has:
        again = estimator.inverse_transform(Z)
        assert again.shape == few.shape
        assert np.isfinite(again).all()
    if "predict" in has:
        p = estimator.predict_proba(few)
        assert_allclose(p.sum(1), 1, rtol=1e-5)
        assert (estimator.predict(few) == estimator.classes_[p.argmax(1)]).all()
    if "sample" in has:
        drawn = estimator.sample(4)
        assert drawn.shape == (4, X.shape[1])
        assert (drawn == estimator.sample(4)).all()
        assert not (drawn == estimator.sample(4, random_state=1)).all()
    kept = pickle.loads(pickle.dumps(estimator))
    assert kept.score(few) == scores.mean()


@pytest.mark.parametrize("name", ["vae", "m2", "ppca", "gmm"])
def test_the_same_random_state_gives_the_same_numbers_and_a_clone_is_not_fitted(
    name: str, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    X, y = digits
    estimator = PairEstimator(name, **CASES[name][0], **{**QUICK, "solver": "gradient"})
    first = estimator.fit(X, y).score(X)
    copy = clone(estimator)
    with pytest.raises(NotFittedError):
        copy.score(X)
    assert copy.fit(X, y).score(X) == first
    other = clone(estimator).set_params(random_state=np.random.RandomState(1)).fit(X, y)
    assert other.score(X) != first


def test_ppca_is_the_pca_of_scikit_learn(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, _ = digits
    ours = PairEstimator("ppca", options={"latent_dim": 5, "ddof": 1}).fit(X)
    pca = PCA(5).fit(X)
    assert ours.solver_ == "maximum_likelihood"
    assert ours.score_kind_ == "exact"
    assert_allclose(ours.score_samples(X), pca.score_samples(X), atol=1e-4)
    Z, P = ours.transform(X), pca.transform(X)
    # z = R diag(√(λ − σ²)/λ) Uᵀ (x − μ), R a sign of each component
    shrunk = np.sqrt(pca.explained_variance_ - pca.noise_variance_) / pca.explained_variance_
    assert_allclose(np.abs(Z), np.abs(P * shrunk), atol=1e-6)


def test_a_guide_of_each_row_is_fitted_instead_of_the_encoder(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    X = digits[0]
    vae = PairEstimator("vae", options=SMALL, **QUICK).fit(X)
    steps = {"max_steps": 50, "starts": 4, "lr": 0.2}
    free = PairEstimator.of_pair(vae.pair_, guide="normal", infer_options=steps)
    assert free.score(X[:4]) > vae.score(X[:4]) + 1
    assert not np.allclose(free.transform(X[:2]), vae.transform(X[:2]), atol=0.1)


def test_the_gmm_is_as_good_as_that_of_scikit_learn() -> None:
    X, _ = make_blobs(300, centers=3, n_features=2, cluster_std=[0.5, 1.0, 1.5], random_state=1)
    theirs = GaussianMixture(3, covariance_type="full", random_state=0).fit(X)
    options = {"num_components": 3, "covariance": "full", "floor": 1e-6}
    ours = PairEstimator("gmm", options=options, epochs=40, lr=0.03, random_state=0).fit(X)
    assert_allclose(ours.score(X), theirs.score(X), atol=0.02)
    agree = pd.crosstab(ours.predict(X), theirs.predict(X)).to_numpy()
    assert agree.max(0).sum() >= 295


def test_a_pipeline_learns_a_classifier_on_latents(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X, y = digits
    ppca = PairEstimator("ppca", options={"latent_dim": 10})
    pipeline = make_pipeline(StandardScaler(), ppca, LogisticRegression())
    assert pipeline.fit(X[:100], y[:100]).score(X[100:], y[100:]) > 0.8
    deep = pipeline.set_params(pairestimator__options__latent_dim=2)
    assert deep.fit(X, y)[1].pair_.latent_dim == 2
    assert ppca.options == {"latent_dim": 2}


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_grid_search_finds_the_number_of_latents(n_jobs: int) -> None:
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 2)) @ random.normal(size=(2, 8)) * 3
    X += random.normal(size=X.shape)
    grid = {"options__latent_dim": [1, 2, 6]}
    search = GridSearchCV(PairEstimator("ppca"), grid, cv=3, n_jobs=n_jobs).fit(X)
    assert search.best_params_ == {"options__latent_dim": 2}
    assert search.best_estimator_.pair_.latent_dim == 2
    pca = GridSearchCV(PCA(), {"n_components": [1, 2, 6]}, cv=3).fit(X)
    assert_allclose(search.cv_results_["mean_test_score"], pca.cv_results_["mean_test_score"],
                    rtol=0.01)  # fmt: skip


def test_a_classifier_is_scored_by_accuracy_and_knows_the_words_of_its_labels() -> None:
    iris = load_iris()
    names = iris.target_names[iris.target]
    options = {"hidden": [16], "latent_dim": 2, "classification_weight": 10.0}
    m2 = PairClassifier(options=options, epochs=15, lr=0.05, batch_size=32, random_state=0)
    assert cross_val_score(m2, iris.data, names, cv=2).mean() > 0.85
    known = np.where(np.arange(150) % 5 == 0, names.astype(object), None)
    half = clone(m2).set_params(labelled_per_batch=8).fit(iris.data, known)
    assert half.classes_.tolist() == iris.target_names.tolist()
    assert half.score(iris.data, names) > 0.85
    with pytest.raises(UsageError, match="is no model of labelled data"):
        PairClassifier("vae").fit(iris.data, names)


def test_labels_that_are_given_to_a_model_are_summed_out() -> None:
    X, y = make_blobs([40, 20], n_features=3, random_state=0)
    y = 2 * y - 1  # −1 is a class here, as no label may be missing
    cvae = PairEstimator("cvae", options=SMALL, **{**QUICK, "epochs": 60, "lr": 0.03}).fit(X, y)
    assert cvae.classes_.tolist() == [-1, 1]
    assert_allclose(np.exp(cvae.class_log_prior_), [2 / 3, 1 / 3])
    assert (cvae.predict(X) == y).mean() > 0.95
    joint = np.stack([
        inference.evaluation.evidence(cvae.pair_, X, y=c, method="importance", num_particles=5)
        .value.numpy() + cvae.class_log_prior_[c] for c in (0, 1)
    ], 1)  # fmt: skip
    assert_allclose(cvae.score_samples(X), logsumexp(joint, 1), rtol=1e-6)
    assert_allclose(cvae.predict_proba(X), softmax(joint, 1), atol=1e-6)
    Z = cvae.transform(X)
    one, other = (cvae.inverse_transform(Z, y=c) for c in (-1, 1))
    # the prior of z is the same for both, so that p(y | z) = p(y)
    assert_allclose(cvae.inverse_transform(Z), (2 * one + other) / 3, rtol=1e-5)
    drawn = cvae.sample(200, y=1)
    assert np.linalg.norm(drawn.mean(0) - X[y == 1].mean(0)) < 1.5
    with pytest.raises(UsageError, match="y holds 3, and the classes are -1, 1"):
        cvae.sample(2, y=3)


def test_frames_give_names_and_nan_is_unseen_where_asked() -> None:
    frame = load_iris(as_frame=True).data
    ppca = PairEstimator("ppca", options={"latent_dim": 2}).set_output(transform="pandas")
    Z = ppca.fit_transform(frame.iloc[10:])
    assert ppca.feature_names_in_.tolist() == frame.columns.tolist()
    assert Z.columns.tolist() == ["z_0", "z_1"]
    assert Z.index[0] == 10
    with pytest.raises(ValueError, match="feature names should match"):
        ppca.transform(frame[frame.columns[::-1]])
    holes = frame.copy()
    holes.iloc[::2, 1] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        clone(ppca).fit(holes)
    half = clone(ppca).set_params(missing="unseen", epochs=30, lr=0.03, random_state=0)
    assert half.fit(holes).solver_ == "gradient"
    mask = ~np.isnan(holes.to_numpy()[:2])
    exact = half.pair_.exact_posterior(np.nan_to_num(holes.to_numpy()[:2]), mask)
    assert_allclose(half.transform(holes.iloc[:2]), exact.mean.detach().numpy(), rtol=1e-6)
    assert half.score(holes) > half.score(holes + 3)


def test_a_flow_goes_there_and_back_and_layers_are_averaged(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    X = digits[0][:, 20:24]
    flow = PairEstimator("flow", options={"flow": DENSE}, **QUICK).fit(X)
    assert_allclose(flow.inverse_transform(flow.transform(X)), X, atol=1e-6)
    layers = PairEstimator("hvae", options=LAYERS, **{**QUICK, "num_particles": 400}).fit(X)
    names = layers.get_feature_names_out().tolist()
    assert names == ["z1_0", "z1_1", "z1_2", "z2_0", "z2_1"]
    twice = layers.transform(np.concatenate([X[:1], X[:1]]))
    assert_allclose(twice[0], twice[1], atol=0.2)


def test_float32_stays_float32(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X = digits[0].astype(np.float32)
    vae = PairEstimator("vae", options=SMALL, **QUICK).fit(X)
    assert {str(p.dtype) for p in vae.pair_.parameters()} == {"torch.float32"}
    assert vae.transform(X).dtype == vae.sample(2).dtype == np.float32
    assert vae.transform(X.astype(np.float64)).dtype == np.float64


def test_an_estimator_is_fitted_again_with_another_model(
    digits: tuple[np.ndarray, np.ndarray],
) -> None:
    X, y = digits
    estimator = PairEstimator("m2", options=SMALL, **QUICK).fit(X, y)
    assert len(estimator.classes_) == 10
    estimator.set_params(model="ppca", options={"latent_dim": 4}).fit(X)
    assert estimator.transform(X).shape == (150, 4)
    assert not hasattr(estimator, "classes_")
    assert not hasattr(estimator, "predict")


def test_a_model_of_a_file_is_found_by_its_name(
    digits: tuple[np.ndarray, np.ndarray], tmp_path
) -> None:
    (tmp_path / "mine.py").write_text(
        "from pyro_models import VAE\n\n\nclass Mine(VAE):\n    pass\n", encoding="utf-8"
    )
    estimator = PairEstimator(f"{tmp_path}/mine.py:Mine", options=SMALL, **QUICK)
    found = clone(estimator).fit(digits[0])
    assert type(found.pair_).__name__ == "Mine"
    found.save(tmp_path / "run")
    again = PairEstimator.load(tmp_path / "run")
    assert again.score(digits[0]) == found.score(digits[0])


class Own(VAE):
    """A class of the user's."""


def _made(data_shape: tuple[int, ...], latent_dim: int = 3) -> PPCA:
    return PPCA(data_shape, latent_dim=latent_dim)


def test_a_class_a_function_and_a_pair_are_models(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X = digits[0]
    own = PairEstimator(Own, options=SMALL, **QUICK).fit(X)
    assert type(own.pair_) is Own
    assert own.pair_.likelihood.name == "gaussian"
    made = PairEstimator(partial(_made, latent_dim=4), **QUICK).fit(X)
    assert made.transform(X).shape == (150, 4)
    pair = VAE((64,), likelihood="gaussian", **SMALL)
    before = {name: p.clone() for name, p in pair.named_parameters()}
    learned = PairEstimator(pair, **QUICK).fit(X)
    assert all((p == before[name]).all() for name, p in pair.named_parameters())
    assert learned.pair_ is not pair
    assert learned.result_.history.epochs[0].epoch == 1
    with pytest.raises(UsageError, match="leave options out"):
        PairEstimator(pair, options=SMALL, **QUICK).fit(X)
    ppca = PPCA.maximum_likelihood(
        learned.pair_.likelihood.units.centre.new_tensor(X), latent_dim=2
    )
    known = PairEstimator.of_pair(ppca)
    assert_allclose(known.score_samples(X), ppca.exact_log_prob(X).detach().numpy())


def test_early_stopping_validates_on_a_fraction(digits: tuple[np.ndarray, np.ndarray]) -> None:
    X = digits[0]
    vae = PairEstimator("vae", options=SMALL, **{**QUICK, "epochs": 4}, patience=1)
    with pytest.raises(UsageError, match="need a validation split"):
        vae.fit(X)
    history = vae.set_params(validation_fraction=0.2).fit(X).result_.history
    assert history.epochs[0].validation is not None


@pytest.mark.parametrize("name", ["vae", "cvae", "gmm", "ppca"])
def test_an_estimator_is_kept_in_a_run_folder(
    name: str, digits: tuple[np.ndarray, np.ndarray], tmp_path
) -> None:
    X, y = digits
    frame = pd.DataFrame(X).add_prefix("pixel")
    estimator = PairEstimator(name, **CASES[name][0], **QUICK).fit(frame, y.astype(str))
    estimator.save(tmp_path / "run")
    again = PairEstimator.load(tmp_path / "run")
    assert (again.score_samples(frame) == estimator.score_samples(frame)).all()
    assert again.get_params()["options"] == estimator.options
    assert again.result_.history.epochs == estimator.result_.history.epochs
    assert again.feature_names_in_.tolist() == frame.columns.tolist()
    if name == "cvae":
        assert again.classes_.tolist() == estimator.classes_.tolist()
        assert_allclose(again.predict_proba(frame), estimator.predict_proba(frame))
    assert type(Run(tmp_path / "run").load_pair()) is PAIRS[name]
    with pytest.raises(UsageError, match="already holds a run"):
        estimator.save(tmp_path / "run")
    estimator.save(tmp_path / "run", force=True)
    with pytest.raises(UsageError, match="load it by that class"):
        PairClassifier.load(tmp_path / "run")


def test_what_no_file_can_hold_is_refused(digits: tuple[np.ndarray, np.ndarray], tmp_path) -> None:
    estimator = PairEstimator("vae", options=SMALL, objective=inference.objectives.IWAE, **QUICK)
    with pytest.raises(UsageError, match="objective of this estimator is an object"):
        estimator.fit(digits[0]).save(tmp_path / "run")
    with pytest.raises(UsageError, match=r"has no run\.json"):
        PairEstimator.load(tmp_path / "run")


MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    "model": ({"model": "vea"}, "unknown model 'vea'"),
    "model of no kind": ({"model": 3}, "a model is a name, a class"),
    "type": ({"model": "ppca", "options": {"latent_dim": "two"}}, "latent_dim must be int"),
    "binarize": ({"binarize": "half"}, "binarize is a number"),
    "callbacks": ({"callbacks": print}, "callbacks are a list"),
    "no shape": ({"data_shape": 64}, "data_shape is some whole numbers"),
    "option": ({"options": {"latents": 2}}, "has no option latents"),
    "options": ({"options": 2}, "options are a mapping"),
    "setting": ({"epochs": -1}, "epochs must be at least 0"),
    "solver": ({"solver": "em"}, "unknown solver 'em'"),
    "no closed form": ({"solver": "maximum_likelihood"}, "no maximum_likelihood of its own"),
    "shape": ({"data_shape": (1, 8, 9)}, "has 72 values, and X has 64"),
    "missing": ({"missing": "drop"}, "unknown missing 'drop'"),
    "fraction": ({"validation_fraction": 1.5}, "at least 0 and below 1"),
    "seed": ({"random_state": -3}, r"[Ss]eed"),
    "particles": ({"num_particles": 0}, "num_particles must be at least 1"),
    "labels": ({"model": "m2"}, "requires y to be passed"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, digits: tuple[np.ndarray, np.ndarray]) -> None:
    parameters, message = MISTAKES[mistake]
    with pytest.raises(ValueError, match=message) as caught:
        PairEstimator(**{"random_state": 0, **parameters}).fit(digits[0])
    assert "\n" not in str(caught.value)


def test_a_parameter_that_is_none_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="has no parameter latent_dim"):
        PairEstimator("vae", latent_dim=2)
    with pytest.raises(ValueError, match="Invalid parameter"):
        PairEstimator("vae").set_params(latent_dim=2)
