"""HMC draws from the posterior, datum by datum, and says how well it went."""

import pytest
import torch

from inference.mcmc.hmc import At, transition
from inference.posterior import condition, hmc
from pyro_models import PPCA, UsageError


def rotated_ppca(dim=8, latent_dim=3, seed=0):
    """PPCA whose posterior has correlations."""
    generator = torch.Generator().manual_seed(seed)
    pair = PPCA((dim,), latent_dim=latent_dim).double()
    with torch.no_grad():
        W = torch.randn(dim, latent_dim, generator=generator, dtype=torch.float64)
        pair.model.W.copy_(W * torch.tensor([2.0, 1.0, 0.4][:latent_dim]))
        pair.model.set_sigma(0.7)
    return pair


@pytest.mark.parametrize(("masked", "seed"), [(False, 0), (True, 1), (True, 2)])
def test_mean_and_covariance_are_those_of_the_exact_posterior(masked, seed):
    pair = rotated_ppca()
    x = torch.randn(8, 8, dtype=torch.float64)
    mask = torch.rand(8, 8) < 0.5 if masked else None
    chains = 100
    draws = hmc(
        condition(pair, x, mask=mask),
        num_samples=50,
        num_chains=chains,
        warmup=60,
        num_leapfrog=5,
        seed=seed,
    )
    exact = pair.exact_posterior(x, mask)
    mean, covariance = exact.mean.detach(), exact.covariance_matrix.detach()
    error = draws.mean_error
    z = (draws.mean - mean) / error
    assert float(z.square().mean()) < 2.5  # 24 numbers
    assert float(z.abs().max()) < 4.5
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    assert float((error / deviation).max()) < 0.05
    centred = draws.z - mean  # the mean of products about the true mean has no bias
    products = torch.einsum("scbi,scbj->cbij", centred, centred) / len(centred)
    wrong = (products.mean(0) - covariance) / (products.std(0) / chains**0.5)
    assert float(wrong.abs().max()) < 5
    torch.testing.assert_close(draws.covariance, products.mean(0), rtol=0.02, atol=0.02)
    assert float(draws.r_hat.max()) < 1.15
    assert float((draws.acceptance - 0.75).abs().max()) < 0.2
    assert not draws.divergences.any()


def test_each_datum_finds_its_own_scale():
    """One model, four data that are each seen in another pixel: their scales differ by 100."""
    weights = torch.tensor([[0.1], [3.0], [10.0], [100.0]], dtype=torch.float64)
    pair = PPCA((4,), latent_dim=1).double()
    with torch.no_grad():
        pair.model.W.copy_(weights)
        pair.model.set_sigma(1.0)
    x, mask = torch.randn(4, 4, dtype=torch.float64), torch.eye(4).bool()
    exact = pair.exact_posterior(x, mask)
    mean, scale = exact.mean.detach(), exact.variance.detach().sqrt()
    assert float(scale.max() / scale.min()) > 99
    target = condition(pair, x, mask=mask)
    draws = hmc(target, num_samples=60, num_chains=50, warmup=100, num_leapfrog=4)
    assert float(((draws.mean - mean) / draws.mean_error).abs().max()) < 4
    assert float((draws.acceptance - 0.75).abs().max()) < 0.22
    torch.testing.assert_close(draws.scale, scale, rtol=0.3, atol=0)
    given = hmc(target, num_samples=60, num_chains=50, warmup=60, num_leapfrog=4, scale=scale)
    assert torch.equal(given.scale, scale)
    assert float((given.step_size / given.step_size.mean() - 1).abs().max()) < 0.3


class Gaussian:
    """A target of its own: independent Normals of any scale, one datum each."""

    def __init__(self, scale):
        self.scale = scale

    def at(self, z):
        gradient = -z / self.scale.square()
        log_density = -0.5 * (z / self.scale).square().sum(-1)
        return At(log_density, log_density, gradient, gradient)


def test_energy_that_is_not_finite_is_rejected():
    scale = torch.tensor([[1.0], [1e-30]], dtype=torch.float64)
    target = Gaussian(scale)
    z = torch.zeros(50, 2, 1, dtype=torch.float64)
    step = torch.full((2,), 0.5, dtype=torch.float64)
    moved = transition(target, z, target.at(z), step=step, num_leapfrog=20)
    assert bool(moved.z.isfinite().all())
    assert bool(moved.diverged[:, 1].all())
    assert not bool(moved.diverged[:, 0].any())
    assert float(moved.acceptance[:, 1].max()) == 0
    assert float(moved.acceptance[:, 0].mean()) > 0.9
    assert torch.equal(moved.z[:, 1], z[:, 1])


def test_a_transition_leaves_its_distribution_as_it_is():
    """From exact draws, whatever the acceptance, come exact draws; also on the way between two."""
    scale = torch.tensor([[0.1, 1.0, 10.0]], dtype=torch.float64)
    target = Gaussian(scale)
    z = torch.randn(20_000, 1, 3, dtype=torch.float64) * scale
    step = torch.tensor([0.17], dtype=torch.float64)
    for _ in range(3):
        moved = transition(target, z, target.at(z), step=step, num_leapfrog=3)
        z = moved.z
    assert 0.2 < float(moved.acceptance.mean()) < 0.95
    square = (z / scale).square()
    error = square.std(0) / 20_000**0.5
    assert float(((square.mean(0) - 1) / error).abs().max()) < 4


def test_the_seed_decides_and_chunks_do_not_mix():
    pair = rotated_ppca()
    x = torch.randn(3, 8, dtype=torch.float64)
    target = condition(pair, x)
    few = {"num_samples": 5, "num_chains": 2, "warmup": 20, "num_leapfrog": 2}
    before = torch.get_rng_state()
    one, same, other = (hmc(target, seed=s, **few) for s in (3, 3, 4))
    assert torch.equal(one.z, same.z)
    assert not torch.equal(one.z, other.z)
    assert torch.equal(torch.get_rng_state(), before)
    done = []
    chunked = hmc(target, max_elements=1, progress=done.append, **few)
    assert done == [1] * 3
    assert chunked.z.shape == one.z.shape == (5, 2, 3, 3)
    assert chunked.latents["z"].shape == (10, 3, 3)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1"),
        ({"num_chains": 0}, "num_chains must be at least 1"),
        ({"warmup": 3}, "warmup must be at least 20"),
        ({"target_acceptance": 1.0}, "between 0 and 1"),
    ],
)
def test_mistakes_are_said(options, why):
    target = condition(rotated_ppca(), torch.randn(2, 8, dtype=torch.float64))
    with pytest.raises(UsageError, match=why):
        hmc(target, **options)


def test_chains_go_on_from_a_state_and_take_its_old_name():
    target = condition(rotated_ppca(), torch.randn(2, 8, dtype=torch.float64))
    few = {"num_samples": 4, "num_chains": 2, "warmup": 20, "num_leapfrog": 2}
    state = torch.randn(2, 2, 3, dtype=torch.float64)
    found = hmc(target, initial_state=state, **few)
    with pytest.warns(DeprecationWarning, match="start of hmc is now initial_state"):
        assert torch.equal(hmc(target, start=state, **few).z, found.z)
    assert not torch.equal(hmc(target, **few).z, found.z)


def test_effective_draws_are_measured_for_every_latent():
    target = condition(rotated_ppca(), torch.randn(2, 8, dtype=torch.float64))
    draws = hmc(target, num_samples=60, num_chains=4, warmup=40, num_leapfrog=5)
    for measured in (draws.r_hat, draws.bulk_ess, draws.tail_ess):
        assert measured.shape == (2, 3)
    assert float(draws.bulk_ess.min()) > 20
    assert float(draws.tail_ess.min()) > 20
