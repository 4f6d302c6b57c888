"""Diagnostics where the answers are known: k̂ of Pareto tails, PPCA, a collapsed dimension."""

import json
import math

import pytest
import torch
from pyro.ops.stats import fit_generalized_pareto
from torch.distributions import kl_divergence

from inference.evaluation import diagnose, pareto_k_hat
from inference.particles import effective_sample_size, particles
from pyro_models import GMM, PPCA, VAE, TwoLayerVAE, UsageError


@pytest.mark.parametrize("shape", [-0.2, 0.2, 0.5, 0.9])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_k_hat_is_the_shape_of_the_tail(shape: float, seed: int) -> None:
    """Also for each datum on its own, and as Pyro's estimator for one sample has it."""
    uniform = torch.rand(20_000, 8, generator=torch.Generator().manual_seed(seed)).double()
    log_w = torch.log1p((uniform**-shape - 1) / shape)  # a generalised Pareto variable, plus one
    k_hat = pareto_k_hat(log_w)
    M = int(3 * math.sqrt(len(log_w)))
    error = (1 + abs(shape)) / math.sqrt(M)
    assert bool(((k_hat - shape).abs() < 4 * error).all())
    ordered = log_w.exp().sort(0).values
    for b in range(8):
        theirs, _ = fit_generalized_pareto(ordered[-M:, b] - ordered[-M - 1, b])
        assert float(k_hat[b]) == pytest.approx(theirs, rel=1e-6)


def test_k_hat_of_few_or_equal_weights() -> None:
    assert bool(pareto_k_hat(torch.randn(24, 3)).isnan().all())
    assert bool((pareto_k_hat(torch.full((100, 2), -5.0)) == -math.inf).all())
    shifted = torch.randn(500, 2).double()
    torch.testing.assert_close(
        pareto_k_hat(shifted), pareto_k_hat(shifted - 1e4), rtol=1e-6, atol=0
    )


def test_weights_next_to_nothing_change_no_tail() -> None:
    log_w = torch.log1p((torch.rand(2000, 4).double() ** -0.9 - 1) / 0.9) - 50
    expected = pareto_k_hat(log_w)
    for low in (-1e7, -math.inf):
        with_one = torch.cat([log_w[:-1], torch.full((1, 4), low)])
        torch.testing.assert_close(pareto_k_hat(with_one.float()), expected, rtol=0, atol=0.02)
        torch.testing.assert_close(pareto_k_hat(with_one), expected, rtol=0, atol=0.02)


@pytest.mark.parametrize("shift", [0.0, -1e4, -1e6])
def test_the_effective_sample_size_lies_between_one_and_their_number(shift: float) -> None:
    equal = effective_sample_size(torch.full((1000, 2), shift))
    assert equal.tolist() == [1000.0] * 2
    one = torch.full((1000, 2), shift)
    one[3] += 300
    assert effective_sample_size(one).tolist() == [1.0] * 2


def test_json_has_null_for_what_is_not_finite(few) -> None:
    vae = VAE((1, 8, 8), hidden=[4], latent_dim=2)
    found = diagnose(vae, few, num_particles=10, limit=3)
    record = json.loads(found.to_json())
    assert record["k_hat"] == [None] * 3
    assert record["active_units"] == found.active_units
    assert math.isnan(found.share_unreliable)
    assert "at least 25 particles" in str(found)


def test_an_exact_guide_has_equal_weights(few) -> None:
    ppca = PPCA.maximum_likelihood(few.split("train").x.double(), latent_dim=3)
    found = diagnose(ppca, few, num_particles=200, limit=20)
    torch.testing.assert_close(found.effective_sample_size, torch.full((20,), 200.0).double())
    assert found.share_unreliable == 0
    means = ppca.exact_posterior(few.split("test").x[:20].double()).mean
    torch.testing.assert_close(found.posterior_mean_variance, means.detach().var(0, unbiased=False))


def test_kl_and_active_units_are_per_dimension(few) -> None:
    vae = VAE((1, 8, 8), hidden=[8], latent_dim=3).double()
    with torch.no_grad():  # dimension 1 is the prior whatever x is
        head = vae.guide.encoder.head.linear
        for row in (1, 4):
            head.weight[row] = 0
        head.bias[1], head.bias[4] = 0, math.log(math.expm1(1 - 1e-5))
        head.weight[0] *= 20
    found = diagnose(vae, few, num_particles=30, limit=None)
    x = few.split("test").x.double()
    q = vae.guide.encoder(x).base_dist
    expected = kl_divergence(q, torch.distributions.Normal(0.0, 1.0)).mean(0).detach()
    assert found.kl is not None
    torch.testing.assert_close(found.kl, expected)
    assert float(found.kl[1]) == pytest.approx(0, abs=1e-9)
    assert float(found.posterior_variance[1]) == pytest.approx(1)
    assert float(found.posterior_mean_variance[0]) > 0.01 > float(found.posterior_mean_variance[1])
    assert f"active units: {found.active_units} of 3" in str(found)


def test_memory_bounds_change_no_shape_and_nothing_is_disturbed(few) -> None:
    vae = VAE((1, 8, 8), hidden=[8], latent_dim=2)
    before = torch.get_rng_state()
    found = diagnose(vae, few, num_particles=40, limit=7, max_elements=300)
    assert found.effective_sample_size.shape == found.k_hat.shape == (7,)
    assert bool((found.effective_sample_size >= 1).all())
    assert torch.equal(before, torch.get_rng_state())


def test_what_cannot_be_diagnosed_is_said(few) -> None:
    with pytest.raises(UsageError, match="no continuous latent"):
        diagnose(GMM((1, 8, 8), num_components=2), few, num_particles=30)
    with pytest.raises(UsageError, match="whole number ≥ 1"):
        diagnose(VAE((1, 8, 8), hidden=[4]), few, num_particles=0)


def test_of_two_layers_the_upper_one_is_averaged_over_the_lower(few) -> None:
    torch.manual_seed(0)
    binary = few.with_preparation("threshold")
    pair = TwoLayerVAE(few.data_shape, latent_dims=[3, 2], hidden=[8], top_hidden=[8])
    with torch.no_grad():
        pair.guide.top_encoder.head.linear.weight.mul_(3)  # z2 follows what z1 was drawn
    x = binary.prepared("test", limit=40).x
    with torch.no_grad():
        drawn = particles(pair, None, x, num_particles=4000)
        kl = (drawn.log_q - drawn.log_prior).mean()
        upper = drawn.guide_sites["z2"]["fn"].mean.double()
        spread = drawn.latents["z2"].double().var(0)
    means = upper.mean(0).var(0, unbiased=False)
    found = diagnose(pair, binary, num_particles=500, limit=40, max_elements=20_000)
    assert bool((upper[0].var(0, unbiased=False) > 2 * means).all())  # what one draw would say
    torch.testing.assert_close(found.posterior_mean_variance[3:], means, rtol=0.1, atol=1e-3)
    torch.testing.assert_close(found.posterior_variance[3:], spread.mean(0), rtol=0.05, atol=1e-3)
    assert found.kl is not None
    assert float(found.kl.sum()) == pytest.approx(float(kl), rel=0.03)
