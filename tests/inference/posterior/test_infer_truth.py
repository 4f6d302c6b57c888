"""Every family of guides against PPCA, whose posterior and evidence are known exactly."""

from functools import cache

import pytest
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from inference.posterior import Plateau, infer
from pyro_models import PPCA, load_data

LATENTS, IMAGES = 4, 8
LEFT = (torch.arange(8) < 4).expand(8, 8)


@cache
def model():
    x = load_data("digits", preparation="dequantised").prepared("train").x.double()
    ppca = PPCA.maximum_likelihood(x, latent_dim=LATENTS)
    # components of maximum likelihood are orthogonal; turned, the posterior is correlated
    turn = torch.linalg.qr(torch.randn(LATENTS, LATENTS, generator=torch.manual_seed(1)).double()).Q
    with torch.no_grad():
        ppca.model.W.copy_(ppca.model.W @ turn)
    return ppca, x[:IMAGES]


def mask_of(half):
    return LEFT if half else None


@cache
def fitted(guide, half):
    ppca, x = model()
    small = {"hidden": (16,), "transforms": 1} if guide == "amortised_flow" else {}
    rule = Plateau(window=25)
    return infer(ppca, x, mask=mask_of(half), guide=guide, guide_options=small, stopping=rule)


@torch.no_grad()
def truth(half):
    ppca, x = model()
    return ppca.exact_log_prob(x, mask_of(half)), ppca.exact_posterior(x, mask_of(half))


@torch.no_grad()
def best_of_diagonal(half):
    """log p − ELBO of the best independent Normals: ½ (Σ log Λ_dd − log |Λ|), Λ the precision."""
    precision = truth(half)[1].precision_matrix
    log_diagonal = precision.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return (0.5 * (log_diagonal - torch.linalg.slogdet(precision).logabsdet)).expand(IMAGES)


@pytest.mark.parametrize("half", [False, True])
def test_full_covariance_reaches_the_evidence(half):
    log_p, exact = truth(half)
    posterior = fitted("full_covariance", half)
    gap = log_p - posterior.elbo(num_particles=500).value
    assert gap.abs().max() < 0.01
    assert set(posterior.stopped) == {"converged"}
    tril = posterior.guide.scale_tril()
    torch.testing.assert_close(
        tril @ tril.mT, exact.covariance_matrix.expand_as(tril), atol=2e-3, rtol=0.1
    )
    assert (posterior.mean["z"] - exact.mean).abs().max() < 0.03


@pytest.mark.parametrize(
    ("guide", "half"), [("normal", False), ("auto_normal", True), ("refined", True)]
)
def test_independent_normals_reach_the_optimum_of_their_family(guide, half):
    log_p, exact = truth(half)
    posterior = fitted(guide, half)
    bound = posterior.elbo(num_particles=2000)
    gap = log_p - bound.value
    optimum = best_of_diagonal(half)
    assert (gap > optimum - 4.5 * bound.standard_error).all()
    assert (gap - optimum).mean() < 0.02
    q = posterior.guide
    wide = MultivariateNormal(q.loc["z"], scale_tril=torch.diag_embed(q.log_scale["z"].exp()))
    kl = kl_divergence(wide, MultivariateNormal(exact.mean, exact.covariance_matrix))
    assert ((gap - kl).abs() < 4.5 * bound.standard_error).all()
    # their variances are the inverses of the precision's diagonal
    best = exact.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt().log()
    assert (q.log_scale["z"] - best).abs().mean() < 0.1


@pytest.mark.parametrize(
    ("guide", "half", "within"), [("low_rank", True, 0.08), ("amortised_flow", True, 0.1)]
)
def test_richer_families_come_closer_than_independent_normals_can(guide, half, within):
    log_p, _ = truth(half)
    gap = log_p - fitted(guide, half).elbo(num_particles=500).value
    assert gap.mean() < within < best_of_diagonal(half).mean()


def test_a_flow_keeps_what_its_normal_had_reached():
    log_p, exact = truth(True)
    posterior = fitted("flow", True)
    bound = posterior.elbo(num_particles=500)
    assert (log_p - bound.value).mean() < 0.05
    draws = posterior.sample(4000)["z"]
    error = (draws.mean(0) - exact.mean) / exact.stddev
    assert error.abs().max() < 0.15


@pytest.mark.parametrize("guide", ["full_covariance", "flow"])
def test_many_latents_in_float32_stay_well_conditioned(guide):
    """1,225 noisy numbers below the diagonal: what one-sample gradients do to them is bounded."""
    if guide == "flow":
        pytest.importorskip("zuko")
    x = load_data("digits", preparation="dequantised").prepared("train").x
    ppca = PPCA.maximum_likelihood(x, latent_dim=50)
    found = infer(ppca, x[:4], guide=guide, stopping=Plateau(window=25)).elbo(num_particles=200)
    gap = ppca.exact_log_prob(x[:4]).detach() - found.value
    assert (gap.abs() < 1.0 + 4 * found.standard_error).all()


@pytest.mark.parametrize("half", [False, True])
def test_laplace_is_exact_where_the_posterior_is_normal(half):
    log_p, exact = truth(half)
    posterior = fitted("laplace", half)
    bound = posterior.elbo(num_particles=50)
    torch.testing.assert_close(bound.value, log_p, atol=1e-4, rtol=0)
    assert bound.standard_error.max() < 1e-3
    assert not posterior.guide.damped.any()
    torch.testing.assert_close(posterior.mean["z"], exact.mean, atol=1e-3, rtol=0)


@pytest.mark.parametrize("half", [False, True])
def test_a_point_is_the_most_probable_latent(half):
    torch.testing.assert_close(
        fitted("point", half).mean["z"], truth(half)[1].mean, atol=1e-3, rtol=0
    )


def test_the_prior_gives_plain_monte_carlo_and_its_known_bound():
    ppca, x = model()
    posterior = fitted("prior", False)
    bound = posterior.elbo(num_particles=4000)
    with torch.no_grad():
        W, sigma = ppca.model.W, ppca.model.sigma
        noise = (x.flatten(1) - ppca.model.mu).square().sum(1) + W.square().sum()
        expected = -32 * torch.log(2 * torch.pi * sigma**2) - noise / (2 * sigma**2)
    assert ((bound.value - expected).abs() < 4.5 * bound.standard_error).all()
    assert (truth(False)[0] - bound.value).min() > 10
    assert posterior.effective_sample_size(1000).median() < 20


def test_the_exact_guide_as_encoder_leaves_no_gap():
    log_p, exact = truth(True)
    posterior = fitted("encoder", True)
    torch.testing.assert_close(posterior.bound.value, log_p, atol=1e-8, rtol=0)
    torch.testing.assert_close(posterior.mean["z"], exact.mean)
    assert posterior.k_hat(500).max() == -torch.inf


@pytest.mark.parametrize(("guide", "images"), [("hmc", IMAGES), ("nuts", IMAGES)])
def test_chains_draw_from_the_exact_posterior(guide, images):
    ppca, x = model()
    options = {
        "hmc": {"num_samples": 300, "num_chains": 4},
        "nuts": {"num_samples": 150, "num_chains": 4, "warmup": 60},
    }
    posterior = infer(ppca, x[:images], mask=LEFT, guide=guide, guide_options=options[guide])
    with torch.no_grad():
        exact = ppca.exact_posterior(x[:images], LEFT)
    error = (posterior.mean["z"] - exact.mean) / exact.stddev
    assert error.abs().max() < 0.5
    assert error.square().mean() < 0.03
    draws = posterior.guide.draws["z"]
    ratio = draws.var(1) / exact.variance
    assert 0.7 < ratio.mean() < 1.3


@pytest.mark.parametrize("seed", [0, 1])
def test_resampled_draws_are_of_the_posterior_and_not_of_the_proposal(seed):
    _, exact = truth(True)
    proposal = fitted("auto_normal", True)
    posterior = proposal.resampled(20_000, seed=seed)
    assert posterior.proposal is proposal
    assert not posterior.density
    draws = posterior.guide.draws["z"]
    covariance = torch.stack([d.T.cov() for d in draws])
    wanted = exact.covariance_matrix.expand_as(covariance)
    diagonal = torch.diag_embed(proposal.guide.log_scale["z"].detach().exp().square())
    assert (covariance - wanted).norm() < 0.5 * (diagonal - wanted).norm()


@pytest.mark.parametrize("guide", ["normal", "full_covariance", "low_rank"])
def test_many_weights_of_any_guide_estimate_the_evidence(guide):
    log_p, _ = truth(False)
    found = fitted(guide, False).importance_bound(2000, seed=3)
    assert ((found.value - log_p).abs() < 5 * found.standard_error + 0.02).all()
    assert (fitted(guide, False).k_hat(1000) < 0.9).all()


def test_completions_are_the_exact_conditional():
    ppca, x = model()
    posterior = fitted("full_covariance", True)
    seen = LEFT.expand(x.shape)
    with torch.no_grad():
        exact = ppca.exact_conditional(x, LEFT)
    mean = posterior.complete(num_samples=400)
    assert torch.equal(mean[seen], x[seen])
    error = (mean.flatten(1) - exact.mean)[~seen.flatten(1)]
    assert error.abs().max() < 5 * exact.stddev.max() / 20
    drawn = posterior.completions(400)
    assert torch.equal(drawn[:, seen], x[seen].expand(400, -1))
    ratio = drawn.flatten(2).var(0)[~seen.flatten(1)] / exact.variance[~seen.flatten(1)]
    assert abs(float(ratio.mean()) - 1) < 0.05


def test_the_log_density_is_that_of_the_fitted_normal():
    posterior = fitted("full_covariance", True)
    z = posterior.sample(7, seed=2)["z"]
    q = MultivariateNormal(posterior.guide.loc, scale_tril=posterior.guide.scale_tril())
    torch.testing.assert_close(posterior.log_prob({"z": z}), q.log_prob(z))
    torch.testing.assert_close(posterior.log_prob({"z": z[0]}), q.log_prob(z[0]))
