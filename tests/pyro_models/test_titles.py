"""What readers call a pair: its family, and what of its options tells it from others."""

import pytest
from torch import nn

from pyro_models import CVAE, GMM, PPCA, VAE, BernoulliMixture, Flow, Generator, SemiSupervisedVAE
from pyro_models.models import PAIRS, build, title_of

SHAPE = (1, 8, 8)


@pytest.mark.parametrize(
    ("pair", "title"),
    [
        (VAE(SHAPE, hidden=[8]), "VAE, dense"),
        (VAE(SHAPE, network="conv", hidden=[4, 8]), "VAE, convolutional"),
        (VAE(SHAPE, hidden=[8], likelihood="bernoulli"), "VAE, dense"),
        (VAE(SHAPE, hidden=[8], likelihood="gaussian"), "VAE, dense, Gaussian"),
        (
            VAE(SHAPE, hidden=[8], likelihood="continuous_bernoulli", prior="vamp"),
            "VAE, dense, continuous Bernoulli, VampPrior",
        ),
        (
            VAE(
                SHAPE,
                hidden=[8],
                prior={"class_path": "mixture", "init_args": {"num_components": 3}},
            ),
            "VAE, dense, mixture prior",
        ),
        (CVAE(SHAPE, num_classes=10, hidden=[8]), "CVAE, dense"),
        (SemiSupervisedVAE(SHAPE, num_classes=10, hidden=[8]), "semi-supervised VAE, dense"),
        (PPCA(SHAPE, latent_dim=10), "PPCA, 10 components"),
        (PPCA(SHAPE, latent_dim=1, guide="linear"), "PPCA, 1 component, linear guide"),
        (GMM(SHAPE, num_components=20), "GMM, 20 components"),
        (
            GMM(SHAPE, num_components=2, covariance="full", guide="amortised"),
            "GMM, 2 components, full covariances, amortised guide",
        ),
        (BernoulliMixture(SHAPE, num_components=3), "Bernoulli mixture, 3 components"),
        (Flow(SHAPE, levels=17), "flow, uniform dequantisation"),
        (Flow((3,), dequantise=None), "flow"),
        (Generator(SHAPE, hidden=[8]), "generator"),
    ],
)
def test_a_title_says_the_family_and_what_was_chosen(pair, title):
    assert title_of(pair) == title


def test_a_class_of_one_s_own_is_called_by_its_name_or_as_it_says():
    class Mine(VAE):
        pass

    class Called(VAE):
        called = "my VAE"

    class Plain(nn.Module):
        pass

    class Titled(nn.Module):
        title = "all mine"

    assert title_of(Mine(SHAPE, hidden=[8])) == "Mine, dense"
    assert title_of(Called(SHAPE, encoder=nn.Identity(), hidden=[8])) == "my VAE, own networks"
    assert title_of(Plain()) == "Plain"
    assert title_of(Titled()) == "all mine"


@pytest.mark.parametrize("name", list(PAIRS))
def test_every_pair_has_a_title_that_its_configuration_keeps(name):
    small = {"denoiser": "dense", "num_steps": 5} if name == "diffusion" else {}
    pair = build(name, SHAPE, num_classes=10, **small)
    again = type(pair)(**pair.config())
    assert title_of(again) == title_of(pair)
    assert "_" not in title_of(pair)
