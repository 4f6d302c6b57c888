"""Evidence by every method there is, and what it says of itself."""

import math

import pytest
import torch

from inference.evaluation import evidence
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError
from pyro_models.models.semi_supervised import SemiSupervisedVAE


def rotated_ppca():
    generator = torch.Generator().manual_seed(0)
    pair = PPCA((6,), latent_dim=2, guide="linear").double()
    with torch.no_grad():
        pair.model.W.copy_(torch.randn(6, 2, generator=generator).double())
        pair.model.set_sigma(1.0)
    return pair


@pytest.fixture
def ppca():
    return rotated_ppca()


SETTINGS = {"num_temperatures": 40, "num_leapfrog": 3, "num_chains": 50, "num_particles": 4000}


@pytest.mark.parametrize(
    ("method", "kind", "far"),
    [
        ("exact", "exact", 0.0),
        ("quadrature", "estimate", 1e-6),
        ("annealing", "lower bound", 0.15),
        ("importance", "lower bound", 0.1),
    ],
)
def test_every_method_finds_the_truth_and_says_what_it_is(ppca, method, kind, far):
    x = ppca.model(n=3).detach()
    mask = torch.rand(3, 6) < 0.7
    found = evidence(ppca, x, mask=mask, method=method, guide=None, **SETTINGS)
    exact = ppca.exact_log_prob(x, mask).detach()
    assert float((found.value - exact).abs().max()) <= far
    assert (found.method, found.kind, found.given) == (method, kind, None)
    assert found.standard_error.shape == (3,)
    if kind == "lower bound":
        assert bool(((found.value - exact).abs() < 5 * found.standard_error).all())
        assert found.effective_sample_size is not None
        assert 1 < float(found.effective_sample_size.min()) <= found.num_particles
    assert f"({kind}" in str(found)
    mean, error = found.mean
    assert mean == pytest.approx(float(found.value.mean()))
    assert error == pytest.approx(float(found.value.std()) / math.sqrt(3))


def test_the_best_method_is_the_first_there_is(ppca):
    x = torch.rand(2, 1, 4, 4).round()
    small = {"hidden": [4], "likelihood": "bernoulli"}
    quick = {"num_temperatures": 2, "num_leapfrog": 1}
    found = {
        "ppca": evidence(ppca, torch.zeros(2, 6)),
        "gmm": evidence(GMM((1, 4, 4)), x),
        "2-D": evidence(VAE((1, 4, 4), latent_dim=2, **small), x),
        "3-D": evidence(VAE((1, 4, 4), latent_dim=3, **small), x, **quick),
    }
    methods = {name: e.method for name, e in found.items()}
    assert methods == {"ppca": "exact", "gmm": "exact", "2-D": "quadrature", "3-D": "annealing"}


def test_a_guide_by_name_is_fitted_and_used(ppca):
    x = ppca.model(n=2).detach()
    found = evidence(ppca, x, method="importance", guide="laplace", num_particles=200)
    assert float((found.value - ppca.exact_log_prob(x)).detach().abs().max()) < 0.02
    assert float(found.effective_sample_size.min()) > 150
    in_chunks = evidence(  # one datum at a time: each with its own part of the guide
        ppca, x, method="importance", guide="laplace", num_particles=200, max_elements=1
    )
    assert float((in_chunks.value - found.value).abs().max()) < 0.02


def test_labels_are_conditioned_on_by_every_method():
    """p(x) = Σ_y p(y) p(x | y): of given labels it is p(x | y), not p(x, y)."""
    pair = SemiSupervisedVAE(
        (1, 4, 4), num_classes=3, latent_dim=2, hidden=[4], likelihood="bernoulli"
    ).double()
    x = torch.rand(2, 1, 4, 4, dtype=torch.float64).round()
    whole = evidence(pair, x)
    parts = [evidence(pair, x, y=torch.full((2,), k)) for k in range(3)]
    assert (whole.given, parts[0].given) == (None, "y")
    summed = torch.stack([p.value for p in parts]).logsumexp(0) - math.log(3)
    torch.testing.assert_close(whole.value, summed, rtol=0, atol=1e-4)
    sampled = evidence(pair, x, y=torch.full((2,), 1), method="importance", num_particles=200_000)
    assert float((sampled.value - parts[1].value).abs().max()) < 0.1


def test_an_objective_is_no_evidence_and_says_so():
    vae = VAE((1, 4, 4), hidden=[4], likelihood="cross_entropy")
    found = evidence(vae, torch.rand(2, 1, 4, 4))
    assert found.kind == "objective only"
    assert found.measure is None


@pytest.mark.parametrize(
    ("make", "options", "why"),
    [
        (rotated_ppca, {"method": "magic"}, "unknown method 'magic': choose from best, exact"),
        (
            lambda: VAE((6,), hidden=[4], likelihood="gaussian").double(),
            {"method": "exact"},
            "VAE does not know log p\\(x\\) exactly",
        ),
        (
            lambda: CVAE((6,), num_classes=2, hidden=[4], likelihood="gaussian").double(),
            {},
            "needs labels",
        ),
        (lambda: GMM((6,)).double(), {"method": "annealing"}, "no continuous latent"),
    ],
    ids=["method", "exact", "labels", "discrete"],
)
def test_mistakes_are_said(make, options, why):
    with pytest.raises(UsageError, match=why):
        evidence(make(), torch.zeros(2, 6, dtype=torch.float64), **options)
