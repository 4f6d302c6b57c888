"""``infer`` of any Pyro model, against closed forms and public reference posteriors."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import infer
from inference.programs import Program, ProgramPosterior
from tests.inference.programs.conftest import regression, weak_groups
from tests.inference.programs.references import EIGHT_SCHOOLS, EIGHT_SCHOOLS_POSTERIOR


def schools(y, sigma):
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(y)):
        standard = pyro.sample("standard", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * standard, sigma), obs=y)


def test_full_covariance_is_exact_where_the_posterior_is_normal(linear) -> None:
    q = infer(regression, linear.X, linear.y, max_steps=400)
    assert isinstance(q, ProgramPosterior)
    assert q.name == "full_covariance"
    assert abs(float(q.elbo.value) - linear.log_evidence) < 0.01
    sd = linear.covariance.diagonal().sqrt()
    found = torch.cat([q.mean["beta"], q.mean["intercept"][None]]).double()
    assert bool(((found - linear.mean).abs() < 4 * sd / 4000**0.5).all())
    exact = dist.MultivariateNormal(linear.mean, linear.covariance).log_prob(linear.mean)
    at = {"beta": linear.mean[:3], "intercept": linear.mean[3]}
    assert abs(float(q.log_prob(at)) - float(exact)) < 0.01
    low, high = q.interval(0.9)["intercept"]
    assert abs(float(high - low) / (2 * 1.645 * float(sd[3])) - 1) < 0.1


def test_mean_field_is_as_narrow_as_theory_says(linear) -> None:
    """The best product of Normals has the precisions of the posterior (Bishop 2006, 10.1.2)."""
    q = infer(regression, linear.X, linear.y, guide="normal")
    precision = linear.covariance.inverse()
    gap = 0.5 * (linear.covariance.logdet() + precision.diagonal().log().sum())
    assert abs(linear.log_evidence - float(q.elbo.value) - float(gap)) < 0.02
    found = torch.cat([q.sd["beta"], q.sd["intercept"][None]]).double()
    torch.testing.assert_close(found, precision.diagonal().rsqrt(), rtol=0.06, atol=0)


def test_nuts_finds_the_eight_schools_of_the_reference() -> None:
    data = {name: torch.tensor(v, dtype=torch.float32) for name, v in EIGHT_SCHOOLS.items()}
    counts = {"num_samples": 100, "num_chains": 16, "warmup": 120}
    q = infer(schools, **data, guide="nuts", guide_options=counts)
    draws = q.draws
    theta = draws["mu"][:, None] + draws["tau"][:, None] * draws["standard"]
    found = {"mu": draws["mu"], "tau": draws["tau"]}
    found |= {"theta[1]": theta[:, 0], "theta[8]": theta[:, 7]}
    for name, values in found.items():
        mean, sd, mean_error, _ = EIGHT_SCHOOLS_POSTERIOR[name]
        chains = values.reshape(100, 16)
        own = float(chains.mean(0).std()) / 4
        assert own < 0.15 * sd
        assert abs(float(values.mean()) - mean) < 3 * (mean_error**2 + own**2) ** 0.5, name
        assert abs(float(values.std()) / sd - 1) < 0.2, name


def test_keywords_of_infer_are_its_own_and_a_program_has_its_model_s() -> None:
    def model(y, lr):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(lr * z, 1.0), obs=y)

    program = Program(model, torch.tensor(2.0), lr=2.0)
    q = infer(program, guide="laplace", max_steps=100)
    assert abs(float(q.mean["z"]) - 0.8) < 0.05  # 2 · 2 / (1 + 2²)


def test_data_of_a_million_leave_the_intercept_its_width() -> None:
    def model(x, y, width):
        a = pyro.sample("a", dist.Normal(0.0, 3.0))
        b = pyro.sample("b", dist.Normal(0.0, width))
        with pyro.plate("rows", 3):
            pyro.sample("y", dist.Bernoulli(logits=a + b * x), obs=y)

    x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 0.0, 1.0])
    known = infer(model, x, y, 3e6, guide="quadrature")  # b in units of its own
    found = infer(model, 1e6 * x, y, 3.0, guide="laplace")
    assert float(found.sd["a"]) == pytest.approx(float(known.sd["a"]), rel=0.15)
    assert 1e6 * float(found.sd["b"]) == pytest.approx(float(known.sd["b"]), rel=0.25)
    assert float(found.elbo.value) == pytest.approx(known.log_evidence, abs=0.2)


@pytest.mark.parametrize("seed", [0, 1])
def test_mean_field_does_not_fall_into_the_neck_of_a_funnel(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    tau = 5 * torch.randn((), generator=generator).abs()
    noise = torch.randn(2, 8, generator=generator)
    y = tau * noise[0] + 10 * noise[1]
    found = infer(weak_groups, y, guide="normal", seed=seed)
    best = infer(weak_groups, y, guide="normal", seed=seed, num_particles=30)
    error = math.hypot(float(found.elbo.standard_error), float(best.elbo.standard_error))
    assert float(found.elbo.value) > float(best.elbo.value) - 0.5 - 4 * error
    assert found.stopped == "converged"
