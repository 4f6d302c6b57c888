"""log p(y | X, θ), its gradient, and the Pyro model against the same numbers."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro.infer.mcmc.util import initialize_model
from torch import Tensor
from torch.distributions import constraints

from gp_bo.hyperparameters import HyperParameters
from gp_bo.kernels import HyperParameter, make_kernel
from gp_bo.means import MEANS
from gp_bo.model import GPModel, HyperPosterior
from pyro_models import UsageError

Data = tuple[Tensor, Tensor]
PRIORS = {
    "log_normal": dist.LogNormal(-1.0, 0.5),
    "gamma": dist.Gamma(2.0, 3.0),
    "half_normal": dist.HalfNormal(2.0),
    "half_cauchy": dist.HalfCauchy(1.0),
    "uniform": dist.Uniform(0.1, 4.0),
    "per_input": dist.LogNormal(torch.tensor([0.0, 1.0]), torch.tensor([0.3, 1.0])),
}


def _model(data: Data, **options: object) -> GPModel:
    X, y = data
    chosen = {"kernel": make_kernel("rbf"), "mean": "constant", "priors": {}, **options}
    return GPModel(X / 40, y, **chosen)  # type: ignore[arg-type]


def _points(gp: GPModel, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, gp.hyperparameters.size, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("formula", ["rbf", "matern52 + periodic", "rbf * linear"])
def test_evidence_is_a_multivariate_normal_density(surface: Data, formula: str, mean: str) -> None:
    gp = _model(surface, kernel=make_kernel(formula), mean=mean)
    theta = gp.hyperparameters.constrain(_points(gp, 4, 0))
    loc, covariance = gp.evidence.moments(theta)
    expected = torch.distributions.MultivariateNormal(loc, covariance).log_prob(gp.y)
    assert (gp.evidence.value(theta) - expected).abs().max() < 1e-9
    assert (gp.evidence.value_and_gradient(theta)[0] - expected).abs().max() < 1e-9


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("mean", MEANS)
def test_gradient_of_the_hyper_posterior_is_that_of_autograd(
    surface: Data, prior: str, mean: str
) -> None:
    gp = _model(surface, mean=mean, priors={"lengthscale": PRIORS[prior]})
    hyper = gp.hyperparameters
    u = _points(gp, 3, 1).requires_grad_()
    theta = hyper.constrain(u)
    total = gp.evidence.value(theta)
    for site in hyper.sites:
        own = theta[site.parameter.name]
        total = total + site.prior.log_prob(own)
        flat = u[:, site.start : site.stop].reshape(own.shape)
        ladj = site.transform.log_abs_det_jacobian(flat, own)
        total = total + ladj.reshape(3, -1).sum(-1)
    (expected,) = torch.autograd.grad(total.sum(), u)
    value, gradient = HyperPosterior(gp)(u.detach())
    assert (value - total).abs().max() < 1e-9
    assert ((gradient - expected).abs() / (1 + expected.abs())).max() < 1e-9


@pytest.mark.parametrize("formula", ["rbf", "matern32 + linear"])
def test_the_pyro_model_has_the_same_density(surface: Data, formula: str) -> None:
    gp = _model(surface, kernel=make_kernel(formula))
    u = _points(gp, 1, 2)
    _, potential, _, _ = initialize_model(gp)
    sites = gp.hyperparameters.sites
    parts = {s.parameter.name: u[0, s.start : s.stop].reshape(s.parameter.shape) for s in sites}
    assert abs(float(potential(parts) + HyperPosterior(gp)(u)[0][0])) < 1e-9


def test_a_density_of_theta_lacks_the_jacobian(surface: Data) -> None:
    gp = _model(surface)
    u = _points(gp, 2, 3)
    of_u, of_theta = HyperPosterior(gp)(u)[0], HyperPosterior(gp, jacobian=False)(u)[0]
    positive = [i for i, n in enumerate(gp.hyperparameters.column_names()) if n != "mean"]
    assert (of_u - of_theta - u[:, positive].sum(-1)).abs().max() < 1e-12


def test_many_points_are_evaluated_in_pieces(surface: Data) -> None:
    gp = _model(surface)
    whole, pieces = HyperPosterior(gp), HyperPosterior(gp)
    pieces._chunk = 2
    for a, b in zip(whole(_points(gp, 5, 4)), pieces(_points(gp, 5, 4)), strict=True):
        assert (a - b).abs().max() < 1e-12


def test_a_covariance_that_cannot_be_factored_has_no_density_and_no_gradient(
    surface: Data,
) -> None:
    gp = _model(surface)
    u = _points(gp, 3, 5)
    u[1, 0] = 800.0  # exp overflows
    value, gradient = HyperPosterior(gp)(u)
    assert value[1] == -torch.inf
    assert value[[0, 2]].isfinite().all()
    assert gradient.isfinite().all()


def test_rounding_is_survived_by_a_little_jitter() -> None:
    X = torch.linspace(0, 1e-3, 12, dtype=torch.float64)[:, None]
    gp = GPModel(X, X[:, 0], kernel=make_kernel("rbf"), mean="zero", priors={"noise": 0.0})
    value, gradient = HyperPosterior(gp)(torch.zeros(1, 2, dtype=torch.float64))
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("prior", PRIORS)
def test_coordinates_go_there_and_back(prior: str) -> None:
    one = HyperParameter("lengthscale", (2,), dist.LogNormal(0.0, 1.0), 1)
    hyper = HyperParameters([one], {"lengthscale": PRIORS[prior]})
    u = torch.tensor([[-1.0, 0.5], [2.0, 0.0]], dtype=torch.float64)
    assert (hyper.unconstrain(hyper.constrain(u)) - u).abs().max() < 1e-12


@pytest.mark.parametrize(
    ("priors", "words"),
    [
        ({"lenghtscale": dist.LogNormal(0.0, 1.0)}, "has lengthscale, variance"),
        ({"lengthscale": dist.Normal(0.0, 1.0)}, "positive"),
        ({"lengthscale": dist.Poisson(3.0)}, "continuous"),
        ({"lengthscale": dist.LogNormal(torch.zeros(3), 1.0)}, "shape"),
        ({"lengthscale": "wide"}, "distribution"),
        ({"variance": -1.0}, "must be positive"),
        ({"noise": -1.0}, "at least 0"),
        ({"variance": math.nan}, "finite"),
        ({"lengthscale": math.inf}, "finite"),
        ({"variance": dist.ImproperUniform(constraints.positive, (), ())}, "improper"),
    ],
    ids=["unknown", "real", "discrete", "shape", "text", "negative", "noise", "nan", "inf", "flat"],
)
def test_a_prior_that_does_not_fit_is_refused_in_one_line(
    surface: Data, priors: dict[str, object], words: str
) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        _model(surface, priors=priors)
    assert "\n" not in str(caught.value)
