"""Dense and convolutional bodies: sizes, leading dimensions, context."""

import pytest
import torch
from torch import nn

from pyro_models import VAE, Generator, TwoLayerVAE, UsageError
from pyro_models.networks import (
    ACTIVATIONS,
    NETWORKS,
    NormalHead,
    dense,
    make_decoder,
    make_encoder,
)

SIZES = [(1, 28, 28), (1, 8, 8), (3, 7, 7), (2, 5, 9), (1, 1, 1)]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("data_shape", SIZES, ids=str)
@pytest.mark.parametrize("hidden", [(4,), (4, 6), (4, 6, 5)], ids=str)
@pytest.mark.parametrize("context", [0, 3])
def test_there_and_back_for_any_size_and_leading_dimensions(
    network: str, data_shape: tuple[int, ...], hidden: tuple[int, ...], context: int
) -> None:
    encoder = make_encoder(network, data_shape, hidden, 2, context=context)
    decoder = make_decoder(network, 2, hidden, (2, *data_shape), context=context)
    for batch in ((), (4,), (3, 4)):
        x = torch.randn(*batch, *data_shape)
        label = torch.randn((*batch[-1:], context)) if context else None
        q_z = encoder(x, label)
        assert q_z.batch_shape == batch
        assert q_z.event_shape == (2,)
        z = torch.randn(*batch, 2)
        outputs = decoder(z, label)
        assert outputs.shape == (*batch, 2, *data_shape)
        if batch:  # a datum's numbers do not depend on what stands beside it
            at = (-1,) * len(batch)
            label = None if label is None else label[-1]
            torch.testing.assert_close(decoder(z[at], label), outputs[at], atol=1e-5, rtol=1e-4)
            alone = encoder(x[at], label)
            torch.testing.assert_close(alone.mean, q_z.mean[at], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", NETWORKS)
def test_context_matters(network: str) -> None:
    encoder = make_encoder(network, (1, 8, 8), [4], 2, context=3)
    decoder = make_decoder(network, 2, [4], (1, 1, 8, 8), context=3)
    x, z = torch.randn(1, 1, 8, 8), torch.randn(1, 2)
    one, two = torch.eye(3)[:1], torch.eye(3)[1:2]
    assert not torch.equal(encoder(x, one).mean, encoder(x, two).mean)
    assert not torch.equal(decoder(z, one), decoder(z, two))
    assert decoder(z.expand(5, 1, 2), torch.eye(3)).shape == (5, 3, 1, 1, 8, 8)


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (7, 7), (5, 9)])
def test_every_output_pixel_is_reached_by_the_latent(size: tuple[int, int]) -> None:
    decoder = make_decoder("conv", 2, [4, 6], (1, 1, *size), activation="tanh")
    rows = torch.randn(40, 2)
    assert bool((decoder(rows).std(0) > 0).all())


def test_convolutions_halve_and_mirror() -> None:
    encoder = make_encoder("conv", (1, 28, 28), [16, 32], 2)
    decoder = make_decoder("conv", 2, [16, 32], (1, 1, 28, 28))
    convolutions = [m for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    transposed = [m for m in decoder.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(c.in_channels, c.out_channels) for c in convolutions] == [(1, 16), (16, 32)]
    assert [(c.in_channels, c.out_channels) for c in transposed] == [(32, 16), (16, 1)]
    assert encoder.head.linear.in_features == 32 * 7 * 7
    assert [c.output_padding for c in transposed] == [(1, 1), (1, 1)]


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activation_stands_between_layers_and_not_at_the_end(activation: str) -> None:
    layers = dense([5, 4, 3, 2], activation)
    kinds = [type(layer) for layer in layers]
    linear, act = nn.Linear, ACTIVATIONS[activation]
    assert kinds == [linear, act, linear, act, linear]


def test_gated_layers_are_gated_and_log_variances_clipped() -> None:
    layers, x = dense([5, 4, 3], "gated"), torch.randn(7, 5)
    W, V = layers[0].weight.chunk(2)
    b, c = layers[0].bias.chunk(2)
    torch.testing.assert_close(layers[:2](x), (x @ W.T + b) * (x @ V.T + c).sigmoid())
    assert layers(x).shape == (7, 3)
    image = torch.randn(2, 1, 7, 5)
    q_z = make_encoder("conv", (1, 7, 5), [4, 6], 2, activation="gated", scale="clipped")(image)
    decoder = make_decoder("conv", 2, [4, 6], (1, 1, 7, 5), activation="gated")
    assert decoder(q_z.sample()).shape == (2, 1, 1, 7, 5)
    head = make_encoder("dense", (5,), [4], 2, activation="gated", scale="clipped").head
    nn.init.ones_(head.linear.weight)
    for value, log_variance in ((-1e4, -6.0), (1e4, 2.0)):
        scale = head(torch.full((1, 4), value)).base_dist.scale
        torch.testing.assert_close(2 * scale.log(), torch.full((1, 2), log_variance))


def test_a_normal_head_is_positive_and_finite_for_extreme_features() -> None:
    head = NormalHead(1, 2)
    nn.init.ones_(head.linear.weight)
    for value in (-1e4, 0.0, 1e4):
        q_z = head(torch.full((3, 1), value))
        scale = q_z.base_dist.scale
        assert bool((scale > 0).all())
        assert bool(q_z.log_prob(q_z.sample()).isfinite().all())
    assert bool((head(torch.full((1, 1), 1e4)).base_dist.scale > 9e3).all())  # unbounded above


def test_a_convolution_of_vectors_is_one_line() -> None:
    with pytest.raises(UsageError, match=r"^.*images of shape \(C, H, W\); got \(6,\)\Z"):
        make_encoder("conv", (6,), [4], 2)


@pytest.mark.parametrize("hidden", [5, "x", None, [0], [2.5], []])
def test_layers_that_are_none_are_refused(hidden) -> None:
    makers = (
        lambda: VAE((1, 8, 8), hidden=hidden),
        lambda: Generator((1, 8, 8), hidden=hidden),
        lambda: TwoLayerVAE((1, 8, 8), hidden=[4], top_hidden=hidden, latent_dims=[3, 2]),
    )
    for make in makers:
        with pytest.raises(UsageError, match=r"hidden (is a list of|needs)"):
            make()
