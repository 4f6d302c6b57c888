"""Quadrature agrees with closed forms to rounding, and with other grids where there is none."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from inference.evaluation import quadrature, quadrature_kl
from inference.posterior import condition
from pyro_models import CVAE, PPCA, VAE, UsageError


def rotated_ppca(latent_dim):
    generator = torch.Generator().manual_seed(0)
    pair = PPCA((12,), latent_dim=latent_dim, guide="linear").double()
    with torch.no_grad():
        pair.model.W.copy_(torch.randn(12, latent_dim, generator=generator).double())
        pair.guide.raw_tril.fill_(-1.0)
    return pair


@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("sigma", [0.003, 1.0])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_evidence_posterior_and_divergence_are_exact_on_ppca(latent_dim, sigma, masked):
    pair = rotated_ppca(latent_dim)
    with torch.no_grad():
        pair.model.set_sigma(sigma)
    x = pair.model(n=3).detach()
    mask = torch.rand(3, 12) < 0.6 if masked else None
    target = condition(pair, x, mask=mask, guide=pair.guide)
    found = quadrature(target)
    exact = pair.exact_posterior(x, mask)
    wanted = pair.exact_log_prob(x, mask).detach()
    torch.testing.assert_close(found.log_evidence, wanted, rtol=0, atol=1e-7)
    torch.testing.assert_close(found.mean, exact.mean.detach(), rtol=0, atol=1e-8)
    torch.testing.assert_close(
        found.covariance, exact.covariance_matrix.detach(), rtol=1e-6, atol=1e-12
    )
    assert float(found.error.max()) < 1e-3
    if sigma == 1.0:
        filled = x if mask is None else torch.where(mask, x, 0.0)
        q = MultivariateNormal(pair.guide.mean(filled), scale_tril=pair.guide.scale_tril())
        kl, error = quadrature_kl(target, found.log_evidence)
        torch.testing.assert_close(kl, kl_divergence(q, exact).detach(), rtol=1e-7, atol=1e-7)
        assert float(error.max()) < 1e-6


def test_two_modes_far_apart_are_both_found():
    """|z| is all that x tells: p(x, z) = N(z) N(x; 30 |z|, 1) has a mode on either side."""

    class Folded(PPCA):
        pass

    pair = Folded((3,), latent_dim=1).double()
    pair.model.decoder = lambda z: (30 * z.abs()).expand(*z.shape[:-1], 3).unsqueeze(-2)
    with torch.no_grad():
        pair.model.set_sigma(1.0)
    x = torch.full((1, 3), 60.0, dtype=torch.float64)
    found = quadrature(condition(pair, x))
    grid = torch.linspace(1.5, 2.5, 400_001, dtype=torch.float64)
    log_joint = -0.5 * grid.square() - 1.5 * (60 - 30 * grid).square() - 2 * math.log(2 * math.pi)
    wanted = float(log_joint.logsumexp(0)) + math.log(2.5e-6 * 2)
    assert float(found.log_evidence) == pytest.approx(wanted, abs=1e-3)
    assert float(found.mean.abs()) < 1e-6
    assert float(found.covariance) == pytest.approx(4, rel=1e-2)


def test_a_network_is_integrated_as_a_far_finer_grid_does():
    torch.manual_seed(2)
    pair = CVAE((1, 4, 4), num_classes=3, latent_dim=2, hidden=[16], likelihood="bernoulli")
    pair = pair.double()
    with torch.no_grad():
        for p in pair.model.parameters():
            p.mul_(3)
    y = torch.tensor([0, 2])
    x = pair.model(n=2, y=y)
    mask = torch.rand(2, 1, 4, 4) < 0.7
    target = condition(pair, x, y=y, mask=mask)
    found = quadrature(target, tolerance=1e-4)
    axis = torch.linspace(-7, 7, 501, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None].expand(-1, 2, -1)
    with torch.no_grad():
        values = torch.cat([target.log_joint(part) for part in z.split(50_000)])
    wanted = values.logsumexp(0) + 2 * math.log(14 / 500)
    torch.testing.assert_close(found.log_evidence, wanted, rtol=0, atol=1e-3)


def test_mistakes_are_said():
    vae = VAE((1, 4, 4), latent_dim=3, hidden=[4], likelihood="bernoulli")
    x = torch.zeros(1, 1, 4, 4)
    with pytest.raises(UsageError, match="VAE has 3: use annealing"):
        quadrature(condition(vae, x))
    flat = condition(VAE((1, 4, 4), hidden=[4], likelihood="bernoulli"), x)
    with pytest.raises(UsageError, match="must be odd"):
        quadrature(flat, nodes=64)
    with pytest.raises(UsageError, match="KL of a guide"):
        quadrature_kl(flat, torch.zeros(1))


def exact_gaussian(W, sigma, x):
    """log N(x; 0, W Wᵀ + σ² I) by the Cholesky factor of σ² I + Wᵀ W, without cancellation."""
    N, q = W.shape
    M = torch.linalg.cholesky(W.T @ W + sigma**2 * torch.eye(q).double())
    mean = torch.cholesky_solve(W.T @ x.T, M)  # E[z | x]
    residual = (x.T - W @ mean).square().sum(0) / sigma**2 + mean.square().sum(0)
    log_det = 2 * M.diagonal().log().sum() + 2 * (N - q) * math.log(sigma)
    return -0.5 * (residual + log_det + N * math.log(2 * math.pi))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("latent_dim", [1, 2])
@pytest.mark.parametrize("sigma", [0.001, 0.05, 1.0])
@pytest.mark.parametrize("weight", [0.05, 1.0, 30.0])
def test_the_mass_is_found_however_narrow_and_far_and_the_error_is_one(
    latent_dim, sigma, weight, dtype
):
    """Means of z up to 40 deviations of the prior away, widths down to 1e-5, and an outlier."""
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        pair = PPCA((3,), latent_dim=latent_dim).to(dtype)
        W = weight * torch.randn(3, latent_dim, generator=generator).double()
        if latent_dim == 2 and seed:
            W[:, 1] = W[:, 0] + 0.01 * W[:, 1]  # strongly correlated latents
        with torch.no_grad():
            pair.model.W.copy_(W)
            pair.model.set_sigma(sigma)
        z = torch.tensor([0.0, 8.0, -20.0, 40.0]).double()[:, None].repeat(1, latent_dim)
        noise = sigma * torch.randn(4, 3, generator=generator)
        x = torch.cat([z @ W.T + noise, torch.full((1, 3), 20.0)]).to(dtype)
        found = quadrature(condition(pair, x))
        W, s = pair.model.W.detach().double(), float(pair.model.sigma.detach())
        wanted = exact_gaussian(W, s, x.double() - pair.model.mu.detach().double())
        actual = (found.log_evidence.double() - wanted).abs()
        rounding = 1e-12 * (wanted.abs() + (x.double() / sigma).square().sum(1))
        known = found.log_evidence.isfinite()
        assert bool((actual <= found.error + rounding)[known].all()), (actual, found.error)
        assert bool(known[:4].all())
        assert set(found.unresolved) == set((~known).nonzero().flatten().tolist())
        if dtype == torch.float64:
            assert bool(known.all())
            assert float(found.error.max()) < 1e-3


def test_data_of_mixed_difficulty_do_not_touch_each_other():
    pair = PPCA((2,), latent_dim=1).double()
    with torch.no_grad():
        pair.model.W.fill_(1.0)
        pair.model.set_sigma(0.05)
    x = torch.tensor([0.1, 20.0, -3.0, 1e200], dtype=torch.float64)[:, None].expand(-1, 2)
    found = quadrature(condition(pair, x))
    wanted = pair.exact_log_prob(x[:3]).detach()
    torch.testing.assert_close(found.log_evidence[:3], wanted, rtol=0, atol=1e-9)
    assert list(found.unresolved) == [3]
    assert math.isnan(found.log_evidence[3])
    assert math.isinf(found.error[3])
    alone = quadrature(condition(pair, x[1:2]))
    torch.testing.assert_close(alone.log_evidence, found.log_evidence[1:2], rtol=0, atol=1e-10)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_error_of_networks_with_kinks_is_one(seed):
    """Against a grid of 400,001 nodes; rectified units make log p(x, z) kinked."""
    torch.manual_seed(seed)
    pair = VAE((6,), latent_dim=1, hidden=[12], likelihood="bernoulli").double()
    with torch.no_grad():
        for p in pair.model.parameters():
            p.mul_(5)
    x = pair.model(n=6).detach()
    x[-1] = 1 - x[-1]
    target = condition(pair, x)
    axis = torch.linspace(-12, 12, 400_001, dtype=torch.float64)
    with torch.no_grad():
        values = target.log_joint(axis[:, None, None].expand(-1, 6, -1))
    wanted = values.logsumexp(0) + math.log(24 / 400_000)
    found = quadrature(target)
    assert bool(((found.log_evidence - wanted).abs() <= found.error + 1e-8).all())
    assert float(found.error.max()) < 2e-3


def test_what_no_grid_resolves_is_said():
    """A comb of teeth far narrower than the nodes' spacing."""

    class Comb(PPCA):
        pass

    pair = Comb((2,), latent_dim=1).double()
    pair.model.decoder = lambda z: (1e7 * z).sin().expand(*z.shape[:-1], 2).unsqueeze(-2)
    with torch.no_grad():
        pair.model.set_sigma(0.01)
    found = quadrature(condition(pair, torch.zeros(1, 2).double()))
    assert 0 in found.unresolved
    assert "an error of" in found.unresolved[0] or "no box" in found.unresolved[0]
    assert math.isnan(found.log_evidence[0])
