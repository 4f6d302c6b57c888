"""The latents of one pair as the data of another."""

import pytest
import torch

from inference.learning import fit
from inference.posterior import latents_as_data
from pyro_models import GMM, PPCA, VAE, SemiSupervisedVAE, TwoLayerVAE, UsageError

SHAPE = (1, 8, 8)


def test_training_data_are_drawn_from_the_guide_and_the_others_are_its_means(few):
    ppca = PPCA(SHAPE, latent_dim=3)
    latents = latents_as_data(ppca, few)
    exact = ppca.exact_posterior(few.split("train").x)
    draws = torch.stack([latents.prepared("train", seed=s).x for s in range(400)])
    assert latents.redraws
    error = exact.stddev / 20
    assert bool(((draws.mean(0) - exact.mean).abs() < 5 * error).all())
    assert bool((draws.std(0) / exact.stddev - 1).abs().max() < 5 / (2 * 400) ** 0.5)
    test = ppca.exact_posterior(few.split("test").x).mean
    torch.testing.assert_close(latents.prepared("test", seed=7).x, test)
    assert torch.equal(latents.prepared("train").x, latents.prepared("train").x)
    assert len(latents.prepared("train", limit=5)) == 5


def test_labels_are_kept_left_out_and_stand_alone_as_in_other_data(few):
    vae = VAE(SHAPE, latent_dim=2, hidden=[8])
    latents = latents_as_data(vae, few)
    assert torch.equal(latents.split("train").y, few.split("train").y)
    kept = latents.with_labels(20, seed=1)
    assert torch.equal(kept.split("train").y, few.with_labels(20, seed=1).split("train").y)
    rows = kept.split("train").y >= 0
    assert torch.equal(kept.labelled().scales, latents.scales[rows])
    assert kept.labelled().prepared("train").x.shape == (20, 2)


def test_m2_learns_on_the_latents_of_a_vae(few):
    torch.manual_seed(0)
    vae = VAE(SHAPE, latent_dim=4, hidden=[8])
    data = latents_as_data(vae, few).with_labels(20)
    pair = SemiSupervisedVAE((4,), num_classes=10, latent_dim=2, hidden=[8], likelihood="gaussian")
    history = fit(pair, data, epochs=4, batch_size=50, lr=1e-2, progress=False).history
    assert history.epochs[-1].train > history.epochs[0].train


@pytest.mark.parametrize(
    "pair", [GMM(SHAPE, num_components=2), TwoLayerVAE(SHAPE, hidden=[8])], ids=["gmm", "two"]
)
def test_other_latents_are_refused(pair, few):
    with pytest.raises(UsageError, match="one continuous site"):
        latents_as_data(pair, few)
