"""Programs that the tests share, and what is known of them."""

from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

NOISE = 0.7


def regression(X, y):
    """Written without a thought of batches: a matrix product, and no plate."""
    beta = pyro.sample("beta", dist.Normal(torch.zeros(X.shape[1]), 2.0).to_event(1))
    intercept = pyro.sample("intercept", dist.Normal(0.0, 10.0))
    pyro.sample("y", dist.Normal(X @ beta + intercept, NOISE).to_event(1), obs=y)


class Regression(NamedTuple):
    X: Tensor
    y: Tensor
    mean: Tensor
    covariance: Tensor
    log_evidence: float


@pytest.fixture(scope="session")
def linear() -> Regression:
    """Thirty data of a linear regression of known noise, and its posterior in closed form."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(30, 3, generator=generator)
    y = X @ torch.tensor([1.0, -2.0, 0.5]) + 0.3 + NOISE * torch.randn(30, generator=generator)
    A = torch.cat([X, torch.ones(30, 1)], 1).double()
    prior = torch.tensor([4.0, 4.0, 4.0, 100.0]).double()
    covariance = (A.T @ A / NOISE**2 + (1 / prior).diag()).inverse()
    mean = covariance @ A.T @ y.double() / NOISE**2
    marginal = A @ prior.diag() @ A.T + NOISE**2 * torch.eye(30)
    evidence = dist.MultivariateNormal(torch.zeros(30).double(), marginal).log_prob(y.double())
    return Regression(X, y, mean, covariance, float(evidence))


def weak_groups(y: torch.Tensor) -> None:
    """Eight groups of data that say little of τ, centred: the posterior is a funnel."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfNormal(5.0))
    with pyro.plate("groups", len(y)):
        theta = pyro.sample("theta", dist.Normal(mu, tau))
        pyro.sample("y", dist.Normal(theta, 10.0), obs=y)
