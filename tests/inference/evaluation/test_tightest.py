"""Of several estimates of log p(x) the better counts; the truth is that of conjugate Gaussians."""

import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from inference.evaluation import Evidence, compare_guides, evidence
from inference.evaluation.annealing import relative_error
from inference.evaluation.tightest import tightest
from pyro_models import UsageError
from pyro_models.likelihoods import Gaussian
from pyro_models.pair import LatentSite, data_plate


class Model(nn.Module):
    """y = A w + ε: Bayesian linear regression, all rows of the table as one datum."""

    def __init__(self, A):
        super().__init__()
        self.register_buffer("A", A)
        self.anchor = nn.Parameter(A.new_zeros(1))

    def forward(self, x=None, *, y=None, n=None, mask=None):
        with data_plate(x, n, self.anchor):
            w = pyro.sample("w", dist.Normal(self.A.new_zeros(self.A.shape[1]), 1.0).to_event(1))
            mean = w @ self.A.T
            return pyro.sample("x", dist.Normal(mean, 0.1).to_event(1), obs=x)


class Prior(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x, *, y=None, n=None, mask=None):
        with data_plate(x, n, x):
            pyro.sample("w", dist.Normal(x.new_zeros(len(x), self.dim), 1.0).to_event(1))


class Regression(nn.Module):
    num_classes = None

    def __init__(self, A):
        super().__init__()
        self.data_shape = (len(A),)
        self.model, self.guide = Model(A), Prior(A.shape[1])
        self.likelihood = Gaussian(self.data_shape)

    @property
    def latent_sites(self):
        return {"w": LatentSite((self.model.A.shape[1],))}

    def decode(self, latents, *, y=None):
        return {"x": dist.Normal(latents["w"] @ self.model.A.T, 0.1).to_event(1)}

    def elbo(self):
        return pyro.infer.Trace_ELBO(max_plate_nesting=1)

    def config(self):
        return {}

    def exact(self, x):
        A = self.model.A
        covariance = A @ A.T + 0.01 * torch.eye(len(A)).double()
        return dist.MultivariateNormal(torch.zeros(len(A)).double(), covariance).log_prob(x)


@pytest.fixture(scope="module")
def regression():
    generator = torch.Generator().manual_seed(0)
    return Regression(torch.randn(40, 6, generator=generator).double())


@pytest.fixture(scope="module")
def x(regression):
    torch.manual_seed(0)
    return regression.model(n=2).detach()


POORLY = {"num_temperatures": 6, "num_leapfrog": 2, "num_chains": 16}


def test_gaps_are_measured_from_the_better_estimate(regression, x):
    """Annealing fails here; the L_K of a Normal at the mode has nearly all its draws."""
    found = compare_guides(
        regression,
        x,
        guides=["laplace", "full_covariance"],
        evidence_options=POORLY,
        num_particles=1000,
    )
    exact = regression.exact(x)
    first = found.first_evidence
    assert first.method == "annealing"
    assert float((first.value - exact).abs().max()) > 0.5  # what it has to be saved from
    assert float((found.evidence.value - exact).abs().max()) < 0.01
    assert all(source.startswith("L_1000 of") for source in found.evidence.sources)
    laplace = found["laplace"]
    assert abs(laplace.value("gap")[0]) < 0.05
    assert "data by source: L_1000 of" in str(found)
    assert found["laplace"].value("amortisation_gap")[0] >= 0


def test_few_chains_say_that_they_know_little(regression, x):
    """Too high by luck or too low: the error reaches the truth, and the text says either side."""
    exact = regression.exact(x)
    for seed in range(5):
        found = evidence(regression, x, method="annealing", seed=seed, **POORLY)
        assert bool(found.poor.all())
        assert "too high or too low" in str(found)
        assert bool((found.standard_error > 0.5).all())
        assert bool((found.value - exact < 5 * found.standard_error).all())
    good = evidence(regression, x, method="importance", guide="laplace")
    assert not bool(good.poor.any())
    assert "poorly" not in str(good)


def test_the_error_is_what_the_heaviest_weight_carries():
    log_w = torch.tensor([[0.0], [-9.0], [-9.0], [-9.0]]).double()
    assert float(relative_error(log_w)) == pytest.approx(9 - math.log(4) + 1.2e-4, abs=1e-3)
    even = torch.zeros(4, 1).double()
    assert float(relative_error(even)) == pytest.approx(0, abs=1e-12)
    assert math.isnan(relative_error(even[:1]))


def sampled(value, error):
    value, error = torch.tensor(value).double(), torch.tensor(error).double()
    return Evidence(value, error, torch.full_like(value, 4.0), "lower bound", "annealing", 16)


def test_the_smaller_error_counts_unless_more_is_found_elsewhere():
    chains = sampled([-10.0, -10.0, -9.0], [0.8, 0.05, 0.9])
    bound = torch.tensor([-11.0, -12.0, -math.inf]).double(), torch.tensor([0.01, 0.01, 0.0]), None
    found = tightest(chains, [("L_9 of q", *bound)])
    # luck; a mode that q has missed; no number at all
    assert found.value.tolist() == [-11.0, -10.0, -9.0]
    assert found.sources == ("L_9 of q", "annealing", "annealing")
    assert found.standard_error.tolist() == pytest.approx([0.01, 0.05, 0.9])
    exact = replace(chains, kind="exact", method="exact")
    assert tightest(exact, [("L_9 of q", *bound)]) is exact


class Ring(Regression):
    """x = 1e7-fold sine of w: no grid can resolve it."""

    def __init__(self):
        super().__init__(torch.ones(1, 1).double())

        def forward(x=None, *, y=None, n=None, mask=None):
            with data_plate(x, n, self.model.anchor):
                w = pyro.sample("w", dist.Normal(torch.zeros(1).double(), 1.0).to_event(1))
                return pyro.sample("x", dist.Normal((1e7 * w).sin(), 0.01).to_event(1), obs=x)

        self.model.forward = forward


def test_data_that_no_grid_resolves_are_annealed_or_refused():
    x = torch.zeros(2, 1).double()
    with pytest.raises(UsageError, match="quadrature cannot resolve 2 of 2 data; datum 0: "):
        evidence(Ring(), x, method="quadrature")
    found = evidence(Ring(), x, num_temperatures=5, num_leapfrog=1)
    assert found.kind == "lower bound"
    assert "quadrature" not in found.sources
    assert bool(found.value.isfinite().all())
