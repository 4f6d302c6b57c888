"""A Pyro model with its arguments: sites, densities, coordinates, draws."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from inference.programs import Program
from pyro_models import UsageError
from tests.inference.programs.conftest import regression


def mixture(x, batch=None):
    weights = pyro.sample("weights", dist.Dirichlet(torch.ones(2)))
    with pyro.plate("components", 2):
        means = pyro.sample("means", dist.Normal(0.0, 5.0))
    with pyro.plate("data", len(x), subsample_size=batch) as i:
        k = pyro.sample("k", dist.Categorical(weights))
        pyro.sample("x", dist.Normal(means[k], 1.0), obs=x[i])


def test_log_density_is_that_of_the_model_with_the_jacobian(linear) -> None:
    program = Program(regression, linear.X, linear.y)
    u = torch.randn(4, 4)
    beta, intercept = u[:, :3], u[:, 3]
    prior = dist.Normal(0.0, 2.0).log_prob(beta).sum(1) + dist.Normal(0.0, 10.0).log_prob(intercept)
    mean = beta @ linear.X.T + intercept[:, None]
    likelihood = dist.Normal(mean, 0.7).log_prob(linear.y).sum(1)
    torch.testing.assert_close(program.log_prior(u), prior)
    torch.testing.assert_close(program.log_likelihood(u), likelihood)
    assert program.looped == ""


def test_every_support_has_as_many_reals_as_it_needs() -> None:
    def model(y):
        simplex = pyro.sample("simplex", dist.Dirichlet(torch.ones(3)))
        low = pyro.sample("low", dist.HalfNormal(1.0))
        above = pyro.sample("above", dist.Uniform(low, low + 2.0))
        factor = pyro.sample("factor", dist.LKJCholesky(3, 1.0))
        flat = pyro.sample("flat", dist.ImproperUniform(dist.constraints.positive, (), ()))
        total = simplex.sum() + above + factor.sum() + flat
        pyro.sample("y", dist.Normal(total, 1.0), obs=y)

    program = Program(model, torch.tensor(0.3))
    assert program.dim == 2 + 1 + 1 + 3 + 1
    assert program.improper == ("flat",)
    u = torch.randn(3, program.dim)
    values = program.constrain(u)
    assert bool((values["above"] > values["low"]).all())
    back, log_det = program.unconstrain(values)
    torch.testing.assert_close(back, u, rtol=1e-3, atol=1e-3)
    # the density of u is that of the values times the Jacobian
    expected = sum(
        d.log_prob(values[name])
        for name, d in {
            "simplex": dist.Dirichlet(torch.ones(3)),
            "low": dist.HalfNormal(1.0),
            "above": dist.Uniform(values["low"], values["low"] + 2.0),
            "factor": dist.LKJCholesky(3, 1.0),
        }.items()
    )
    torch.testing.assert_close(program.log_prior(u), expected + log_det, rtol=1e-3, atol=1e-3)


def test_discrete_sites_are_summed_out_and_minibatches_are_unbiased() -> None:
    x = torch.cat([torch.randn(10) - 2, torch.randn(10) + 2])
    program = Program(mixture, x, batch=5)
    assert program.discrete == {"k": 2}
    assert program.plates["data"].subsample_size == 5
    u = torch.randn(3, 3)
    values = program.constrain(u)
    each = dist.Normal(values["means"][:, :, None], 1.0).log_prob(x)
    exact = (values["weights"].log()[:, :, None] + each).logsumexp(1).sum(1)
    torch.testing.assert_close(program.log_likelihood(u), exact)
    drawn = program.log_terms(u[:1].expand(2000, 3), minibatches=True).likelihood.double()
    assert drawn.std() > 0
    assert abs(drawn.mean() - exact[0]) < 4 * drawn.std() / 2000**0.5
    assert program.looped == ""


def test_a_model_whose_python_looks_at_values_is_looped_and_agrees() -> None:
    def model(y):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(z if z.item() > 0 else -2 * z, 1.0), obs=y)

    with pytest.warns(UserWarning, match="one draw at a time"):
        program = Program(model, torch.tensor(1.0))
    u = torch.tensor([[1.0], [-1.0]])
    expected = dist.Normal(torch.tensor([1.0, 2.0]), 1.0).log_prob(torch.tensor(1.0))
    torch.testing.assert_close(program.log_likelihood(u), expected)


def test_nothing_of_a_module_changes_and_the_store_stays_as_it_was() -> None:
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.drop = nn.Linear(2, 1), nn.Dropout(0.5)

        def forward(self, X, y):
            scale = pyro.param("scale", torch.tensor(1.0))
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            mean = self.drop(self.linear(X)).squeeze(-1) + z
            pyro.sample("y", dist.Normal(mean, scale).to_event(1), obs=y)

    net, state = Net(), torch.get_rng_state()
    before = set(pyro.get_param_store().keys())
    program = Program(net, torch.ones(3, 2), torch.ones(3))
    u = torch.zeros(1, 1, requires_grad=True)
    assert torch.equal(program.log_joint(u), program.log_joint(u))  # no dropout
    program.log_joint(u).sum().backward()
    assert net.training
    assert net.linear.weight.requires_grad
    assert net.linear.weight.grad is None
    assert set(pyro.get_param_store().keys()) == before
    assert torch.equal(torch.get_rng_state(), state)


def test_data_may_be_given_by_a_condition_and_exchanged(linear) -> None:
    def free(X):
        regression(X, None)

    program = Program(poutine.condition(free, {"y": linear.y}), linear.X)
    assert "free" in repr(program)
    _, data = program.simulate(3)
    other = program.given({"y": data["y"][0]})
    assert torch.equal(other.observed["y"], data["y"][0])
    assert other.checksum != program.checksum


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda y: pyro.sample("y", dist.Normal(0.0, 1.0), obs=y), "no latent"),
        (lambda y: pyro.sample("z", dist.Normal(0.0, 1.0)), "observes nothing"),
        (lambda X, y: None, r"called as .*\(X, y\)"),
        (lambda y: pyro.sample("z", dist.Poisson(1.0)), "'z' is discrete"),
    ],
)
def test_what_cannot_be_handled_is_said_in_a_line(model, words) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        Program(model, torch.tensor(1.0))
    assert "\n" not in str(caught.value)


def test_plates_that_clash_and_data_that_are_not_finite_are_named() -> None:
    def clash(y):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("rows", 3, dim=-1), pyro.plate("columns", 3, dim=-1):
            pyro.sample("y", dist.Normal(z, 1.0), obs=y)

    with pytest.raises(UsageError, match='"columns" and "rows", collide'):
        Program(clash, torch.ones(3, 3))
    with pytest.raises(UsageError, match="'y' hold 1 values that are NaN"):
        Program(regression, torch.ones(3, 2), torch.tensor([1.0, torch.nan, 0.0]))


def test_a_covariance_that_is_indefinite_at_one_place_stops_no_other() -> None:
    def model(y):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        factor = torch.linalg.cholesky(torch.eye(2) - z * torch.ones(2, 2))
        pyro.sample("y", dist.MultivariateNormal(torch.zeros(2), scale_tril=factor), obs=y)

    u = torch.tensor([[0.0], [3.0]], requires_grad=True)
    found = Program(model, torch.ones(2)).log_joint(u)
    assert bool(found[0].isfinite())
    assert not bool(found[1].isfinite())
    found[0].backward()
    assert bool(u.grad[0].isfinite().all())
