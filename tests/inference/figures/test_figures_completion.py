"""Figures of completions: what stands in which column, read back from the pixels."""

import math

import numpy as np
import pytest
import torch

from inference.figures import completions, encoder_free, latent_contours
from inference.posterior import complete, infer, reconstruct
from pyro_models import PPCA, VAE, BernoulliMixture, UsageError, load_data
from pyro_models.data.masks import seen_pixels

TOP = seen_pixels("top", (1, 8, 8))


@pytest.fixture(scope="module")
def x():
    return load_data("digits", preparation="threshold").prepared("test", limit=12).x


@pytest.fixture(scope="module")
def ppca():
    train = load_data("digits", preparation="threshold").prepared("train").x
    return PPCA.maximum_likelihood(train, latent_dim=2)


def tiles_of(figure):
    """(rows, columns, 8, 8) of the first axes, read from the mosaic's opaque pixels."""
    image = figure.axes[0].images[0].get_array()
    opaque = ~np.ma.getmaskarray(image)
    down, across = (np.flatnonzero(opaque.any(axis)) for axis in (1, 0))
    dots = math.ceil(56 / 8) * 8
    dense = np.asarray(image)[np.ix_(down, across)]
    tiles = dense.reshape(len(down) // dots, dots, len(across) // dots, dots).transpose(0, 2, 1, 3)
    return tiles[:, :, 3::7, 3::7]


def heads(figure):
    return [label.get_text() for label in figure.axes[0].get_xticklabels()]


def test_original_seen_mean_and_samples_stand_in_this_order(ppca, x):
    found = complete(ppca, x, "top", num_samples=3)
    figure = completions(found, x, rows=5)
    tiles = tiles_of(figure)
    assert tiles.shape == (5, 6, 8, 8)
    np.testing.assert_array_equal(tiles[:, 0], x[:5, 0])
    np.testing.assert_array_equal(tiles[:, 1, :4], x[:5, 0, :4])
    assert (tiles[:, 1, 4:] == 0).all()
    shown = found.mean[:5, 0].detach().clamp(0, 1)
    np.testing.assert_allclose(tiles[:, 2], shown, atol=1e-6)
    for s in range(3):
        shown = found.samples[s, :5, 0].detach().clamp(0, 1)
        np.testing.assert_allclose(tiles[:, 3 + s], shown, atol=1e-6)
    assert heads(figure) == ["original", "seen", "mean", "sample", "sample", "sample"]
    assert "exactly" in figure.axes[0].get_title()
    figure.canvas.draw()


def test_several_ways_stand_beside_each_other_under_their_names(ppca, x):
    several = {
        "right": complete(ppca, x, TOP, num_samples=2),
        "wrong": complete(ppca, x, TOP, num_samples=2, guide="encoder_zeros", pixels="mean"),
    }
    figure = completions(several, x, samples=1)
    assert tiles_of(figure).shape == (8, 6, 8, 8)
    assert heads(figure) == ["original", "seen", "mean", "sample\nright", "mean", "sample\nwrong"]
    assert (
        completions(several["wrong"], x, samples=0)
        .axes[0]
        .get_title()
        .startswith("Half-seen images completed by the encoder fed zeros (wrong)")
    )


def test_whole_images_stand_beside_their_fitted_and_encoded_reconstructions(ppca, x):
    posterior = infer(ppca, x, guide="normal", max_steps=3)
    figure = encoder_free(posterior, rows=3, blocks=2)
    tiles = tiles_of(figure)
    assert tiles.shape == (3, 6, 8, 8)
    assert heads(figure) == ["original", "fitted", "encoder"] * 2
    blocks = tiles.reshape(6, 3, 8, 8)
    np.testing.assert_array_equal(blocks[:, 0], x[:6, 0])
    encoded = reconstruct(ppca, x[:6], latents="mean").clamp(0, 1)
    np.testing.assert_allclose(blocks[:, 2], encoded[:, 0], atol=1e-5)
    fitted = posterior.reconstruct(latents="mean")[:6, 0].clamp(0, 1)
    np.testing.assert_allclose(blocks[:, 1], fitted, atol=1e-5)


def paths(axes):
    """Vertices of every contour line drawn, by colour."""
    found = {}
    for collection in axes.collections:
        if len(collection.get_edgecolor()) and not collection.get_facecolor().any():
            colour = tuple(collection.get_edgecolor()[0])
            found[colour] = [p.vertices for p in collection.get_paths()]
    return found


def test_contours_of_a_gaussian_posterior_are_its_ellipses(ppca, x):
    """Exact q: each contour lies where −2 log (1 − mass) is the squared Mahalanobis distance."""
    one = x[3:4]
    posterior = infer(ppca, one, mask=TOP, guide="encoder")  # PPCA's own guide is exact
    figure = latent_contours(ppca, one, TOP, posterior)
    axes = figure.axes[0]
    (lines,) = paths(axes).values()
    exact = ppca.exact_posterior(one, TOP)
    mean, precision = (t.detach()[0].double() for t in (exact.mean, exact.precision_matrix))

    def distance(vertices):
        off = torch.as_tensor(vertices) - mean
        return ((off @ precision) * off).sum(1)

    assert len(lines) == 3
    for vertices, mass in zip(lines, (0.99, 0.9, 0.5), strict=True):
        expected = torch.full((len(vertices),), -2 * math.log(1 - mass)).double()
        torch.testing.assert_close(distance(vertices), expected, rtol=0.02, atol=0.0)
    fill = axes.collections[0].get_paths()[0].vertices  # of p, between 99 and 90 %
    assert float(distance(fill).max()) == pytest.approx(-2 * math.log(0.01), rel=0.02)
    figure.canvas.draw()
    assert [text.get_text() for text in axes.get_legend().get_texts()][1] == "q: encoder"


def test_several_guides_share_one_plot_and_the_seen_half_stands_beside(x):
    vae = VAE((1, 8, 8), latent_dim=2, hidden=[8], likelihood="bernoulli")
    one = torch.where(TOP, x[:1], math.nan)
    guides = [infer(vae, one, mask=TOP, guide=g, max_steps=3) for g in ("normal", "auto_normal")]
    figure = latent_contours(vae, one[0], TOP, guides)
    assert len(paths(figure.axes[0])) == 2
    beside = np.asarray(figure.axes[1].images[0].get_array())
    np.testing.assert_array_equal(beside, torch.where(TOP, x[:1], 0.0)[0, 0])


def test_what_cannot_be_drawn_is_one_line(ppca, x):
    found = complete(ppca, x, "top", num_samples=2)
    other = complete(ppca, x, "left", num_samples=2)
    mixture = BernoulliMixture((6,), num_components=2)
    vectors = complete(mixture, torch.ones(2, 6), "random")
    posterior = infer(ppca, x[:2], mask=TOP, guide="normal", max_steps=5)
    first = posterior.select([0])
    three = PPCA((1, 8, 8), latent_dim=3)
    calls = {
        "at least one completion": lambda: completions({}, x),
        "need images of 1 or 3 channels": lambda: completions(vectors, torch.ones(2, 6)),
        "give the originals": lambda: completions(found, x[:3]),
        "seen pixels differ": lambda: completions(found, 1 - x),
        "0 to 2 samples": lambda: completions(found, x, samples=3),
        "other data, or from other pixels": lambda: completions({"a": found, "b": other}, x),
        "whole images": lambda: encoder_free(posterior),
        "of one datum": lambda: latent_contours(ppca, x[:1], TOP, posterior),
        "exactly two continuous latents; there are 3": lambda: latent_contours(
            three, x[:1], TOP, infer(three, x[:1], mask=TOP, guide="normal", max_steps=5)
        ),
        "two posteriors bear one name": lambda: latent_contours(ppca, x[:1], TOP, [first, first]),
        "at least one posterior": lambda: latent_contours(ppca, x[:1], TOP, {}),
    }
    for line, call in calls.items():
        with pytest.raises(UsageError, match=rf"^.*{line}.*\Z"):
            call()
