"""Predictions, drawn functions and scores against closed forms."""

import math
from pathlib import Path

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from gp_bo import FittedGP, fit_gp, load_gp
from gp_bo import conditional as conditional_file
from gp_bo.conditional import Conditional
from gp_bo.inference.draws import HyperDraws
from gp_bo.prediction import score_mixture
from pyro_models import UsageError

Data = tuple[Tensor, Tensor]


def _with_draws(fitted: FittedGP, count: int, seed: int) -> FittedGP:
    """The same Gaussian process with draws of its prior in place of what was inferred."""
    generator = torch.Generator().manual_seed(seed)
    size = fitted.gp.hyperparameters.size
    u = torch.randn(count, size, generator=generator, dtype=torch.float64)
    weights = torch.rand(count, generator=generator, dtype=torch.float64)
    draws = HyperDraws(u, weights / weights.sum())
    return FittedGP(
        fitted.gp, fitted.scaling, draws, fitted.X, fitted.y, fitted.inference, fitted.seed
    )


def _by_hand(
    X: Tensor,
    y: Tensor,
    Xs: Tensor,
    *,
    lengthscale: Tensor,
    variance: float,
    noise: float,
    c: float,
) -> tuple[Tensor, Tensor]:
    """Rasmussen & Williams, eq. 2.22–2.24, by explicit inverse."""

    def k(a: Tensor, b: Tensor) -> Tensor:
        return variance * (-0.5 * ((a[:, None] - b) / lengthscale).square().sum(-1)).exp()

    inverse = (k(X, X) + noise * torch.eye(len(X), dtype=X.dtype)).inverse()
    cross = k(X, Xs)
    return c + cross.mT @ inverse @ (y - c), k(Xs, Xs) - cross.mT @ inverse @ cross


@pytest.fixture
def fitted(surface: Data) -> FittedGP:
    return fit_gp(*surface, inference="map")


@pytest.mark.parametrize("scale", [True, False])
def test_prediction_at_one_theta_is_the_closed_form_in_original_units(
    surface: Data, scale: bool
) -> None:
    X, y = surface
    fitted = fit_gp(X, y, inference="maximum_likelihood", scale=scale)
    Xs = X[:5] * 0.9 + 0.05
    theta = {name: value[0] for name, value in fitted.hyperparameters.items()}
    mean, covariance = _by_hand(
        X,
        y,
        Xs,
        lengthscale=theta["lengthscale"],
        variance=float(theta["variance"]),
        noise=float(theta["noise"]),
        c=float(theta["mean"]),
    )
    prediction = fitted.predict(Xs)
    means, covariances = fitted.predictive_draws(Xs)
    assert (prediction.mean - mean).abs().max() < 1e-8
    assert (prediction.variance - covariance.diagonal()).abs().max() < 1e-8
    assert (means[0] - mean).abs().max() < 1e-8
    assert (covariances[0] - covariance).abs().max() < 1e-8
    noisy = fitted.predict(Xs, include_noise=True)
    assert (noisy.variance - covariance.diagonal() - theta["noise"]).abs().max() < 1e-8


def test_the_variance_between_draws_is_part_of_the_prediction(fitted: FittedGP) -> None:
    many = _with_draws(fitted, 7, 0)
    Xs = many.X[:4] + 0.1
    means, covariances = many.predictive_draws(Xs)
    w = many.weights[:, None]
    mean = (w * means).sum(0)
    second_moment = (w * (covariances.diagonal(dim1=-2, dim2=-1) + means.square())).sum(0)
    prediction = many.predict(Xs)
    assert (prediction.mean - mean).abs().max() < 1e-10
    assert (prediction.variance - (second_moment - mean.square())).abs().max() < 1e-9
    within = (w * covariances.diagonal(dim1=-2, dim2=-1)).sum(0)
    assert bool((prediction.variance > within).all())


@pytest.mark.parametrize("include_noise", [False, True])
def test_drawn_functions_have_the_joint_covariance(fitted: FittedGP, include_noise: bool) -> None:
    Xs = fitted.X[:3] * 0.97 + 0.01
    means, covariances = fitted.predictive_draws(Xs, include_noise=include_noise)
    n = 20000
    drawn = fitted.sample(Xs, n, include_noise=include_noise, seed=1)
    scale = covariances[0].diagonal().sqrt()
    assert ((drawn.mean(0) - means[0]).abs() < 4 * scale / math.sqrt(n)).all()
    # the standard error of an entry of a sample covariance is √((Σ_ii Σ_jj + Σ_ij²) / n)
    error = ((scale[:, None] * scale).square() + covariances[0].square()).div(n).sqrt()
    assert ((drawn.mT.cov() - covariances[0]).abs() < 4 * error).all()


def test_each_drawn_function_has_one_theta(fitted: FittedGP) -> None:
    many = _with_draws(fitted, 3, 2)
    Xs = many.X[:2] + 0.2
    n = 30000
    drawn = many.sample(Xs, n, include_noise=True, seed=5)
    means, covariances = many.predictive_draws(Xs, include_noise=True)
    w = many.weights[:, None, None]
    mean = (w[..., 0] * means).sum(0)
    offset = means - mean
    expected = (w * (covariances + offset[..., None] * offset[:, None])).sum(0)
    spread = expected.diagonal()
    error = (3 * spread[:, None] * spread / n).sqrt()  # heavier tails than a normal's
    assert ((drawn.mT.cov() - expected).abs() < 4 * error).all()


def test_marginal_draws_are_independent_given_theta(fitted: FittedGP) -> None:
    Xs = fitted.X[:1].repeat(2, 1) + 0.1
    n = 20000
    drawn = fitted.sample(Xs, n, joint=False, seed=3)
    assert abs(float(drawn.mT.corrcoef()[0, 1])) < 4 / math.sqrt(n)
    together = fitted.sample(Xs, n, seed=3)
    assert float(together.mT.corrcoef()[0, 1]) > 0.999


def test_predictions_in_pieces_are_the_same(
    fitted: FittedGP, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = _with_draws(fitted, 6, 1)
    Xs = many.X + 0.1
    marginal, joint = many.predictive_marginals(Xs), many.predictive_draws(Xs)
    monkeypatch.setattr(conditional_file, "_MAX_ELEMENTS", 200)
    monkeypatch.setattr(conditional_file, "_MAX_KEPT", 10)
    again = Conditional(many.gp, many.scaled_hyperparameters)
    object.__setattr__(many, "conditional", again)
    for a, b in zip(
        (*marginal, *joint),
        (*many.predictive_marginals(Xs), *many.predictive_draws(Xs)),
        strict=True,
    ):
        assert (a - b).abs().max() < 1e-10


def test_predictions_have_gradients_in_the_inputs(fitted: FittedGP) -> None:
    Xs = (fitted.X[:2] + 0.1).requires_grad_()
    (gradient,) = torch.autograd.grad(fitted.predict(Xs).mean.sum(), Xs)
    with torch.no_grad():
        for d in range(2):
            step = torch.zeros_like(Xs)
            step[:, d] = 1e-5
            rise = fitted.predict(Xs + step).mean - fitted.predict(Xs - step).mean
            assert (rise / 2e-5 - gradient[:, d]).abs().max() < 1e-6


def test_scores_of_a_mixture_are_those_of_the_mixture() -> None:
    y = torch.tensor([0.3, -1.0, 2.5, 9.0], dtype=torch.float64)
    means = torch.tensor([[0.0] * 4, [1.0] * 4], dtype=torch.float64)
    variances = torch.tensor([[1.0] * 4, [0.25] * 4], dtype=torch.float64)
    weights = torch.tensor([0.3, 0.7], dtype=torch.float64)
    scores = score_mixture(y, means, variances, weights, levels=(0.5, 0.9))
    parts = torch.distributions.Normal(means[:, 0], variances[:, 0].sqrt())
    mixture = torch.distributions.MixtureSameFamily(torch.distributions.Categorical(weights), parts)
    assert scores.log_density == pytest.approx(float(mixture.log_prob(y).mean()), abs=1e-12)
    inside = (mixture.cdf(y) - 0.5).abs() < 0.25
    assert scores.coverage[0.5] == pytest.approx(float(inside.double().mean()))
    squared = (y - 0.7).square()
    assert scores.rmse == pytest.approx(float(squared.mean().sqrt()))
    assert scores.rmse_error == pytest.approx(float(squared.std() / 2) / (2 * scores.rmse))
    assert scores.coverage_error[0.9] == pytest.approx(math.sqrt(0.09 / 4))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_intervals_cover_what_they_say_when_the_model_is_true(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    X = torch.rand(430, 1, generator=generator, dtype=torch.float64)
    distance = (X - X.mT) / 0.2
    K = (-0.5 * distance.square()).exp() + 0.1 * torch.eye(430, dtype=torch.float64)
    normal = torch.randn(430, generator=generator, dtype=torch.float64)
    y = torch.linalg.cholesky(K) @ normal
    priors = {"lengthscale": 0.2, "variance": 1.0, "noise": dist.LogNormal(-2.3, 0.05)}
    fitted = fit_gp(X[:30], y[:30], inference="map", mean="zero", priors=priors)
    scores = fitted.score(X[30:], y[30:])
    for level, covered in scores.coverage.items():
        # outputs at near inputs go together: twice the error of independent ones
        assert abs(covered - level) < 8 * scores.coverage_error[level]


def test_a_saved_gaussian_process_predicts_the_same(surface: Data, tmp_path: Path) -> None:
    priors = {"lengthscale": dist.Gamma(2.0, torch.tensor([1.0, 3.0])), "variance": 2.0}
    fitted = fit_gp(*surface, kernel="rbf * periodic + linear", inference="map")
    own = fit_gp(*surface, inference="map", priors=priors, scale=True)
    for i, one in enumerate((fitted, own)):
        folder = tmp_path / str(i)
        one.save(folder)
        again = load_gp(folder)
        Xs = one.X + 0.3
        assert torch.equal(again.predict(Xs).mean, one.predict(Xs).mean)
        assert torch.equal(again.sample(Xs, 2, seed=4), one.sample(Xs, 2, seed=4))
        assert again.diagnostics == one.diagnostics
        assert again.gp.kernel == one.gp.kernel
        for name, value in one.hyperparameters.items():
            assert torch.equal(again.hyperparameters[name], value)
        assert sorted(p.name for p in folder.iterdir()) == ["gp.json", "gp.safetensors"]


def test_files_of_two_saves_are_not_read_together(surface: Data, tmp_path: Path) -> None:
    folder = tmp_path
    with pytest.raises(UsageError, match="no Gaussian process"):
        load_gp(folder)
    fit_gp(*surface, inference="map").save(folder)
    settings = (folder / "gp.json").read_text()
    fit_gp(*surface, inference="maximum_likelihood").save(folder)
    (folder / "gp.json").write_text(settings)
    with pytest.raises(UsageError, match="belong together"):
        load_gp(folder)
