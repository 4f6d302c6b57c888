"""The two-layer VAE against quadrature; its bound is a bound, whichever way the guide goes."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, TraceMeanField_ELBO

from inference.evaluation import log_weights
from inference.particles import particles
from inference.posterior import latent_means, reconstruct
from pyro_models import TwoLayerVAE, UsageError

PIXELS, B = 5, 3


def tiny(seed=0, **options):
    """One-dimensional z1 and z2, so that both are integrated on one grid."""
    torch.manual_seed(seed)
    options = {"latent_dims": [1, 1], "hidden": [6], "top_hidden": [4], **options}
    pair = TwoLayerVAE((PIXELS,), **options).double()
    with torch.no_grad():
        for parameter in pair.parameters():
            parameter.add_(0.4 * torch.randn_like(parameter))
        for encoder in (pair.guide.encoder, pair.guide.top_encoder):
            encoder.head.linear.bias[1:] += 1.5  # wide, so that importance weights are tame
    return pair


def data(seed=0):
    return torch.bernoulli(torch.rand(B, PIXELS, generator=torch.Generator().manual_seed(seed)))


@torch.no_grad()
def log_evidence(pair, x):
    """log p(x) by quadrature over (z1, z2), (B,)."""
    points = torch.linspace(-12, 12, 801, dtype=torch.float64)
    step = math.log(float(points[1] - points[0]))
    z1, z2 = points.view(-1, 1), points.view(-1, 1, 1)
    log_z2 = dist.Normal(torch.zeros_like(points), torch.ones_like(points)).log_prob(points)
    log_z1 = (pair.model.prior(z2).log_prob(z1) + log_z2.unsqueeze(1)).logsumexp(0) + step
    log_x = pair.decode({"z1": z1.unsqueeze(1)})["x"].log_prob(x)
    return (log_x + log_z1.unsqueeze(1)).logsumexp(0) + step


@pytest.mark.parametrize("seed", range(3))
def test_importance_sampling_arrives_at_quadrature_and_the_bound_stays_below(seed):
    pair, x = tiny(seed), data(seed).double()
    truth = log_evidence(pair, x)
    found = log_weights(pair, x, num_particles=20_000)
    assert bool(((found.bound - truth).abs() < 5 * found.bound_error).all())
    assert float(found.bound_error.max()) < 0.05
    assert bool((found.elbo < truth).all())


def test_its_elbo_is_the_average_log_weight_and_a_mean_field_one_is_not():
    pair, x = tiny(1), data(1).double()
    many = x.repeat(16_000, 1)
    found = log_weights(pair, x, num_particles=16_000)
    error = float(found.elbo_error.square().sum().sqrt())
    loss = pair.elbo().loss(pair.model, pair.guide, many) / 16_000
    wrong = TraceMeanField_ELBO(max_plate_nesting=1)
    with pytest.warns(UserWarning, match="mean field restriction"):
        other = wrong.loss(pair.model, pair.guide, many) / 16_000
    assert abs(-loss - float(found.elbo.sum())) < 6 * error
    assert abs(-other - float(found.elbo.sum())) > 10 * error


def test_particles_fall_back_on_sampled_terms_for_the_kl():
    pair, x = tiny(), data().double()
    drawn = particles(pair, None, x, num_particles=4)
    torch.testing.assert_close(drawn.kl, drawn.log_q - drawn.log_prior)


def test_data_are_reconstructed_from_z1_and_shown_by_both():
    pair, x = tiny(latent_dims=[3, 2]), data().double()
    z1 = pair.guide.encoder(x).mean
    torch.testing.assert_close(
        reconstruct(pair, x, latents="mean"), pair.decode({"z1": z1})["x"].mean
    )
    assert reconstruct(pair, x).shape == x.shape
    means = latent_means(pair, x)
    assert means.shape == (B, 5)
    torch.testing.assert_close(means[:, :3], z1)


def test_plain_svi_trains_all_four_networks():
    pair, x = tiny(), data().double().repeat(10, 1)
    before = {name: p.detach().clone() for name, p in pair.named_parameters()}
    svi = SVI(pair.model, pair.guide, pyro.optim.Adam({"lr": 1e-2}), pair.elbo())
    losses = [svi.step(x) for _ in range(30)]
    assert sum(losses[-10:]) < sum(losses[:10])
    assert all(not torch.equal(p, before[name]) for name, p in pair.named_parameters())


def test_outputs_may_start_at_the_mean_of_the_data():
    pair, x = tiny(output_bias="data"), data().double()
    assert not pair.started
    pair.start_from(x)
    assert pair.started
    with torch.no_grad():
        pair.model.decoder.body[-1].weight.zero_()
    mean = pair.decode({"z1": torch.zeros(1, 1, dtype=torch.float64)})["x"].mean[0]
    torch.testing.assert_close(mean, x.mean(0).clamp(1e-3, 1 - 1e-3))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"latent_dims": [3]}, r"those of z1 and of z2, both positive; got \[3\]"),
        ({"latent_dims": [3, 0]}, r"both positive; got \[3, 0\]"),
        ({"top_hidden": []}, "at least one positive layer size"),
        ({"output_bias": "nope"}, "unknown output_bias 'nope'"),
    ],
)
def test_what_cannot_be_built_is_one_line(options, line):
    with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
        TwoLayerVAE((PIXELS,), **options)
