"""The latents of one pair as the data of another."""

import pytest
import torch

from inference.learning import fit
from inference.posterior import latents_as_data
from pyro_models import GMM, PPCA, VAE, SemiSupervisedVAE, UsageError

SHAPE = (1, 8, 8)


def test_they_are_the_means_of_the_guide_in_every_split(few):
    ppca = PPCA(SHAPE, latent_dim=3)
    latents = latents_as_data(ppca, few.with_preparation("dequantised"), seed=4)
    for name in few.splits:
        x = few.with_preparation("dequantised").prepared(name, seed=4).x
        torch.testing.assert_close(latents.split(name).x, ppca.exact_posterior(x).mean)
    assert (latents.preparation, latents.levels, latents.data_shape) == ("grey", None, (3,))


def test_labels_are_kept_left_out_and_stand_alone_as_in_other_data(few):
    vae = VAE(SHAPE, latent_dim=2, hidden=[8])
    latents = latents_as_data(vae, few.with_labels(20, seed=1))
    y = latents.split("train").y
    assert torch.equal(y, few.with_labels(20, seed=1).split("train").y)
    assert latents.labels_kept == (20, 1)
    assert latents.labelled().prepared("train").x.shape == (20, 2)


def test_m2_learns_on_the_latents_of_a_vae(few):
    torch.manual_seed(0)
    vae = VAE(SHAPE, latent_dim=4, hidden=[8])
    data = latents_as_data(vae, few).with_labels(20)
    pair = SemiSupervisedVAE((4,), num_classes=10, latent_dim=2, hidden=[8], likelihood="gaussian")
    history = fit(
        pair, data, epochs=4, batch_size=50, lr=1e-2, capture=False, progress=False
    ).history
    assert history.epochs[-1].train > history.epochs[0].train


def test_a_pair_without_continuous_latents_is_refused(few):
    with pytest.raises(UsageError, match="GMM has no continuous latent"):
        latents_as_data(GMM(SHAPE, num_components=2), few)
