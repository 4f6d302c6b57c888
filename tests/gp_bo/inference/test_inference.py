"""Every inference against a hyper-posterior that is known exactly, and against quadrature."""

import dataclasses
import importlib
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import autoguide
from torch import Tensor

from gp_bo import InferenceWarning, fit_gp
from gp_bo.examination.sheet import exam_priors, fit_exam
from gp_bo.fitted import FittedGP
from gp_bo.inference import INFERENCES, laplace, quadrature, svi
from gp_bo.inference.maximize import maximize, starting_points
from gp_bo.inference.nuts import chain_diagnostics
from gp_bo.inference.point import map_estimate, maximum_likelihood
from gp_bo.inference.svi import _NO_GUIDES
from gp_bo.kernels import Pairs, make_kernel
from gp_bo.model import GPModel, HyperPosterior
from pyro_models import UsageError

# of chains that are compared with the truth themselves
few_draws = pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")

LINE = {"lengthscale": 0.3, "variance": 0.5, "noise": 0.05}


@pytest.fixture(scope="module")
def line() -> tuple[GPModel, Tensor, Tensor, float]:
    """A model whose only unknowns are bias b and weight w of the mean, both N(0, 1).

    Their posterior is Normal: with H = [1, x], Λ = I + Hᵀ Σ⁻¹ H and Λ m = Hᵀ Σ⁻¹ y.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(9, 1, generator=generator, dtype=torch.float64)
    y = 0.4 - x[:, 0] + 0.3 * torch.randn(9, generator=generator, dtype=torch.float64)
    kernel = make_kernel("rbf")
    gp = GPModel(x, y, kernel=kernel, mean="linear", priors=LINE)
    theta = {n: torch.full((1,), v, dtype=torch.float64) for n, v in LINE.items()}
    theta["lengthscale"] = theta["lengthscale"][:, None]
    eye = torch.eye(9, dtype=torch.float64)
    covariance = kernel.covariance(theta, Pairs(x, x))[0] + 0.05 * eye
    H = torch.cat([torch.ones_like(x), x], dim=1)
    precision = torch.eye(2, dtype=torch.float64) + H.mT @ covariance.inverse() @ H
    mean = precision.inverse() @ H.mT @ covariance.inverse() @ y
    marginal = torch.distributions.MultivariateNormal(torch.zeros_like(y), covariance + H @ H.mT)
    return gp, mean, precision.inverse(), float(marginal.log_prob(y))


def test_the_mode_of_a_normal_posterior_is_its_mean(
    line: tuple[GPModel, Tensor, Tensor, float],
) -> None:
    gp, mean, _, _ = line
    found = map_estimate(gp, seed=1)
    assert (found.unconstrained[0] - mean).abs().max() < 1e-6


def test_laplace_is_exact_for_a_normal_posterior(
    line: tuple[GPModel, Tensor, Tensor, float],
) -> None:
    gp, mean, covariance, log_evidence = line
    found = laplace(gp, num_draws=20000, seed=2)
    assert (torch.tensor(found.details["mode"]) - mean).abs().max() < 1e-6
    assert found.details["log_evidence"] == pytest.approx(log_evidence, abs=1e-6)
    deviation = covariance.diagonal().sqrt()
    assert ((found.unconstrained.mean(0) - mean).abs() < 4 * deviation / math.sqrt(20000)).all()
    error = ((deviation[:, None] * deviation).square() + covariance.square()).div(20000).sqrt()
    assert ((found.unconstrained.mT.cov() - covariance).abs() < 4 * error).all()


def test_quadrature_is_exact_for_a_normal_posterior(
    line: tuple[GPModel, Tensor, Tensor, float],
) -> None:
    gp, mean, covariance, log_evidence = line
    found = quadrature(gp)
    u, w = found.unconstrained, found.weights
    assert (w @ u - mean).abs().max() < 1e-9
    offset = u - mean
    assert ((w[:, None] * offset).mT @ offset - covariance).abs().max() < 1e-8
    assert found.details["log_evidence"] == pytest.approx(log_evidence, abs=1e-8)


def test_a_full_guide_finds_a_normal_posterior(
    line: tuple[GPModel, Tensor, Tensor, float],
) -> None:
    gp, mean, covariance, log_evidence = line
    found = svi(gp, steps=150, lr=0.1, num_draws=4000, seed=0)
    deviation = covariance.diagonal().sqrt()
    # a tenth of a deviation for what is left of the optimisation, besides the draws' own error
    assert ((found.unconstrained.mean(0) - mean).abs() < 0.15 * deviation).all()
    assert (found.unconstrained.std(0) / deviation - 1).abs().max() < 0.1
    assert found.details["elbo"] == pytest.approx(log_evidence, abs=0.03)


def test_maximum_likelihood_of_a_line_is_generalised_least_squares(
    line: tuple[GPModel, Tensor, Tensor, float],
) -> None:
    gp, mean, covariance, _ = line
    precision = covariance.inverse()
    # without the prior: Λ − I in place of Λ
    expected = (precision - torch.eye(2)).inverse() @ precision @ mean
    assert (maximum_likelihood(gp).unconstrained[0] - expected).abs().max() < 1e-5


@pytest.fixture(scope="module")
def reference() -> FittedGP:
    return fit_exam(inference="quadrature")


def _moments(fitted: FittedGP) -> tuple[Tensor, Tensor]:
    u, w = fitted.draws.unconstrained, fitted.weights
    mean = w @ u
    return mean, (w @ (u - mean).square()).sqrt()


def test_quadrature_of_the_examination_does_not_depend_on_its_grid(reference: FittedGP) -> None:
    coarse = fit_exam(inference="quadrature", num_points=61)
    for a, b in zip(_moments(coarse), _moments(reference), strict=True):
        assert (a - b).abs().max() < 1e-5
    assert coarse.diagnostics["log_evidence"] == pytest.approx(
        reference.diagnostics["log_evidence"], abs=1e-5
    )


@few_draws
@pytest.mark.parametrize("seed", [0, 1])
def test_nuts_has_the_moments_of_the_quadrature(reference: FittedGP, seed: int) -> None:
    mean, deviation = _moments(reference)
    fitted = fit_exam(num_draws=1600, num_chains=16, warmup=150, seed=seed)
    u = fitted.draws.unconstrained
    ess = torch.tensor(list(fitted.diagnostics["bulk_ess"].values()))
    assert ((u.mean(0) - mean).abs() < 3 * deviation / ess.sqrt()).all()
    # the variance of a sample variance of a kurtosis of about 5 is four times σ⁴ over the ESS
    assert ((u.var(0) / deviation.square() - 1).abs() < 3 * 2 / ess.sqrt()).all()
    assert max(fitted.diagnostics["rhat"].values()) < 1.05
    x = torch.linspace(-0.9, 0.9, 7, dtype=torch.float64)
    exact, ours = reference.predict(x), fitted.predict(x)
    assert ((ours.mean - exact.mean).abs() < 0.2 * exact.standard_deviation).all()


def test_svi_comes_near_the_quadrature(reference: FittedGP) -> None:
    fitted = fit_exam(inference="svi", steps=120, lr=0.1)
    mean, deviation = _moments(reference)
    assert ((fitted.draws.unconstrained.mean(0) - mean).abs() < 0.5 * deviation).all()
    gap = reference.diagnostics["log_evidence"] - fitted.diagnostics["elbo"]
    assert 0 < gap < 0.6


@pytest.mark.parametrize(
    "guide", [n for n in autoguide.__all__ if n.startswith("Auto") and n not in _NO_GUIDES]
)
def test_any_autoguide_may_be_named(guide: str) -> None:
    fitted = fit_exam(inference="svi", guide=guide, steps=40, num_draws=5)
    assert fitted.hyperparameters["lengthscale"].shape == (5, 1)
    assert fitted.hyperparameters["lengthscale"].dtype == torch.float64
    assert torch.get_default_dtype() == torch.float32


def test_the_guide_by_laplace_has_the_width_of_the_posterior(
    line: tuple[GPModel, Tensor, Tensor, float],
) -> None:
    gp, mean, covariance, log_evidence = line
    found = svi(gp, guide="AutoLaplaceApproximation", steps=100, lr=1e-3, num_draws=20000)
    drawn = found.unconstrained
    error = (covariance.diagonal() / len(drawn)).sqrt()
    assert ((drawn.mean(0) - mean).abs() < 4 * error + 2e-3).all()
    assert (drawn.T.cov() / covariance - 1).abs().max() < 0.06
    assert found.details["elbo"] == pytest.approx(log_evidence, abs=0.01)


def test_a_guide_of_ones_own_is_made_from_the_model() -> None:
    from pyro.infer.autoguide import AutoLowRankMultivariateNormal

    made = []

    def low_rank(model: GPModel) -> AutoLowRankMultivariateNormal:
        made.append(AutoLowRankMultivariateNormal(model, rank=1))
        return made[-1]

    before = set(pyro.get_param_store())
    fit_exam(inference="svi", guide=low_rank, steps=40, num_draws=3)
    assert len(made) == 1
    assert set(pyro.get_param_store()) == before


def test_a_quadrature_keeps_its_weights(reference: FittedGP) -> None:
    x = torch.tensor([0.2], dtype=torch.float64)
    means, _ = reference.predictive_marginals(x)
    w = reference.weights
    assert float(w.sum()) == pytest.approx(1.0)
    assert float(reference.predict(x).mean) == pytest.approx(float(w @ means[:, 0]))
    drawn = reference.sample(x, 4000, seed=1)
    prediction = reference.predict(x)
    error = float(prediction.standard_deviation) / math.sqrt(4000)
    assert abs(float(drawn.mean() - prediction.mean)) < 4 * error


def test_the_two_readings_of_the_sheet_differ_as_they_should() -> None:
    square = exam_priors("squared_lengthscale")["lengthscale"]
    lengthscale = torch.tensor([0.2, 1.3], dtype=torch.float64)
    of_square = dist.LogNormal(-1.0, 1.0).log_prob(lengthscale.square())
    # p(ℓ) = p(ℓ²) · 2ℓ
    assert (square.log_prob(lengthscale) - of_square - (2 * lengthscale).log()).abs().max() < 1e-6
    with pytest.raises(UsageError, match="prior_on"):
        fit_exam(prior_on="variance")


@pytest.mark.parametrize("count", [1, 5])
def test_climbs_do_not_depend_on_the_batch(
    line: tuple[GPModel, Tensor, Tensor, float], count: int
) -> None:
    x = torch.linspace(0, 1, 8, dtype=torch.float64)[:, None]
    gp = GPModel(x, (6 * x[:, 0]).sin(), kernel=make_kernel("rbf"), mean="zero", priors={})
    starts = starting_points(gp, 5, generator=torch.Generator().manual_seed(0))
    together = maximize(HyperPosterior(gp), starts)
    alone = maximize(HyperPosterior(gp), starts[count - 1 : count])
    distance = (together.points - alone.points[0]).abs().amax(-1)
    assert float(distance.min()) < 1e-4


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # few draws, for speed
@pytest.mark.parametrize("seed", [0, 1])
def test_near_duplicates_are_survived(seed: int) -> None:
    x = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0] + [0.3 + 1e-7 * i for i in range(12)])
    x = x.double()
    y = (20 * x).sin() + 2 * (14 * x).cos() - 2 * (6 * x).sin()
    fitted = fit_exam(x, y, num_draws=200, warmup=150, seed=seed)
    assert fitted.diagnostics["step_size"] > 0.01
    assert fitted.diagnostics["divergences"] < 20
    assert fitted.predict([0.3]).mean.isfinite().all()


def test_chains_that_have_not_converged_say_so_loudly() -> None:
    with pytest.warns(InferenceWarning) as caught:
        fitted = fit_exam(num_draws=16, warmup=20, seed=0)
    text = " ".join(str(w.message) for w in caught)
    assert "independent ones" in text or "NOT converged" in text
    assert fitted.diagnostics["messages"]


def test_a_hyper_parameter_that_never_moved_is_told_whatever_its_place() -> None:
    draws = np.random.default_rng(0).normal(size=(4, 200, 3))
    draws[..., 1] = 1.0
    _, messages = chain_diagnostics(draws, ["a", "b", "c"])
    assert "NOT converged: R-hat of b" in messages[0]
    assert "draws of b" in messages[1]


def _autoregressive(correlation: float, seed: int) -> np.ndarray:
    """Four stationary chains of 1,000 draws of one hyper-parameter."""
    noise = np.random.default_rng(seed).normal(size=(4, 1000, 1))
    draws = noise.copy()
    for i in range(1, 1000):
        draws[:, i] = correlation * draws[:, i - 1]
        draws[:, i] += math.sqrt(1 - correlation**2) * noise[:, i]
    return draws


def test_chains_are_held_to_an_r_hat_of_1_01_and_100_effective_draws_each() -> None:
    good = _autoregressive(0.0, 0)
    assert chain_diagnostics(good, ["a"])[1] == []
    apart = good + 0.15 * np.arange(4)[:, None, None]
    message = chain_diagnostics(apart, ["a"])[1][0]
    assert "do not quite agree: R-hat of a is 1.0" in message
    assert "at most 1.01" in message
    short = _autoregressive(0.9, 1)
    table, messages = chain_diagnostics(short, ["a"])
    assert 100 < table["bulk_ess"]["a"] < 400
    assert "should be worth 400, 100 for each chain" in messages[-1]
    assert chain_diagnostics(short[:1], ["a"])[1][-1].count("worth 100, 100") == 1


def test_short_tails_are_said_where_the_middle_is_known() -> None:
    # of a signed scale that changes slowly: signs, and so the middle, are new in each draw
    signs = np.sign(np.random.default_rng(3).normal(size=(4, 1000, 1)))
    table, messages = chain_diagnostics(signs * np.exp(_autoregressive(0.95, 4)), ["a"])
    assert table["tail_ess"]["a"] < 400 < table["bulk_ess"]["a"]
    assert any("in the tails" in message for message in messages)


def test_one_divergence_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = importlib.import_module("gp_bo.inference.nuts")
    done = 0

    def once(*args: object, **kwargs: object) -> object:
        nonlocal done
        found = transition(*args, **kwargs)
        done += 1
        return dataclasses.replace(found, diverged=found.diverged | (np.arange(4) == done - 30))

    transition = sampler.transition
    monkeypatch.setattr(sampler, "transition", once)
    with pytest.warns(InferenceWarning) as caught:
        fitted = fit_exam(num_draws=80, warmup=30, restarts=2)
    assert fitted.diagnostics["divergences"] == 3
    assert any("3 of 80 transitions diverged" in str(w.message) for w in caught)


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_the_same_seed_gives_the_same_draws() -> None:
    a, b, c = (
        fit_exam(num_draws=32, warmup=20, seed=s, num_chains=8).draws.unconstrained
        for s in (3, 3, 4)
    )
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inference": "nuts", "num_draws": 10}, "multiple of num_chains"),
        ({"inference": "nuts", "warmup": 3}, "at least 20"),
        ({"inference": "nuts", "target_acceptance": 1.5}, "between 0 and 1"),
        ({"inference": "nuts", "max_depth": 0}, "max_depth"),
        ({"inference": "laplace", "num_draws": 0}, "at least 1"),
        ({"inference": "quadrature", "num_points": 3}, "at least 5"),
        ({"inference": "svi", "guide": "AutoMagic"}, "choose from AutoDelta"),
        ({"inference": "svi", "steps": 0}, "at least 1"),
        ({"inference": "svi", "lr": -1.0}, "above 0"),
        ({"inference": "svi", "lr": math.nan}, "above 0"),
        ({"inference": "svi", "guide": 3}, "by name, or a function"),
    ],
)
def test_a_mistake_in_an_option_is_told_in_one_line(options: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        fit_exam(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_quadrature_refuses_more_than_two_unknowns() -> None:
    x = torch.linspace(0, 1, 5, dtype=torch.float64)
    with pytest.raises(UsageError, match="one or two"):
        fit_gp(x, x, inference="quadrature")


@few_draws
@pytest.mark.parametrize("name", [n for n in INFERENCES if n not in ("quadrature",)])
def test_every_inference_fits_the_default_model(name: str) -> None:
    x = torch.linspace(0, 3, 10, dtype=torch.float64)
    options = {"nuts": {"num_draws": 200, "warmup": 100}, "svi": {"steps": 60}}
    fitted = fit_gp(x, x.sin(), inference=name, **options.get(name, {}))  # type: ignore[arg-type]
    middle = torch.tensor([0.5, 1.5, 2.5], dtype=torch.float64)
    prediction = fitted.predict(middle)
    assert (prediction.mean - middle.sin()).abs().max() < 0.05
    assert float(fitted.weights.sum()) == pytest.approx(1.0)


def test_the_density_of_a_gp_whose_hyper_parameters_are_all_fixed_is_its_evidence() -> None:
    X = torch.linspace(0, 1, 8, dtype=torch.float64)[:, None]
    fixed = {"lengthscale": 0.3, "variance": 1.0, "noise": 0.1}
    gp = GPModel(X, X[:, 0].sin(), kernel=make_kernel("rbf"), mean="zero", priors=fixed)
    theta = gp.hyperparameters.constrain(torch.zeros(3, 0, dtype=torch.float64))
    assert gp.hyperparameters.unconstrain(theta).shape == (3, 0)
    value, gradient = HyperPosterior(gp)(torch.zeros(3, 0, dtype=torch.float64))
    assert gradient.shape == (3, 0)
    torch.testing.assert_close(value, gp.evidence.value(theta))
