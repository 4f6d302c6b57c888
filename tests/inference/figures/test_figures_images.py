import math

import numpy as np
import pytest
import torch

from inference.figures import (
    Shown,
    class_grid,
    draw_figure,
    interpolation,
    latent_grid,
    latent_scatter,
    mixture_means,
    nearest,
    prior_samples,
    reconstructions,
)
from inference.figures.grid import mosaic
from inference.posterior import reconstruct
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError, load_data


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").split("test")


@pytest.fixture(scope="module")
def ppca(digits):
    return PPCA.maximum_likelihood(digits.x, latent_dim=4)


@pytest.fixture
def cvae():
    return CVAE((1, 8, 8), num_classes=10, latent_dim=2, hidden=(8,))


def rows_of_tiles(figure):
    """The images of a figure as (rows, columns, 8, 8), read from the mosaic's opaque pixels."""
    (axes,) = figure.axes
    image = axes.images[0].get_array()
    opaque = ~np.ma.getmaskarray(image)
    down, across = (np.flatnonzero(opaque.any(axis)) for axis in (1, 0))
    dots = math.ceil(56 / 8) * 8
    dense = np.asarray(image)[np.ix_(down, across)]
    tiles = dense.reshape(len(down) // dots, dots, len(across) // dots, dots).transpose(0, 2, 1, 3)
    return tiles[:, :, 3::7, 3::7]


def test_originals_stand_beside_their_reconstructions(ppca, digits):
    tiles = rows_of_tiles(reconstructions(ppca, digits.x, latents="mean"))
    assert tiles.shape == (8, 8, 8, 8)
    originals, again = tiles[:, 0::2], tiles[:, 1::2]
    x = digits.x[:32]
    np.testing.assert_array_equal(originals.reshape(32, 8, 8), x[:, 0])
    expected = reconstruct(ppca, x, latents="mean").clamp(0, 1)
    np.testing.assert_allclose(again.reshape(32, 8, 8), expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("latents", ["mean", "sample"])
@pytest.mark.parametrize("pixels", ["mean", "sample"])
def test_the_title_tells_what_is_sampled(ppca, digits, latents, pixels):
    figure = reconstructions(ppca, digits.x, latents=latents, pixels=pixels)
    title = figure.axes[0].get_title()
    assert f"z: {latents} of q(z | x)" in title
    assert f"{pixels} of p(x | z)" in title


def test_sampled_and_mean_reconstructions_differ(ppca, digits):
    shown = {
        (latents, pixels): rows_of_tiles(
            reconstructions(ppca, digits.x, latents=latents, pixels=pixels)
        )[:, 1::2].tobytes()
        for latents in ("mean", "sample")
        for pixels in ("mean", "sample")
    }
    assert len(set(shown.values())) == 4


def test_fewer_images_make_fewer_rows(ppca, digits):
    tiles = rows_of_tiles(reconstructions(ppca, digits.x[:6], columns=4))
    assert tiles.shape[:2] == (3, 4)


def test_reconstructions_of_a_mixture(digits):
    pair = GMM((1, 8, 8), num_components=5)
    pair.start_from(digits.x)
    figure = reconstructions(pair, digits.x, latents="mean")
    assert "averaged over q(k | x)" in figure.axes[0].get_title()


def test_prior_samples_are_as_many_as_asked_for_and_repeat_by_seed(ppca):
    once, again, other = (rows_of_tiles(prior_samples(ppca, n=16, seed=seed)) for seed in (0, 0, 1))
    assert once.shape[:2] == (4, 4)
    np.testing.assert_array_equal(once, again)
    assert not np.array_equal(once, other)


def test_sampled_pixels_scatter_around_the_mean_of_the_same_latents():
    pair = PPCA((1, 8, 8), latent_dim=2)
    with torch.no_grad():
        pair.model.mu.fill_(0.5)
        pair.model.set_sigma(0.01)
    mean, sample = (
        rows_of_tiles(prior_samples(pair, n=4, pixels=pixels)) for pixels in ("mean", "sample")
    )
    inside = (mean > 0.05) & (mean < 0.95)  # where the figure clips nothing
    assert np.std((sample - mean)[inside]) == pytest.approx(0.01, rel=0.3)


def test_prior_samples_of_labels(cvae):
    assert rows_of_tiles(prior_samples(cvae, y=torch.arange(4))).shape[:2] == (2, 2)
    assert rows_of_tiles(prior_samples(cvae, n=9, y=3)).shape[:2] == (3, 3)
    with pytest.raises(UsageError, match="needs labels"):
        prior_samples(cvae)
    with pytest.raises(UsageError, match="give 5 labels"):
        prior_samples(cvae, n=5, y=torch.arange(4))


def test_a_column_of_the_class_grid_is_its_class(cvae):
    with torch.no_grad():
        for p in cvae.model.parameters():
            p.zero_()
        first, last = (m for m in cvae.model.decoder.modules() if isinstance(m, torch.nn.Linear))
        first.weight[0, -10 + 7] = 1.0  # a unit that only class 7 turns on
        last.weight[:, 0] = 10.0
    figure = class_grid(cvae, per_class=3)
    tiles = rows_of_tiles(figure)
    assert tiles.shape[:2] == (3, 10)
    assert (tiles[:, 7] > 0.99).all()
    assert (np.delete(tiles, 7, axis=1) < 0.51).all()
    axes = figure.axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == [str(c) for c in range(10)]
    assert axes.get_xlabel() == "class y"


def test_class_grid_needs_labels(ppca):
    with pytest.raises(UsageError, match="no labels"):
        class_grid(ppca)


def test_interpolation_rows_end_in_the_true_images(ppca, digits):
    starts, ends = digits.x[:3], digits.x[3:6]
    figure = interpolation(ppca, starts, ends, steps=5)
    tiles = rows_of_tiles(figure)
    assert tiles.shape[:2] == (3, 7)
    np.testing.assert_array_equal(tiles[:, 0], starts[:, 0])
    np.testing.assert_array_equal(tiles[:, -1], ends[:, 0])
    axes = figure.axes[0]
    labels = [t.get_text() for t in axes.get_xticklabels()]
    assert labels == ["start", "0", "0.25", "0.5", "0.75", "1", "end"]
    assert axes.get_xlabel().startswith("λ")


def test_interpolation_is_straight_between_the_reconstructed_means(ppca, digits):
    starts, ends = digits.x[:3], digits.x[3:6]
    tiles = rows_of_tiles(interpolation(ppca, starts, ends, steps=3))
    a, b = (reconstruct(ppca, x, latents="mean")[:, 0] for x in (starts, ends))
    for column, expected in zip((1, 2, 3), (a, (a + b) / 2, b), strict=True):
        np.testing.assert_allclose(tiles[:, column], expected.clamp(0, 1), atol=1e-5)


def test_interpolation_holds_the_label(cvae, digits):
    starts, ends = digits.x[:2], digits.x[2:4]
    y = torch.tensor([3, 5])
    tiles = rows_of_tiles(interpolation(cvae, starts, ends, y_starts=y, y_ends=y))
    expected = reconstruct(cvae, ends, y=y, latents="mean")
    np.testing.assert_allclose(tiles[:, -2], expected[:, 0], atol=1e-5)
    with pytest.raises(UsageError, match="must be equal"):
        interpolation(cvae, starts, ends, y_starts=y, y_ends=y.flip(0))
    with pytest.raises(UsageError, match="both"):
        interpolation(cvae, starts, ends, y_starts=y)


def test_interpolation_refuses_discrete_latents_and_unequal_ends(ppca, digits):
    x = digits.x
    with pytest.raises(UsageError, match="discrete"):
        interpolation(GMM((1, 8, 8)), x[:2], x[2:4])
    with pytest.raises(UsageError, match="as many ends as starts"):
        interpolation(ppca, x[:2], x[2:5])
    with pytest.raises(UsageError, match="at least 2"):
        interpolation(ppca, x[:2], x[2:4], steps=1)


def test_mixture_means_are_the_component_means_with_their_weights(digits):
    pair = GMM((1, 8, 8), num_components=5)
    pair.start_from(digits.x)
    figure = mixture_means(pair)
    expected = pair.model.loc().detach().unflatten(1, (8, 8)).clamp(0, 1)
    np.testing.assert_allclose(rows_of_tiles(figure)[0], expected, atol=1e-6)
    captions = [text.get_text() for text in figure.axes[0].texts]
    weights = pair.model.logits.softmax(0).tolist()
    assert captions == [f"k = {k}, π = {w:.2g}" for k, w in enumerate(weights)]


def test_mixture_means_need_a_mixture(ppca):
    with pytest.raises(UsageError, match="one discrete latent"):
        mixture_means(ppca)


def test_colour_images_keep_their_colours():
    x = torch.rand(4, 3, 8, 8)
    tiles = mosaic(x, columns=2, gaps_across=0, gaps_down=0)
    assert tiles.pixels.shape == (16, 16, 4)
    np.testing.assert_array_equal(tiles.pixels[8:, :8, :3], x[2].permute(1, 2, 0))
    figure = reconstructions(VAE((3, 8, 8), hidden=(8,)), x)
    assert figure.axes[0].images[0].get_array().shape[-1] == 4


def test_tiles_that_are_missing_from_the_last_row_stay_empty():
    tiles = mosaic(torch.rand(3, 1, 8, 8), columns=2, gaps_across=0, gaps_down=0)
    assert np.ma.getmaskarray(tiles.pixels)[8:, 8:].all()
    assert np.ma.getmaskarray(tiles.pixels).sum() == 64


@pytest.mark.parametrize(
    "draw",
    [
        reconstructions,
        lambda pair, x: prior_samples(pair),
        lambda pair, x: interpolation(pair, x, x),
    ],
)
def test_vectors_are_refused(draw):
    with pytest.raises(UsageError, match="figures of images need images"):
        draw(VAE((6,), hidden=(8,)), torch.rand(4, 6))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": 7}, "even number of columns"),
        ({"latents": "mode"}, "latents is 'mean' or 'sample'"),
        ({"pixels": "mode"}, "pixels is 'mean' or 'sample'"),
    ],
)
def test_reconstructions_refuse_what_they_cannot_show(ppca, digits, options, message):
    with pytest.raises(UsageError, match=message):
        reconstructions(ppca, digits.x, **options)


class Noisy(torch.nn.Module):
    """A decoder with state and noise in training mode."""

    def __init__(self, decoder):
        super().__init__()
        self.decoder = decoder
        self.norm = torch.nn.BatchNorm1d(2)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, z):
        return self.decoder(self.drop(self.norm(z)))


@pytest.mark.parametrize(
    "draw",
    [
        latent_scatter,
        lambda pair, x: latent_grid(pair, size=3),
        lambda pair, x: reconstructions(pair, x, pixels="sample"),
        lambda pair, x: prior_samples(pair, pixels="sample"),
        lambda pair, x: prior_samples(pair, pixels="mean"),
        lambda pair, x: reconstructions(pair, x, latents="mean"),
    ],
)
def test_drawing_changes_nothing_of_the_pair_or_of_torch(draw, digits):
    pair = VAE((1, 8, 8), hidden=(8,))
    pair.model.decoder = Noisy(pair.model.decoder)
    pair.model.likelihood.eval()
    modes = [m.training for m in pair.modules()]
    state = {name: value.clone() for name, value in pair.state_dict().items()}
    generator = torch.get_rng_state()
    first = draw(pair, digits.x[:40])
    second = draw(pair, digits.x[:40])
    torch.testing.assert_close(torch.get_rng_state(), generator)
    torch.testing.assert_close(pair.state_dict(), state, rtol=0, atol=0)
    assert [m.training for m in pair.modules()] == modes
    assert all(p.grad is None for p in pair.parameters())
    for a, b in zip(first.axes[0].images, second.axes[0].images, strict=True):
        np.testing.assert_array_equal(a.get_array(), b.get_array())


def test_double_precision_pairs_are_drawn(digits):
    pair = VAE((1, 8, 8), hidden=(8,)).double()
    x = digits.x[:4].double()
    figures = [latent_grid(pair, size=3), prior_samples(pair, n=4), interpolation(pair, x, x)]
    tiles = rows_of_tiles(figures[-1])
    expected = reconstruct(pair, x, latents="mean")[:, 0]
    np.testing.assert_allclose(tiles[:, 4], expected, atol=1e-6)


def test_figures_need_no_pyplot_and_are_written_as_pdf(ppca, tmp_path):
    import matplotlib.pyplot as plt

    figure = prior_samples(ppca, n=4)
    figure.savefig(tmp_path / "samples.pdf")
    assert (tmp_path / "samples.pdf").read_bytes().startswith(b"%PDF")
    assert plt.get_fignums() == []


def test_samples_stand_beside_the_nearest_training_images(digits):
    train = load_data("digits").prepared("train").x
    learned = PPCA.maximum_likelihood(train, latent_dim=4)
    figure = nearest(learned, train, x=digits.x, rows=3, columns=4)
    tiles = rows_of_tiles(figure)
    samples, found = tiles[:, 0::2].reshape(6, 64), tiles[:, 1::2].reshape(6, 64)
    for sample, image in zip(samples, found, strict=True):
        distances = np.linalg.norm(train.flatten(1).numpy() - sample, axis=1)
        assert abs(np.linalg.norm(image - sample) - distances.min()) < 0.35  # pixels were clipped
    words = figure.axes[0].get_xlabel()
    assert "samples" in words
    assert "test data" in words
    heart = GMM((1, 8, 8), num_components=3)  # what was learned by heart is at no distance
    heart.start_from(train[:3])
    by_heart = nearest(heart, train, x=digits.x, rows=2, columns=4).axes[0].get_xlabel()
    assert "samples 0.00" in by_heart
    with pytest.raises(UsageError, match="an even number of columns; got 3 columns"):
        nearest(learned, train, columns=3)
    shown = Shown(pair=learned, load_test=list, load_history=list)
    with pytest.raises(UsageError, match=r"give load_train\Z"):
        draw_figure("nearest", shown)
