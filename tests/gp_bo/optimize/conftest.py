"""A Gaussian process with known hyper-parameters, for tests of what is built on one."""

import pytest
import torch

from gp_bo.optimize.surrogate import Surrogate


def _rbf_surrogate(*, seed=0, n=6, columns=2, draws=3, noise=1e-4):
    """S draws of length-scale and variance, data from none of them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, columns, generator=generator, dtype=torch.float64)
    y = torch.randn(n, generator=generator, dtype=torch.float64)
    lengthscale = torch.linspace(0.2, 0.5, draws, dtype=torch.float64)
    variance = torch.linspace(0.8, 1.5, draws, dtype=torch.float64)
    mean = torch.linspace(-0.2, 0.2, draws, dtype=torch.float64)

    def covariance(a, b):
        squared = (a[:, None] - b[None]).square().sum(-1)
        scaled = squared / lengthscale[:, None, None].square()
        return variance[:, None, None] * torch.exp(-0.5 * scaled)

    return Surrogate(
        covariance=covariance,
        prior_variance=lambda a: variance[:, None].expand(draws, len(a)),
        prior_mean=lambda a: mean[:, None].expand(draws, len(a)),
        noise=torch.full((draws,), noise, dtype=torch.float64),
        x=x,
        y=y,
    )


@pytest.fixture(scope="session")
def rbf_surrogate():
    """The function that makes one."""
    return _rbf_surrogate
