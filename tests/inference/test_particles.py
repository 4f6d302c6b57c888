"""The primitive: K weights per datum, against Pyro's own bounds where they are right, and sums."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import RenyiELBO, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO
from pyro.infer.autoguide import AutoNormal

from inference.particles import particles
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError

B, K = 5, 4
VECTORISED = {"num_particles": K, "vectorize_particles": True, "max_plate_nesting": 1}


def ppca(guide="linear"):
    return PPCA((6,), latent_dim=2, guide=guide).double()


def vae():
    return VAE((6,), hidden=[8], latent_dim=2, likelihood="gaussian").double()


def cvae():
    return CVAE((6,), num_classes=3, hidden=[8], latent_dim=2, likelihood="gaussian").double()


def gmm():
    return GMM((6,), num_components=3).double()


@pytest.fixture
def x():
    return torch.randn(B, 6, dtype=torch.float64)


LABELS = torch.arange(B) % 3


@pytest.mark.parametrize("make", [ppca, vae, cvae])
def test_the_same_draws_give_pyros_trace_elbo(make, x):
    pair = make()
    pyro.set_rng_seed(2)
    theirs = -Trace_ELBO(**VECTORISED).loss(pair.model, pair.guide, x, y=LABELS)
    pyro.set_rng_seed(2)
    ours = particles(pair, None, x, num_particles=K, y=LABELS).elbo()
    assert ours.shape == (B,)
    assert float(ours.detach().sum()) == pytest.approx(theirs, rel=1e-10)


@pytest.mark.parametrize("make", [ppca, vae])
def test_the_same_draws_give_pyros_renyi_bound_where_it_is_right(make, x):
    """Every site inside the plate, no scale: then alpha = 0 is a bound per datum, summed."""
    pair = make()
    pyro.set_rng_seed(2)
    theirs = -RenyiELBO(alpha=0.0, **VECTORISED).loss(pair.model, pair.guide, x)
    pyro.set_rng_seed(2)
    ours = particles(pair, None, x, num_particles=K).importance_bound()
    assert float(ours.detach().sum()) == pytest.approx(theirs, rel=1e-10)


def test_the_mean_field_elbo_agrees_in_expectation(x):
    pair = vae()
    ours = particles(pair, None, x, num_particles=20_000).log_weight.detach()
    theirs = torch.tensor(
        [-TraceMeanField_ELBO().loss(pair.model, pair.guide, x) for _ in range(200)]
    )
    total = ours.sum(1)
    error = math.hypot(float(total.std()) / math.sqrt(20_000), float(theirs.std()) / math.sqrt(200))
    assert float(total.mean()) == pytest.approx(float(theirs.mean()), abs=4 * error)


def test_enumerated_sites_give_pyros_enumerated_elbo_and_the_evidence(x):
    pair = gmm()
    pair.start_from(x)
    found = particles(pair, None, x, num_particles=K)
    theirs = -TraceEnum_ELBO(max_plate_nesting=1).loss(pair.model, pair.guide, x)
    assert float(found.elbo().detach().sum()) == pytest.approx(theirs, rel=1e-10)
    torch.testing.assert_close(found.importance_bound(), pair.exact_log_prob(x))
    assert found.log_q.abs().max() == 0
    assert found.log_prior.abs().max() == 0
    torch.testing.assert_close(
        found.effective_sample_size(), torch.full((B,), float(K), dtype=torch.float64)
    )


def test_the_parts_are_the_densities_of_the_drawn_latents(x):
    pair = vae()
    found = particles(pair, None, x, num_particles=K)
    z = found.latents["z"]
    assert z.shape == (K, B, 2)
    torch.testing.assert_close(found.log_prior, pair.model.prior().log_prob(z))
    torch.testing.assert_close(found.log_likelihood, pair.decode({"z": z})["x"].log_prob(x))
    torch.testing.assert_close(found.log_q, pair.guide.encoder(x).log_prob(z))
    torch.testing.assert_close(
        found.log_weight, found.log_prior + found.log_likelihood - found.log_q
    )
    w = found.log_weight.exp()
    torch.testing.assert_close(found.importance_bound(), w.mean(0).log())
    torch.testing.assert_close(found.effective_sample_size(), w.sum(0).square() / w.square().sum(0))


@pytest.mark.parametrize("scale", [0.1, 60.0])
def test_a_scale_does_not_enter(scale, x):
    pair = vae()
    pyro.set_rng_seed(1)
    plain = particles(pair, None, x, num_particles=K)
    pyro.set_rng_seed(1)
    scaled = particles(
        poutine.scale(pair.model, scale=scale),
        poutine.scale(pair.guide, scale=scale),
        x,
        num_particles=K,
    )
    assert torch.equal(plain.log_weight, scaled.log_weight)


def test_a_minibatch_of_a_larger_plate_is_weighed_as_it_is(x):
    def model(x, *, y=None, mask=None):
        with pyro.plate("data", 1000, dim=-1, subsample=torch.arange(len(x))):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.unsqueeze(-1), torch.ones(6)).to_event(1), obs=x)

    def guide(x, *, y=None, mask=None):
        with pyro.plate("data", 1000, dim=-1, subsample=torch.arange(len(x))):
            pyro.sample("z", dist.Normal(x.mean(-1), 0.5))

    found = particles(model, guide, x, num_particles=K)
    z = found.latents["z"]
    expected = (
        dist.Normal(0.0, 1.0).log_prob(z)
        + dist.Normal(z.unsqueeze(-1), 1.0).log_prob(x).sum(-1)
        - dist.Normal(x.mean(-1), 0.5).log_prob(z)
    )
    torch.testing.assert_close(found.log_weight, expected)


MEANS = torch.tensor([-2.0, 0.5, 3.0], dtype=torch.float64)
PROBS = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)


def mixed_model(x, *, y=None, mask=None):
    """z continuous, k enumerated; x depends on both, and so does a second observation."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2).double(), 1.0).to_event(1))
        k = pyro.sample("k", dist.Categorical(PROBS), infer={"enumerate": "parallel"})
        loc = MEANS[k].unsqueeze(-1) + z.sum(-1, keepdim=True)
        pyro.sample("x", dist.Normal(loc, 0.7).expand((*loc.shape[:-1], 6)).to_event(1), obs=x)
        pyro.sample("u", dist.Normal(z[..., 0], 1.0), obs=x[:, 0])


def mixed_guide(x, *, y=None, mask=None):
    with pyro.plate("data", len(x), dim=-1):
        loc = x[:, :2] * 0.3
        pyro.sample("z", dist.Normal(loc, 0.8).to_event(1))


def test_a_continuous_and_an_enumerated_site_together_equal_the_sum_by_hand(x):
    found = particles(mixed_model, mixed_guide, x, num_particles=K)
    z = found.latents["z"]
    assert set(found.latents) == {"z"}
    by_hand = torch.zeros(K, B, dtype=torch.float64)
    for mean, prob in zip(MEANS, PROBS, strict=True):
        loc = mean + z.sum(-1, keepdim=True)
        by_hand += prob * dist.Normal(loc, 0.7).log_prob(x).sum(-1).exp()
    log_lik = by_hand.log() + dist.Normal(z[..., 0], 1.0).log_prob(x[:, 0])
    torch.testing.assert_close(found.log_likelihood, log_lik)
    torch.testing.assert_close(
        found.log_prior, dist.Normal(0.0, 1.0).log_prob(z).sum(-1), check_dtype=False
    )
    theirs = TraceEnum_ELBO(**VECTORISED)
    pyro.set_rng_seed(3)
    enumerated = -theirs.loss(mixed_model, mixed_guide, x)
    pyro.set_rng_seed(3)
    ours = particles(mixed_model, mixed_guide, x, num_particles=K).elbo().sum()
    assert float(ours) == pytest.approx(enumerated, rel=1e-9)


@pytest.mark.parametrize("num_particles", [1, 2])
@pytest.mark.parametrize("size", [1, 3])
def test_any_number_of_particles_and_data_is_enumerated_rightly(num_particles, size, x):
    pair = gmm()
    pair.start_from(x)
    found = particles(pair, None, x[:size], num_particles=num_particles)
    expected = pair.exact_log_prob(x[:size]).expand(num_particles, size)
    torch.testing.assert_close(found.log_weight, expected)
    one = GMM((6,), num_components=1).double()
    torch.testing.assert_close(
        particles(one, None, x[:size], num_particles=num_particles).log_weight,
        one.exact_log_prob(x[:size]).expand(num_particles, size),
    )


def test_a_site_outside_the_plate_is_refused_by_name(x):
    def model(x, *, y=None, mask=None):
        theta = pyro.sample("theta", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(theta.unsqueeze(-1), torch.ones(6)).to_event(1), obs=x)

    def guide(x, *, y=None, mask=None):
        pyro.sample("theta", dist.Normal(0.0, 1.0))

    with pytest.raises(UsageError, match="site 'theta' is outside the plate 'data'") as caught:
        particles(model, guide, x, num_particles=K)
    assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="'theta'"):
        particles(model, lambda *a, **k: None, x, num_particles=K)


def test_a_deterministic_site_outside_the_plate_is_fine(x):
    pair = vae()

    def model(x, **conditions):
        pyro.deterministic("constant", torch.tensor(3.0))
        return pair.model(x, **conditions)

    pyro.set_rng_seed(1)
    plain = particles(pair, None, x, num_particles=K)
    pyro.set_rng_seed(1)
    found = particles(model, pair.guide, x, num_particles=K)
    assert torch.equal(found.log_weight, plain.log_weight)
    assert set(found.latents) == {"z"}


def test_an_automatic_normal_guide_works_with_its_auxiliary_sites(x):
    pair = ppca()
    guide = AutoNormal(pair.model, init_scale=0.5)
    guide(x)
    found = particles(pair, guide, x, num_particles=K)
    assert set(found.latents) == {"z"}
    z = found.latents["z"]
    assert z.shape == (K, B, 2)
    q = dist.Normal(guide.locs.z, guide.scales.z).to_event(1)
    torch.testing.assert_close(found.log_q, q.log_prob(z), check_dtype=False)
    expected = pair.model.prior().log_prob(z) + pair.decode({"z": z})["x"].log_prob(x)
    torch.testing.assert_close(found.log_prior + found.log_likelihood, expected, check_dtype=False)


def test_gradients_flow_to_model_and_guide_and_are_those_of_pyro(x):
    pair = vae()
    pyro.set_rng_seed(4)
    particles(pair, None, x, num_particles=K).elbo().sum().backward()
    ours = {n: p.grad.clone() for n, p in pair.named_parameters()}
    pair.zero_grad()
    pyro.set_rng_seed(4)
    (-Trace_ELBO(**VECTORISED).differentiable_loss(pair.model, pair.guide, x)).backward()
    for name, parameter in pair.named_parameters():
        assert ours[name].abs().max() > 0
        torch.testing.assert_close(ours[name], parameter.grad)


@pytest.mark.parametrize("shared", [True, False])
def test_unseen_pixels_reach_no_weight(shared, x):
    pair = ppca("exact")
    mask = torch.rand(1 if shared else B, 6) < 0.5
    broken = torch.where(mask, x, torch.full_like(x, float("nan")))
    found = particles(pair, None, broken, num_particles=K, mask=mask)
    torch.testing.assert_close(
        found.log_weight, pair.exact_log_prob(x, mask).expand(K, B), rtol=1e-8, atol=1e-8
    )


def test_mistakes_are_refused_in_one_line(x):
    pair = vae()
    with pytest.raises(UsageError, match=r"num_particles \(K\) must be a whole number ≥ 1; got 0"):
        particles(pair, None, x, num_particles=0)
    with pytest.raises(UsageError, match=r"whole number ≥ 1; got 2\.5"):
        particles(pair, None, x, num_particles=2.5)
    with pytest.raises(UsageError, match="x is one datum of shape"):
        particles(pair, None, x[0], num_particles=2)
    with pytest.raises(UsageError, match="give a guide"):
        particles(pair.model, None, x, num_particles=2)
    with pytest.raises(UsageError, match="needs labels") as caught:
        particles(cvae(), None, x, num_particles=2)
    assert "\n" not in str(caught.value)
