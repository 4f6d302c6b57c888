"""New data, and data decoded from the latents of others."""

import pytest
import torch

from inference.particles import particles
from inference.posterior import generate, latent_means, posterior_sites, reconstruct
from pyro_models import CVAE, GMM, HVAE, PPCA, VAE, TwoLayerVAE, UsageError

SHAPE = (1, 8, 8)


def vae(**options):
    return VAE(SHAPE, hidden=[8], latent_dim=2, **options)


def cvae():
    return CVAE(SHAPE, num_classes=10, hidden=[8], latent_dim=2)


@pytest.fixture
def x(few):
    return few.split("test").x[:12]


@pytest.fixture
def ppca(few):
    return PPCA.maximum_likelihood(few.split("train").x, latent_dim=4)


@pytest.fixture
def gmm(few):
    pair = GMM(SHAPE, num_components=5)
    pair.start_from(few.split("train").x)
    return pair


def test_generated_data_have_the_moments_of_the_model(ppca):
    x = generate(ppca, n=20_000, pixels="sample").flatten(1).double()
    W, sigma = ppca.model.W.detach().double(), float(ppca.model.sigma.detach())
    covariance = W @ W.T + sigma**2 * torch.eye(64)
    scale = covariance.diagonal().sqrt()
    error = (x.mean(0) - ppca.model.mu.detach()) / (scale / 20_000**0.5)
    assert error.abs().max() < 4.5
    ratio = x.var(0) / covariance.diagonal()
    assert (ratio - 1).abs().max() < 4.5 * (2 / 20_000) ** 0.5


@pytest.mark.parametrize("seed", [0, 3])
def test_means_and_samples_of_one_seed_share_their_latents(ppca, seed):
    means, samples = (generate(ppca, n=200, pixels=p, seed=seed) for p in ("mean", "sample"))
    noise = (samples - means).flatten()
    assert float(noise.std()) == pytest.approx(float(ppca.model.sigma.detach()), rel=0.05)
    assert not torch.equal(means, generate(ppca, n=200, seed=seed + 1))


@pytest.mark.parametrize("make", [vae, cvae, lambda: GMM(SHAPE, num_components=3)])
def test_the_same_seed_gives_the_same_data_and_nothing_else_moves(make):
    pair = make()
    y = torch.arange(6) if pair.num_classes else None
    pair.train()
    before = torch.get_rng_state()
    first = generate(pair, n=6, y=y, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(m.training for m in pair.modules())
    torch.randn(3)
    assert torch.equal(generate(pair, n=6, y=y, seed=2), first)
    assert first.shape == (6, *SHAPE)
    assert not first.requires_grad


def test_one_label_for_all_or_one_for_each():
    pair = cvae()
    together = generate(pair, n=4, y=3)
    assert torch.equal(together, generate(pair, n=4, y=torch.full((4,), 3)))
    assert not torch.equal(together, generate(pair, n=4, y=torch.tensor([3, 3, 3, 4])))


def test_reconstructions_of_ppca_are_its_posterior_means_decoded(ppca, x):
    posterior = ppca.exact_posterior(x)
    expected = ppca.decode({"z": posterior.mean})["x"].mean.detach()
    torch.testing.assert_close(reconstruct(ppca, x, latents="mean"), expected)
    torch.testing.assert_close(latent_means(ppca, x), posterior.mean)
    draws = torch.stack([reconstruct(ppca, x) for _ in range(400)])
    error = draws.std(0) / 20
    assert ((draws.mean(0) - expected).abs() <= 4.8 * error + 1e-5).all()
    noisy = torch.stack([reconstruct(ppca, x, pixels="sample") for _ in range(100)])
    assert noisy.var(0).mean() > draws.var(0).mean()


def test_the_mean_of_a_mixture_is_weighted_by_its_responsibilities(gmm, x):
    expected = (gmm.responsibilities(x) @ gmm.model.loc()).unflatten(1, SHAPE)
    torch.testing.assert_close(reconstruct(gmm, x, latents="mean"), expected)
    components = gmm.model.loc().detach()
    sampled = reconstruct(gmm, x, latents="sample").flatten(1)
    assert torch.cdist(sampled, components).min(1).values.max() < 1e-4


def test_sites_left_to_enumeration_come_from_the_exact_posterior(gmm, x):
    sites = posterior_sites(gmm, x)
    torch.testing.assert_close(sites["k"].probs, gmm.responsibilities(x))
    amortised = GMM(SHAPE, num_components=5, guide="amortised")
    torch.testing.assert_close(
        posterior_sites(amortised, x)["k"].probs,
        amortised.guide.network(x.flatten(1)).softmax(-1).detach(),
    )


def test_masks_labels_and_other_guides_are_passed_on(ppca, x):
    mask = torch.rand(len(x), 8, 8) < 0.5
    torch.testing.assert_close(latent_means(ppca, x, mask=mask), ppca.exact_posterior(x, mask).mean)
    pair = cvae()
    y = torch.arange(12) % 10
    torch.testing.assert_close(
        posterior_sites(pair, x, y=y)["z"].mean, pair.guide.encoder(x, torch.eye(10)[y]).mean
    )
    linear = PPCA(SHAPE, latent_dim=4, guide="linear")
    by_guide = posterior_sites(ppca, x, guide=linear.guide)["z"].mean
    torch.testing.assert_close(by_guide, linear.guide.mean(x.flatten(1)))


def test_looking_for_latents_moves_no_generator(ppca, x):
    before = torch.get_rng_state()
    latent_means(ppca, x)
    reconstruct(ppca, x, latents="mean")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda x: generate(vae(), n=0), "n must be at least 1"),
        (lambda x: generate(vae(), n=2, pixels="median"), "pixels is 'mean' or 'sample'"),
        (lambda x: generate(cvae(), n=2), "needs labels"),
        (lambda x: generate(cvae(), n=2, y=torch.zeros(3).long()), "give 2 labels"),
        (lambda x: generate(cvae(), n=2, y=10), "every label in 0…9"),
        (lambda x: reconstruct(vae(), x, latents="median"), "latents is 'mean' or 'sample'"),
        (lambda x: reconstruct(vae(), x, pixels="mode"), "pixels is 'mean' or 'sample'"),
        (lambda x: latent_means(GMM(SHAPE), x), "no continuous latent"),
        (
            lambda x: posterior_sites(vae(), x, guide=lambda *a, **k: None),
            "the guide has no site 'z'",
        ),
    ],
)
def test_mistakes_are_refused_in_one_line(call, says, x):
    with pytest.raises(UsageError, match=says) as caught:
        call(x)
    assert "\n" not in str(caught.value)


def layered(make):
    torch.manual_seed(3)
    pair = make((1, 8, 8), latent_dims=[3, 2], hidden=[8], top_hidden=[8])
    for value in pair.guide.parameters():
        value.data.mul_(2.0)  # so that one layer hangs on the other
    return pair


@pytest.mark.parametrize("make", [TwoLayerVAE, HVAE])
def test_means_of_layers_are_those_over_all_draws_of_the_layers_before(make) -> None:
    pair, x = layered(make), torch.rand(5, 1, 8, 8).round()
    draws = particles(pair, None, x, num_particles=20_000).latents
    wanted = {name: (z.mean(0), z.std(0)) for name, z in draws.items()}
    mean, spread = (torch.cat([wanted[name][i] for name in pair.latent_sites], 1) for i in (0, 1))
    found = latent_means(pair, x, num_draws=400)
    error = spread * (1 / 400 + 1 / 20_000) ** 0.5
    assert bool(((found - mean).abs() < 5 * error).all())
    assert torch.equal(found, latent_means(pair, x, num_draws=400))
    assert not torch.equal(found, latent_means(pair, x, num_draws=400, seed=1))
    at_one = torch.cat([site.mean for site in posterior_sites(pair, x).values()], 1)
    assert (found - mean).norm() < (at_one - mean).norm()


def test_a_reconstruction_from_means_has_those_over_all_draws() -> None:
    pair, x = layered(HVAE), torch.rand(5, 1, 8, 8).round()
    z1, z2 = latent_means(pair, x).split([3, 2], dim=1)
    names = list(pair.latent_sites)
    values = dict(zip(names, (z1, z2), strict=True))
    expected = pair.decode(values)["x"].mean
    torch.testing.assert_close(reconstruct(pair, x, latents="mean"), expected)
