"""Importance-sampled bounds against exact evidence, in float64, within their own errors."""

import math

import pyro
import pytest
import torch

from inference.evaluation import exact_log_prob, log_weights
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError


@pytest.fixture(scope="module")
def ppca():
    """PPCA of ten dimensions whose linear guide is a little wrong in mean and scale."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(300, 3, generator=generator, dtype=torch.float64)
    x = x @ torch.randn(3, 10, generator=generator, dtype=torch.float64)
    x = x + 0.5 * torch.randn(300, 10, generator=generator, dtype=torch.float64)
    pair = PPCA.maximum_likelihood(x, latent_dim=3, guide="linear")
    with torch.no_grad():
        pair.guide.mean.bias.add_(0.1)
        pair.guide.raw_tril.add_(0.15 * torch.eye(3, dtype=torch.float64))
    return pair, x[:40]


def exact_pair(name):
    x = torch.randn(20, 6, dtype=torch.float64)
    if name == "ppca":
        return PPCA.maximum_likelihood(x, latent_dim=2), x
    gmm = GMM((6,), num_components=3).double()
    gmm.start_from(x)
    return gmm, x


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("K", [1, 5, 50])
def test_the_weights_average_to_the_evidence(ppca, K, seed):
    """E[exp(L_K)] = p(x) for every K."""
    pyro.set_rng_seed(seed)
    pair, x = ppca
    truth = exact_log_prob(pair, x)
    repeats = torch.stack([log_weights(pair, x, num_particles=K).bound for _ in range(60)])
    ratio = (repeats - truth).exp().mean(1)  # one per repeat, all independent
    assert abs(ratio.mean() - 1) < 4 * ratio.std() / math.sqrt(60)
    assert ratio.std() / math.sqrt(60) < 0.05


def test_the_bound_rises_with_particles_towards_the_evidence(ppca):
    pair, x = ppca
    truth = float(exact_log_prob(pair, x).mean())
    bounds, errors = [], []
    for K, repeats in ((1, 100), (3, 70), (10, 40), (100, 15), (3000, 2)):
        found = torch.stack(
            [log_weights(pair, x, num_particles=K).bound.mean() for _ in range(repeats)]
        )
        bounds.append(float(found.mean()))
        errors.append(float(found.std()) / math.sqrt(repeats))
    assert bounds == sorted(bounds)
    assert all(bound < truth + 4 * error for bound, error in zip(bounds, errors, strict=True))
    assert bounds[0] < truth - 10 * errors[0]
    assert bounds[-1] == pytest.approx(truth, abs=4 * errors[-1] + 1e-3)


def test_many_particles_agree_with_the_evidence_within_the_reported_error(ppca):
    pair, x = ppca
    found = log_weights(pair, x, num_particles=20_000)
    standardised = (found.bound - exact_log_prob(pair, x)) / found.bound_error
    assert standardised.abs().max() < 4.5
    assert 0.6 < standardised.std() < 1.5
    assert found.bound_error.max() < 0.05


def test_the_elbo_is_the_evidence_less_the_divergence_of_the_guide(ppca):
    pair, x = ppca
    q = torch.distributions.MultivariateNormal(
        pair.guide.mean(x), scale_tril=pair.guide.scale_tril()
    )
    p = pair.exact_posterior(x)
    p = torch.distributions.MultivariateNormal(p.mean, p.covariance_matrix)
    elbo = exact_log_prob(pair, x) - torch.distributions.kl_divergence(q, p)
    found = log_weights(pair, x, num_particles=20_000)
    standardised = ((found.elbo - elbo) / found.elbo_error).detach()
    assert standardised.abs().max() < 4.5
    assert 0.6 < standardised.std() < 1.5


def test_the_reported_error_is_the_spread_over_repeats(ppca):
    pair, x = ppca
    repeats = [log_weights(pair, x, num_particles=400) for _ in range(100)]
    for quantity in ("elbo", "bound"):
        spread = torch.stack([getattr(r, quantity) for r in repeats]).std(0)
        reported = torch.stack([getattr(r, f"{quantity}_error") for r in repeats]).mean(0)
        assert float(reported.mean() / spread.mean()) == pytest.approx(1, abs=0.15), quantity


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_exact_guide_leaves_nothing_to_chance_and_the_error_says_so(dtype):
    """784 pixels: log w is in the thousands, and its square would drown the spread in float32."""
    x = torch.randn(60, 4) @ torch.randn(4, 784) * 0.1 + 0.01 * torch.rand(60, 784)
    pair = PPCA.maximum_likelihood(x.to(dtype), latent_dim=4)
    found = log_weights(pair, x.to(dtype), num_particles=200)
    assert found.elbo.abs().min() > 1000
    tolerance = 1e-2 if dtype == torch.float32 else 1e-6
    assert found.elbo_error.max() < tolerance
    assert found.bound_error.max() < tolerance
    torch.testing.assert_close(found.bound, exact_log_prob(pair, x.to(dtype)), rtol=1e-5, atol=0)
    torch.testing.assert_close(
        found.effective_sample_size, torch.full((60,), 200.0, dtype=dtype), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("name", ["ppca", "gmm"])
@pytest.mark.parametrize("max_elements", [1, 13, 100, 700, 10**6])
def test_chunks_do_not_change_what_is_known_exactly(name, max_elements):
    pair, x = exact_pair(name)
    seen = []
    found = log_weights(pair, x, num_particles=7, max_elements=max_elements, progress=seen.append)
    truth = pair.exact_log_prob(x).detach()
    torch.testing.assert_close(found.bound, truth, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.elbo, truth, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        exact_log_prob(pair, x, max_elements=max_elements), truth, rtol=0, atol=1e-9
    )
    assert sum(seen) == len(x)


@pytest.mark.parametrize("max_elements", [40, 150, 10**6])
def test_chunks_do_not_change_the_distribution_of_the_rest(ppca, max_elements):
    pair, x = ppca
    found = log_weights(pair, x[:8], num_particles=300, max_elements=max_elements)
    standardised = (found.bound - exact_log_prob(pair, x[:8])) / found.bound_error
    assert standardised.abs().max() < 4.5
    assert float(found.effective_sample_size.min()) > 10
    assert float(found.effective_sample_size.max()) < 300


@pytest.mark.parametrize("max_elements", [1, 130, 10**6])
@pytest.mark.parametrize("shape", [(8, 8), (1, 8, 8), (8, 8, 8), (8, 1, 8, 8)], ids=str)
def test_masks_go_with_their_data_in_every_chunk(shape, max_elements):
    """Eight data of 8 × 8 pixels, where one mask for all has as many rows as there are data."""
    x = torch.rand(40, 1, 8, 8, dtype=torch.float64)
    pair = PPCA.maximum_likelihood(x, latent_dim=2)
    mask = torch.rand(shape) < 0.6
    options = {"mask": mask, "max_elements": max_elements}
    truth = pair.exact_log_prob(x[:8], mask).detach()
    torch.testing.assert_close(exact_log_prob(pair, x[:8], **options), truth, rtol=0, atol=1e-9)
    found = log_weights(pair, x[:8], num_particles=2, **options)
    torch.testing.assert_close(found.bound, truth, rtol=0, atol=1e-6)


def test_labels_go_with_their_data_in_every_chunk():
    pair = CVAE((6,), num_classes=3, hidden=[8], latent_dim=1, likelihood="gaussian").double()
    with torch.no_grad():
        for parameter in pair.guide.parameters():
            parameter.zero_()
        pair.guide.encoder.head.linear.bias[1:] = math.log(math.expm1(1))  # the prior
        pair.model.decoder.body[0].weight[:, 0] = 0  # z is not used, the label is
        pair.model.decoder.body[0].weight[:, 1:].mul_(10)
    x, y = torch.randn(9, 6, dtype=torch.float64), torch.arange(9) % 3
    expected = pair.decode({"z": torch.zeros(9, 1).double()}, y=y)["x"].log_prob(x).detach()
    found = log_weights(pair, x, y=y, num_particles=2, max_elements=20)
    torch.testing.assert_close(found.bound, expected, rtol=0, atol=1e-3)
    assert (found.bound - found.bound.roll(1)).abs().min() > 1e-3


def test_one_particle_has_no_error():
    pair, x = exact_pair("ppca")
    found = log_weights(pair, x, num_particles=1)
    assert found.elbo_error.isnan().all()
    assert found.bound_error.isnan().all()
    torch.testing.assert_close(found.elbo, found.bound)
    torch.testing.assert_close(found.effective_sample_size, torch.ones_like(found.elbo))


def test_no_particles_are_refused():
    with pytest.raises(UsageError, match="whole number ≥ 1"):
        log_weights(VAE((4,), hidden=[4]), torch.zeros(2, 4), num_particles=0)


@pytest.mark.parametrize("wrong", [255.0, math.nan])
def test_a_datum_that_the_likelihood_cannot_have_is_refused_in_every_row(wrong):
    vae = VAE((6,), latent_dim=2, hidden=[8], likelihood="bernoulli")
    x = torch.zeros(5, 6)
    x[3, 2] = wrong
    with pytest.raises(UsageError):
        log_weights(vae, x, num_particles=2)
    seen = torch.ones(5, 6, dtype=torch.bool)
    seen[3, 2] = False
    assert log_weights(vae, x, num_particles=2, mask=seen).bound.isfinite().all()


def test_another_guide_than_the_pairs_own(ppca):
    """The exact posterior as a guide turns the bound into the evidence."""
    pair, x = ppca
    exact = PPCA((10,), latent_dim=3).double()
    exact.model.load_state_dict(pair.model.state_dict())
    found = log_weights(pair, x, num_particles=3, guide=exact.guide)
    torch.testing.assert_close(found.bound, exact_log_prob(pair, x), rtol=0, atol=1e-6)
