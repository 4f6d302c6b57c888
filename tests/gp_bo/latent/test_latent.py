"""Labels, counts and outliers: Laplace's approximation against exact answers and other code."""

import math
from typing import Any

import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from gp_bo import InferenceWarning, LatentGP, fit_gp, load_gp
from gp_bo.conditional import Conditional
from gp_bo.figures.bands import bands, slice_figure
from gp_bo.inference.laplace import curvature
from gp_bo.kernels import make_kernel
from gp_bo.latent.fitted import LatentConditional
from gp_bo.latent.model import LatentGPModel
from gp_bo.likelihoods import LIKELIHOODS, Gaussian, Poisson, make_likelihood
from gp_bo.model import GPModel, HyperPosterior
from inference.programs import Program
from pyro_models import UsageError

NAMES = list(LIKELIHOODS)


def _data(name: str, n: int = 12) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    X = torch.rand(n, 2, generator=generator, dtype=torch.float64)
    f = 2 * (5 * X[:, 0]).sin()
    noise = torch.randn(n, generator=generator, dtype=torch.float64)
    y = {
        "gaussian": f + 0.3 * noise,
        "bernoulli": (f + noise > 0).double(),
        "poisson": torch.poisson(f.exp(), generator=generator),
        "student_t": torch.cat([torch.tensor([9.0]).double(), (f + 0.2 * noise)[1:]]),
    }
    return X, y[name]


def _model(name: str, *, n: int = 12, **options: Any) -> LatentGPModel:
    kept = {"kernel": make_kernel("rbf"), "mean": "constant", "priors": {}, **options}
    return LatentGPModel(*_data(name, n), likelihood=make_likelihood(name), **kept)


def _points(gp: GPModel, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    size = gp.hyperparameters.size
    return 0.5 * torch.randn(count, size, generator=generator, dtype=torch.float64)


def test_of_gaussian_noise_the_approximation_is_exact() -> None:
    latent = _model("gaussian")
    exact = GPModel(*_data("gaussian"), kernel=latent.kernel, mean="constant", priors={})
    u = _points(exact, 3)
    for mine, theirs in zip(HyperPosterior(latent)(u), HyperPosterior(exact)(u), strict=True):
        assert (mine - theirs).abs().max() < 1e-8
    theta = exact.hyperparameters.constrain(u)
    Xs = _data("gaussian")[0] + 0.05
    for mine, theirs in zip(
        LatentConditional(latent, theta).joint(Xs), Conditional(exact, theta).joint(Xs), strict=True
    ):
        assert (mine - theirs).abs().max() < 1e-8


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_the_numbers(name: str) -> None:
    gp = _model(name)
    density, u = HyperPosterior(gp), _points(gp, 3)
    _, gradient = density(u)
    steps = 1e-5 * torch.eye(u.shape[1], dtype=torch.float64)
    for i, step in enumerate(steps):
        slope = (density(u + step)[0] - density(u - step)[0]) / 2e-5
        assert (slope - gradient[:, i]).abs().max() < 1e-6
    at = u[0].clone()
    hessian = torch.autograd.functional.hessian(
        lambda one: gp.evidence.value(gp.hyperparameters.constrain(one[None])).sum(), at
    )
    assert (hessian + curvature(HyperPosterior(gp, prior=False), at)).abs().max() < 1e-5
    f = torch.linspace(-3, 3, 12, dtype=torch.float64).expand(3, -1).clone().requires_grad_()
    theta = gp.hyperparameters.constrain(u)
    log_prob = gp.likelihood.distribution(f, theta).log_prob(gp.y).sum()
    (first,) = torch.autograd.grad(log_prob, f, create_graph=True)
    second = torch.zeros_like(f)
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.sum(), f)
    mine = gp.likelihood.derivatives(f, gp.y, theta)
    assert (mine[0] - first).abs().max() < 1e-9
    assert (mine[1] + second).abs().max() < 1e-9


def test_classification_is_that_of_scikit_learn() -> None:
    from sklearn.gaussian_process import GaussianProcessClassifier, kernels

    X, y = _data("bernoulli", 30)
    theirs = GaussianProcessClassifier(
        1.7 * kernels.RBF([0.3, 0.6]), optimizer=None, max_iter_predict=1000
    ).fit(X.numpy(), y.numpy())
    fixed = {"lengthscale": torch.tensor([0.3, 0.6]), "variance": 1.7}
    mine = fit_gp(
        X, y, likelihood="bernoulli", mean="zero", priors=fixed, inference="map", scale=False
    )
    gp = mine.gp
    value = gp.evidence.value(gp.hyperparameters.constrain(torch.zeros(1, 0).double()))
    assert float(value) == pytest.approx(theirs.log_marginal_likelihood_value_, abs=1e-4)
    Xs = X[:7] + 0.1
    p = torch.from_numpy(theirs.predict_proba(Xs.numpy())[:, 1])
    assert (mine.predict(Xs).mean - p).abs().max() < 2e-3  # its integral is by five error functions


# posteriordb (Magnusson et al., stan-dev/posteriordb, BSD 3-Clause): gp_pois_regr, the data, and
# mean and standard deviation of its 10,000 reference draws
COUNTS = [40, 37, 29, 12, 4, 3, 9, 19, 77, 82, 33]
MEANS = [3.6357, 3.6887, 3.2547, 2.4092, 1.5615, 1.2953, 1.9311, 3.1796, 4.2529, 4.4151, 3.5068]
SDS = [0.1521, 0.1263, 0.1432, 0.1970, 0.2469, 0.2662, 0.2246, 0.1439, 0.0961, 0.0916, 0.1631]


def test_poisson_regression_agrees_with_the_reference_posterior() -> None:
    x = torch.linspace(-10, 10, 11, dtype=torch.float64)
    fitted = fit_gp(
        x,
        torch.tensor(COUNTS),
        likelihood="poisson",
        mean="zero",
        inference="quadrature",
        num_points=31,
        priors={
            "lengthscale": dist.Gamma(*torch.tensor([25.0, 4.0])),
            "variance": dist.Gamma(*torch.tensor([0.5, 0.125])),  # of α², α ~ half-Normal(2)
        },
    )
    rho = fitted.hyperparameters["lengthscale"][:, 0]
    alpha = fitted.hyperparameters["variance"].sqrt()
    for value, mean, sd in ((rho, 5.6665, 0.6790), (alpha, 2.9213, 0.7928)):
        assert float(fitted.weights @ value) == pytest.approx(mean, abs=0.05 * sd)
        spread = (fitted.weights @ (value - fitted.weights @ value).square()).sqrt()
        assert float(spread) == pytest.approx(sd, rel=0.05)
    means, variances = fitted.predictive_marginals(x)
    mean = fitted.weights @ means
    sd = (fitted.weights @ (variances + (means - mean).square())).sqrt()
    # the posterior of f is skew where counts are few, which a Normal is not
    assert ((mean - torch.tensor(MEANS)) / torch.tensor(SDS)).abs().max() < 0.2
    assert (sd / torch.tensor(SDS) - 1).abs().max() < 0.05


@pytest.mark.parametrize("name", ["bernoulli", "poisson", "student_t"])
def test_it_comes_near_the_exact_posterior_of_f(name: str) -> None:
    fixed = {"lengthscale": 0.5, "variance": 1.0, "mean": 0.2, "noise": 0.3, "df": 4.0}
    own = [h.name for h in make_likelihood(name).hyperparameters()]
    priors = {n: v for n, v in fixed.items() if n in ("lengthscale", "variance", "mean", *own)}
    gp = _model(name, n=8, priors={**priors, "lengthscale": torch.tensor([0.5, 0.5])})
    program = Program(gp.joint)
    assert not program.looped
    with torch.no_grad():
        v = torch.randn(2**16, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        log_weight = program.log_likelihood(v)
        f = gp.evidence.moments(theta := gp.hyperparameters.constrain(torch.zeros(1, 0).double()))
        truth = float(log_weight.logsumexp(0)) - 16 * math.log(2)
        weight = log_weight.softmax(0)
        error = float((weight.square().sum() - 2**-16).sqrt())
        values = f[0] + v @ torch.linalg.cholesky(f[1][0]).T
        mean = weight @ values
        sd = (weight @ (values - mean).square()).sqrt()
    assert error < 0.1
    assert float(gp.evidence.value(theta)) == pytest.approx(truth, abs=0.3 + 4 * error)
    found = LatentConditional(gp, theta).marginal(gp.X)
    far, wide = (0.35, 0.3) if name == "student_t" else (0.25, 0.15)  # whose tails no Normal has
    assert ((found[0][0] - mean) / sd).abs().max() < far
    assert (found[1][0].sqrt() / sd - 1).abs().max() < wide


@pytest.mark.parametrize("name", NAMES[1:])
def test_what_is_predicted_is_on_the_scale_of_the_data(name: str, tmp_path: Any) -> None:
    X, y = _data(name)
    few: dict[str, Any] = {"num_draws": 40, "restarts": 2, "scale": True}
    few["priors"] = {"df": 5.0} if name == "student_t" else {}
    fitted = fit_gp(X, y, likelihood=name, inference="laplace", **few)
    assert isinstance(fitted, LatentGP)
    assert name in repr(fitted)
    prediction, noisy = fitted.predict(X), fitted.predict(X, include_noise=True)
    assert torch.equal(prediction.mean, noisy.mean)
    assert bool((noisy.variance > prediction.variance).all())
    drawn = fitted.sample(X, 4000, include_noise=True)
    error = (noisy.variance / 4000).sqrt().clamp_max(1.0)
    assert ((drawn.mean(0) - noisy.mean).abs() < 5 * error).all()
    functions = fitted.sample(X, 4000)
    low, high = fitted.interval(X, level=0.8)
    inside = ((low < functions) & (functions < high)).double().mean(0)
    assert (inside - 0.8).abs().max() < 5 * math.sqrt(0.16 / 4000)
    if name == "bernoulli":
        assert bool(((low > 0) & (high < 1)).all())
        p = prediction.mean
        expected = torch.where(y > 0, p, 1 - p).log().mean()
        assert fitted.score(X, y).log_density == pytest.approx(float(expected), abs=1e-9)
        assert "coverage" not in str(fitted.score(X, y))
    else:
        assert 0.5 <= fitted.score(X, y).coverage[0.95] <= 1
    with pytest.raises(UsageError, match="f\\* has no noise"):
        fitted.predictive_marginals(X, include_noise=True)
    fitted.save(tmp_path / "gp")
    loaded = load_gp(tmp_path / "gp")
    assert torch.equal(loaded.predict(X).mean, prediction.mean)


def test_a_figure_stays_where_the_data_can_be() -> None:
    x = torch.linspace(0, 3, 10, dtype=torch.float64)
    fitted = fit_gp(x, (x > 1.3).double(), likelihood="bernoulli", inference="map")
    for figure in (bands(fitted, num_functions=2), slice_figure(fitted, ["x"], "y")):
        for band in figure.axes[0].collections:
            ends = band.get_paths()[0].vertices[:, 1]
            assert ends.min() >= 0
            assert ends.max() <= 1


def test_the_default_mean_of_counts_is_near_them() -> None:
    x = torch.linspace(0, 1, 8, dtype=torch.float64)
    fitted = fit_gp(x, 900 + 100 * (6 * x).sin().round(), likelihood="poisson", inference="map")
    assert abs(float(fitted.predict(x).mean.mean()) / 900 - 1) < 0.1


def test_an_outlier_pulls_less_at_a_heavy_tail_and_two_modes_are_told() -> None:
    X, y = _data("student_t")
    normal, heavy = (
        fit_gp(X, y, likelihood=name, inference="map", restarts=3)
        for name in ("gaussian", "student_t")
    )
    assert float(heavy.predict(X[:1]).mean) < float(normal.predict(X[:1]).mean)
    x, y = torch.tensor([0.0, 0.01, 0.02]), torch.tensor([3.0, 3.01, -0.5])
    tight = {"lengthscale": 1.0, "variance": 10.0, "noise": 1e-4, "df": 1.0, "mean": 0.0}
    with pytest.warns(InferenceWarning, match="several modes at 1 of 1"):
        found = fit_gp(x, y, likelihood="student_t", priors=tight, inference="map")
    assert float(found.predict(x).mean[0]) == pytest.approx(3.0, abs=0.05)
    assert bool(found.predict(x, include_noise=True).variance.isinf().all())


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")  # so few draws
@pytest.mark.parametrize(
    ("inference", "options"),
    [
        ("svi", {"guide": "AutoLaplaceApproximation", "steps": 5, "num_particles": 1}),
        ("nuts", {"num_draws": 80, "warmup": 20, "num_chains": 2}),
    ],
)
def test_every_inference_of_the_hyperparameters_goes_with_it(
    inference: str, options: dict[str, Any]
) -> None:
    X, y = _data("bernoulli", 15)
    known: dict[str, Any] = {"priors": {"mean": 0.0}, "likelihood": "bernoulli", "scale": True}
    same = "laplace" if inference == "svi" else "quadrature"
    grid = fit_gp(
        X[:, 0],
        y,
        inference=same,
        restarts=2,
        **({"num_points": 31} if same == "quadrature" else {}),
        **known,
    )
    drawn = fit_gp(X[:, 0], y, inference=inference, restarts=2, **known, **options)
    p, q = grid.predict(X[:, 0]).mean, drawn.predict(X[:, 0]).mean
    assert (p - q).abs().max() < 0.08


class Rounded(Poisson):
    """A likelihood of a user's own."""


def test_a_likelihood_of_ones_own_is_taken_and_saved_once_it_has_a_name(tmp_path: Any) -> None:
    X, y = _data("poisson")
    fitted = fit_gp(X, y, likelihood=Rounded, inference="map", restarts=1)
    assert torch.equal(
        fitted.predict(X).mean,
        fit_gp(X, y, likelihood="poisson", inference="map", restarts=1).predict(X).mean,
    )
    with pytest.raises(UsageError, match="Rounded has no name"):
        fitted.save(tmp_path / "gp")


@pytest.mark.parametrize(
    ("likelihood", "y", "options", "said"),
    [
        ("bernoulli", [0, 1, 2], {}, "labels .* are 0 or 1; got 2"),
        ("bernoulli", [-1, 1, 1], {}, "labels .* are 0 or 1; got -1"),
        ("poisson", [0, 1.5, 2], {}, "counts .* whole numbers, at least 0; got 1.5"),
        ("poisson", [0, -1, 2], {}, "counts .* at least 0; got -1"),
        ("poisson", [0, 1, 2], {"noise": 0.1}, "has no noise of its own"),
        ("poisson", [0, 1, 2], {"inference": "sparse_variational"}, "is for gaussian noise"),
        ("probit", [0, 1, 1], {}, "unknown likelihood 'probit'"),
        (3, [0, 1, 1], {}, "a likelihood is one of gaussian"),
    ],
)
def test_what_is_no_such_data_is_refused(
    likelihood: Any, y: list[float], options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        fit_gp(torch.arange(3.0), torch.tensor(y), likelihood=likelihood, **options)


def test_gaussian_by_name_is_the_default() -> None:
    X, y = _data("gaussian")
    named = fit_gp(X, y, likelihood=Gaussian, inference="map", restarts=1)
    assert torch.equal(
        named.draws.unconstrained, fit_gp(X, y, inference="map", restarts=1).draws.unconstrained
    )
