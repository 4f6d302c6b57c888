"""Every guide that has a name, on a line with known noise, whose posterior has a closed form."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from inference import infer
from inference.pareto import pareto_k_hat
from inference.programs import ProgramPosterior
from inference.programs.guides import PROGRAM_GUIDES

NOISE = 0.5
CHAINS = {"num_samples": 150, "warmup": 100}
STEPS = dict.fromkeys(("AutoNormalizingFlow", "sospf"), 80)
"""Of a fit; 15 for all that begin at Pathfinder's Normal."""
COSTLY = {"pyro_nuts", "dense", "sospf", "bpf", "nsf", "realnvp"}  # of the kind of others
NO_DENSITY = {"point", "AutoDelta", "hmc", "nuts", "pyro_nuts", "quadrature"}
SMALL = {"pyro_nuts": CHAINS, "hmc": CHAINS, "nuts": CHAINS}


def line(x, y):
    slope = pyro.sample("slope", dist.Normal(0.0, 2.0))
    level = pyro.sample("level", dist.Normal(0.0, 2.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal(level + slope * x, NOISE), obs=y)


X = torch.linspace(-1.0, 2.0, 12)
Y = 0.7 * X - 1.2 + NOISE * torch.randn(12, generator=torch.Generator().manual_seed(3))


def closed_form() -> tuple[torch.Tensor, torch.Tensor, float]:
    """Mean and covariance of (slope, level) given y, and log p(y) in nats."""
    A = torch.stack([X, torch.ones(12)], 1).double()
    covariance = (A.T @ A / NOISE**2 + torch.eye(2) / 4).inverse()
    marginal = 4 * A @ A.T + NOISE**2 * torch.eye(12)
    of_y = dist.MultivariateNormal(torch.zeros(12).double(), marginal)
    return covariance @ A.T @ Y.double() / NOISE**2, covariance, float(of_y.log_prob(Y.double()))


MEAN, COVARIANCE, EVIDENCE = closed_form()


NAMES = [
    pytest.param(name, marks=pytest.mark.slow) if name in COSTLY else name
    for name in PROGRAM_GUIDES
]


@pytest.fixture(scope="module", params=NAMES)
def posterior(request) -> ProgramPosterior:
    options = {"guide_options": SMALL[request.param]} if request.param in SMALL else {}
    return infer(line, X, Y, guide=request.param, max_steps=STEPS.get(request.param, 15), **options)


def test_draws_are_of_the_sites_and_near_the_posterior(posterior) -> None:
    draws = posterior.sample(400)
    assert {name: tuple(v.shape) for name, v in draws.items()} == {"slope": (400,), "level": (400,)}
    if posterior.name == "prior":
        return
    both = torch.stack([draws["slope"], draws["level"]], 1).double()
    sd = COVARIANCE.diagonal().sqrt()
    assert ((both.mean(0) - MEAN).abs() < 0.6 * sd).all()  # few steps, and of chains few draws
    assert (both.std(0) < 1.6 * sd).all()
    assert torch.equal(posterior.sample(3, seed=7)["slope"], posterior.sample(3, seed=7)["slope"])


def test_bounds_lie_below_log_p_and_weights_average_to_it(posterior) -> None:
    assert posterior.density == (posterior.name not in NO_DENSITY)
    if not posterior.density:
        return
    log_w = posterior.log_weights(2000, seed=1).double()
    error = float(log_w.std()) / math.sqrt(2000)
    assert float(log_w.mean()) < EVIDENCE + 4 * error + 1e-3
    weights = (log_w - EVIDENCE).exp()  # their mean is 1
    error = float(weights.std()) / math.sqrt(2000)
    assert float(weights.mean()) < 1 + 5 * error + 2e-3
    if pareto_k_hat(log_w.unsqueeze(1)) < 0.5:  # tails that 2,000 draws do not miss
        assert float(weights.mean()) > 1 - 5 * error - 2e-3


def test_density_and_draws_are_of_one_distribution(posterior) -> None:
    if not posterior.density:
        return
    draws = posterior.sample(1000, seed=2)
    log_q = posterior.log_prob(draws).double()
    assert log_q.shape == (1000,)
    assert log_q.isfinite().all()
    both = torch.stack([draws["slope"], draws["level"]], 0).double()
    of_normal = 0.5 * float(torch.logdet(2 * math.pi * math.e * torch.cov(both)))
    # the entropy is that of a Normal with their covariance, or less for what is not quite one
    assert -0.25 < -float(log_q.mean()) - of_normal < 0.1  # nats
    elsewhere = {name: value + 0.1 for name, value in draws.items()}
    assert (posterior.log_prob(elsewhere) != posterior.log_prob(draws)).all()


def test_a_saved_posterior_is_the_same(posterior, tmp_path) -> None:
    posterior.save(tmp_path / "q")
    again = ProgramPosterior.load(tmp_path / "q", posterior.program)
    first, second = posterior.sample(5, seed=3), again.sample(5, seed=3)
    assert all(torch.equal(first[name], second[name]) for name in first)
