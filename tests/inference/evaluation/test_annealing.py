"""Annealed importance sampling: unbiased, near the truth, and below it by what it says."""

import pytest
import torch

from inference.evaluation import anneal, bracket
from inference.evaluation.annealing import schedule_of
from inference.posterior import condition
from pyro_models import CVAE, PPCA, VAE, UsageError


def rotated_ppca(dim=20, latent_dim=10, seed=0, guide="exact"):
    generator = torch.Generator().manual_seed(seed)
    pair = PPCA((dim,), latent_dim=latent_dim, guide=guide).double()
    with torch.no_grad():
        pair.model.W.copy_(0.4 * torch.randn(dim, latent_dim, generator=generator).double())
        pair.model.set_sigma(0.8)
    return pair


def simulated(pair, n, seed=1):
    torch.manual_seed(seed)
    return pair.model(n=n).detach()


def test_it_is_within_a_tenth_of_a_nat_of_the_truth():
    pair = rotated_ppca()
    x = simulated(pair, 4)
    mask = torch.ones(4, 20).bool()
    mask[2:] = torch.rand(2, 20) < 0.6
    found = anneal(
        condition(pair, x, mask=mask), num_temperatures=200, num_chains=200, num_leapfrog=4
    )
    error = found.estimate - pair.exact_log_prob(x, mask).detach()
    assert float(error.mean().abs()) < 0.1
    assert float((error / found.standard_error).abs().max()) < 3.5
    assert float(found.standard_error.max()) < 0.13
    assert float(found.effective_sample_size.min()) > 40
    assert 0.5 < float(found.acceptance.min()) <= float(found.acceptance.max()) < 0.85
    assert found.step_sizes.shape == (199, 4)


@pytest.mark.parametrize("schedule", ["sigmoidal", "linear"])
@pytest.mark.parametrize("num_temperatures", [3, 20])
def test_weights_are_unbiased_however_few_the_temperatures(schedule, num_temperatures):
    """Few temperatures, so that step sizes adapt all the way: their pilots must not bias it."""
    pair = rotated_ppca(dim=6, latent_dim=2)
    x = simulated(pair, 1).expand(200, -1)  # 200 sets of pilots for one datum
    found = anneal(
        condition(pair, x),
        num_temperatures=num_temperatures,
        num_chains=30,
        num_leapfrog=2,
        schedule=schedule,
        seed=7,
    )
    ratio = (found.log_weights - pair.exact_log_prob(x).detach()).exp().mean(0)
    error = float(ratio.std()) / 200**0.5
    assert error < 0.1
    assert float(ratio.mean()) == pytest.approx(1, abs=3 * error)
    error = found.estimate - pair.exact_log_prob(x).detach()
    assert float(error.mean()) < 2 * float(error.std()) / 200**0.5


def test_from_the_exact_posterior_every_weight_is_the_evidence():
    pair = rotated_ppca()
    x = simulated(pair, 3)
    target = condition(pair, x, guide=pair.guide)
    found = anneal(target, num_temperatures=4, num_chains=3, num_leapfrog=2)
    wanted = pair.exact_log_prob(x).detach().expand(3, -1)
    torch.testing.assert_close(found.log_weights, wanted)
    assert found.effective_sample_size.tolist() == pytest.approx([3, 3, 3])


def test_a_path_from_a_guide_ends_at_the_same_evidence():
    pair = rotated_ppca(dim=6, latent_dim=2, guide="linear")
    with torch.no_grad():
        pair.guide.raw_tril.fill_diagonal_(-0.5)  # neither the prior nor the posterior
    x = simulated(pair, 3)
    found = anneal(
        condition(pair, x, guide=pair.guide), num_temperatures=60, num_chains=60, num_leapfrog=3
    )
    error = found.estimate - pair.exact_log_prob(x).detach()
    assert float(error.abs().max()) < 0.1


def test_simulated_data_are_bracketed_by_both_bounds():
    pair = rotated_ppca()
    found = bracket(pair, num_data=60, num_temperatures=100, num_leapfrog=3, num_chains=8)
    exact = pair.exact_log_prob(found.x).detach()
    below, above = found.lower - exact, found.upper - exact
    for error, side in ((below, -1), (above, 1)):
        mean, spread = float(error.mean()), float(error.std()) / 60**0.5
        assert side * mean > -2 * spread
        assert abs(mean) < 0.8
    ratio = (-above).exp()  # E[exp(−upper)] = 1 / p(x)
    assert float(ratio.mean()) == pytest.approx(1, abs=3 * float(ratio.std()) / 60**0.5)
    assert "gap" in str(found)


def test_the_gap_is_below_half_a_nat_on_a_small_vae():
    torch.manual_seed(3)
    vae = VAE((1, 8, 8), latent_dim=4, hidden=[16], likelihood="bernoulli")
    with torch.no_grad():
        for p in vae.model.parameters():
            p.mul_(2.5)  # latents that matter
    found = bracket(vae, num_data=10, num_temperatures=150, num_leapfrog=4)
    spread = found.lower - found.forward.log_weights.mean(0)
    assert float(spread.mean()) > 0.05  # there is something to bracket
    assert -0.1 < float(found.gap.mean()) < 0.5


def test_the_seed_decides_and_chunks_are_bounded():
    pair = rotated_ppca(dim=6, latent_dim=2)
    target = condition(pair, simulated(pair, 3))
    few = {"num_temperatures": 5, "num_chains": 2, "num_leapfrog": 1}
    before = torch.get_rng_state()
    one, same, other = (anneal(target, seed=s, **few) for s in (1, 1, 2))
    assert torch.equal(one.log_weights, same.log_weights)
    assert not torch.equal(one.log_weights, other.log_weights)
    assert torch.equal(torch.get_rng_state(), before)
    done = []
    assert anneal(target, max_elements=1, progress=done.append, **few).z.shape == (2, 3, 2)
    assert done == [1, 1, 1]


@pytest.mark.parametrize("name", ["sigmoidal", "linear"])
def test_schedules_rise_from_0_to_1(name):
    betas = schedule_of(name, 50)
    assert (float(betas[0]), float(betas[-1])) == (0, 1)
    assert bool((betas.diff() > 0).all())
    torch.testing.assert_close(betas, 1 - betas.flip(0))


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"num_temperatures": 0}, "num_temperatures"),
        ({"num_chains": 0}, "num_chains must be at least 1"),
        ({"num_pilots": 0}, "num_pilots must be at least 1"),
        ({"schedule": "cubic"}, "unknown schedule 'cubic': choose from sigmoidal, linear"),
        ({"target_acceptance": 0.0}, "between 0 and 1"),
    ],
)
def test_mistakes_are_said(options, why):
    pair = rotated_ppca(dim=6, latent_dim=2)
    with pytest.raises(UsageError, match=why):
        anneal(condition(pair, simulated(pair, 1)), **options)


def test_nothing_is_simulated_from_an_objective():
    with pytest.raises(UsageError, match="no data can be simulated"):
        bracket(VAE((1, 8, 8), hidden=[4], likelihood="cross_entropy"))
    with pytest.raises(UsageError, match="needs labels"):
        bracket(CVAE((1, 8, 8), num_classes=2, hidden=[4], likelihood="bernoulli"))
