"""Guides of programs by name, class, function, instance and block, against closed forms."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import constraints
from pyro.infer.autoguide import AutoDiagonalNormal, AutoMultivariateNormal, AutoNormal
from pyro.nn import PyroModule, PyroParam

from inference import infer
from inference.programs.apart import apart
from inference.programs.guides import PROGRAM_GUIDES
from pyro_models import UsageError
from tests.inference.programs.conftest import regression


def gap(linear, posterior) -> float:
    return linear.log_evidence - float(posterior.elbo.value)


@pytest.mark.parametrize(("name", "most"), [("exact", 1e-3), ("pathfinder", 0.3)])
def test_normals_that_are_found_are_the_posterior_where_it_is_normal(linear, name, most) -> None:
    q = infer(regression, linear.X, linear.y, guide=name)
    assert abs(gap(linear, q)) < most
    if name == "exact":
        assert abs(q.log_evidence - linear.log_evidence) < 1e-3


def test_exact_refuses_what_is_not_normal() -> None:
    def model(y):
        scale = pyro.sample("scale", dist.HalfNormal(1.0))
        pyro.sample("y", dist.Normal(0.0, scale).expand([5]).to_event(1), obs=y)

    with pytest.raises(UsageError, match="is not normal in unconstrained reals"):
        infer(model, torch.randn(5), guide="exact")


def guide_of_regression(X, y):
    loc = pyro.param("loc", torch.zeros(4))
    tril = pyro.param("tril", 0.1 * torch.eye(4), constraint=constraints.lower_cholesky)
    both = pyro.sample(
        "both", dist.MultivariateNormal(loc, scale_tril=tril), infer={"is_auxiliary": True}
    )
    pyro.sample("beta", dist.Delta(both[:3], event_dim=1))
    pyro.sample("intercept", dist.Delta(both[3]))


def test_a_function_is_trained_twice_in_one_process_and_the_store_stays_as_it_was(linear) -> None:
    before = set(pyro.get_param_store().keys())
    steps = [1, 8, 8]
    gaps = [
        gap(linear, infer(regression, *linear[:2], guide=guide_of_regression, max_steps=n))
        for n in steps
    ]
    assert gaps[1] == gaps[2]
    assert -0.05 < gaps[1] < gaps[0]
    assert set(pyro.get_param_store().keys()) == before


@pytest.mark.parametrize(
    "guide",
    [AutoDiagonalNormal, [("AutoMultivariateNormal", ["beta"]), (AutoNormal, "intercept")]],
    ids=["class", "blocks"],
)
def test_autoguides_begin_near_the_posterior_in_units_of_it(linear, guide) -> None:
    q = infer(regression, linear.X, linear.y, guide=guide, max_steps=8)
    assert -0.05 < gap(linear, q) < 8.0
    assert q.name in ("AutoDiagonalNormal", "AutoGuideList")


def test_an_instance_is_copied_and_stays_as_it_was(linear) -> None:
    guide = AutoMultivariateNormal(regression)
    with pyro.get_param_store().scope():
        guide(linear.X, linear.y)
    before = {name: value.clone() for name, value in guide.state_dict().items()}
    q = infer(regression, linear.X, linear.y, guide=guide, max_steps=8)
    assert all(torch.equal(before[name], value) for name, value in guide.state_dict().items())
    values = q.sample(5)
    assert q.log_prob(values).shape == (5,)


@pytest.mark.parametrize("data", [[3.0, -1.0, 2.5]])
def test_quadrature_knows_evidence_and_moments_of_one_unknown(data) -> None:
    def model(y):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    y = torch.tensor(data)
    q = infer(model, y, guide="quadrature")
    precision = 0.25 + len(y)
    marginal = dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 4 * torch.ones(3, 3))
    assert abs(q.log_evidence - float(marginal.log_prob(y))) < 1e-4
    assert abs(float(q.mean["z"]) - float(y.sum()) / precision) < 1e-4
    assert abs(float(q.sd["z"]) - precision**-0.5) < 1e-4
    low, high = q.interval(0.9)["z"]
    assert abs(float(high - low) - 2 * 1.645 / math.sqrt(precision)) < 0.02


def test_a_guide_that_cannot_serve_is_refused_in_a_line(linear) -> None:
    def lacking(X, y):
        pyro.sample("beta", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    for guide, words in (
        (lacking, "does not sample the latent intercept"),
        ("encoder", "a Pyro model has none"),
        ("AutoDiscreteParallel", "summed out exactly"),
        ([("AutoNormal", ["beta"])], "leave out the latent intercept"),
        ("no_such", "unknown guide"),
    ):
        with pytest.raises(UsageError, match=words):
            infer(regression, linear.X, linear.y, guide=guide)
    assert "AutoStructured" in PROGRAM_GUIDES


def test_minibatches_train_and_the_full_data_are_evaluated() -> None:
    def model(y, size=None):
        z = pyro.sample("z", dist.Normal(0.0, 2.0))
        with pyro.plate("data", len(y), subsample_size=size) as i:
            pyro.sample("y", dist.Normal(z, 1.0), obs=y[i])

    y = torch.linspace(0.0, 1.0, 40)
    some = infer(model, y, size=10, guide="normal", max_steps=80)
    precision = 0.25 + 40
    assert abs(float(some.mean["z"]) - float(y.sum()) / precision) < 0.1
    whole = infer(model, y, guide="exact")
    assert float(some.elbo.value) < whole.log_evidence + 0.05
    assert float(some.elbo.standard_error) < 0.5  # of the full data: no noise of subsamples


def test_a_very_wide_prior_does_not_spoil_where_fits_begin() -> None:
    def model(y):
        loc = pyro.sample("loc", dist.Normal(0.0, 1e4))
        scale = pyro.sample("scale", dist.HalfCauchy(2.5))
        with pyro.plate("data", len(y)):
            pyro.sample("y", dist.Normal(loc, scale), obs=y)

    y = 500 + 3 * torch.randn(50, generator=torch.Generator().manual_seed(0))
    q = infer(model, y, guide="pathfinder")
    exact = infer(model, y, guide="quadrature")
    assert abs(float(q.elbo.value) - exact.log_evidence) < 1.0
    assert abs(float(q.mean["loc"] - exact.mean["loc"])) < float(exact.sd["loc"])


def test_a_block_may_be_a_point(linear) -> None:
    """A Normal over β beside the best intercept: that is the mean, and β is given it."""
    guide = [("AutoMultivariateNormal", ["beta"]), ("AutoDelta", ["intercept"])]
    found = infer(regression, linear.X, linear.y, guide=guide, max_steps=600)
    given = linear.covariance.inverse()[:3, :3].inverse().diagonal().sqrt()
    sd = linear.covariance.diagonal().sqrt()
    off = (found.mean["intercept"] - linear.mean[3]).abs() / sd[3]
    assert float(off) < 0.15
    assert float(found.sd["intercept"]) < 1e-4 * float(sd[3])
    assert bool((found.sd["beta"] / given - 1).abs().max() < 0.1)
    assert not found.density
    with pytest.raises(UsageError, match="no density"):
        found.importance_bound(10)


class OfModules(PyroModule):
    """A guide with a parameter of each kind that a PyroModule may have."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = PyroParam(torch.tensor(1.0), constraint=constraints.positive)
        self.shift = torch.nn.Parameter(torch.zeros(()))
        self.plain = torch.nn.Linear(1, 1)
        self.own = PyroModule[torch.nn.Linear](1, 1)

    def forward(self, y):
        one = torch.ones(1)
        loc = self.shift + self.plain(one)[0] + self.own(one)[0]
        pyro.sample("rate", dist.LogNormal(loc, self.scale))


class HoldsNetwork:
    """No module itself: a method of it is the guide."""

    def __init__(self) -> None:
        self.network = torch.nn.Linear(1, 2)

    def guide(self, y):
        pyro.module("network", self.network)
        loc, log_scale = self.network(torch.ones(1))
        pyro.sample("rate", dist.LogNormal(loc, log_scale.exp()))


def rate_of_counts(y):
    rate = pyro.sample("rate", dist.Gamma(3.0, 1.0))
    with pyro.plate("data", len(y)):
        pyro.sample("y", dist.Poisson(rate), obs=y)


@pytest.mark.parametrize("make", [OfModules, lambda: HoldsNetwork().guide])
def test_modules_within_a_guide_are_learned(make) -> None:
    """A PyroParam of a module of the user's raised; a network that an object holds stayed."""
    y = torch.tensor([4.0, 6.0, 5.0, 5.0, 3.0, 7.0])  # the posterior is Gamma(33, 7)
    q = infer(rate_of_counts, y, guide=make(), max_steps=300, lr=0.05)
    assert abs(float(q.mean["rate"]) - 33 / 7) < 0.6  # unlearned it is about 2


def test_a_guide_without_parameters_is_judged_as_it_is() -> None:
    def fixed(y):
        pyro.sample("rate", dist.LogNormal(1.5, 0.2))

    y = torch.tensor([4.0, 6.0, 5.0])
    q = infer(rate_of_counts, y, guide=fixed, max_steps=3)
    assert abs(float(q.sample(2000)["rate"].log().mean()) - 1.5) < 0.03


def test_a_latent_of_another_shape_is_refused_in_a_line() -> None:
    def three(y):
        pyro.sample("rate", dist.LogNormal(torch.zeros(3), 1.0).to_event(1))

    with pytest.raises(UsageError, match=r"'rate' of shape \(3,\); the model, of shape \(\)"):
        infer(rate_of_counts, torch.ones(3), guide=three)


def test_draws_of_gamma_are_vectorised() -> None:
    """``clamp_`` within vmap warned of its slow way, which under a filter of warnings failed."""
    with apart(()):
        draws = torch.func.vmap(lambda _: dist.Gamma(2.0, 1.0).rsample(), randomness="different")(
            torch.zeros(3)
        )
    assert len(set(draws.tolist())) == 3
