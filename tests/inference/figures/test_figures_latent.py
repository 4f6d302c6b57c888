import io

import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from scipy.stats import norm

from inference.figures import latent_grid, latent_scatter
from inference.posterior import latent_means
from pyro_models import CVAE, GMM, PPCA, VAE, UsageError, load_data


@pytest.fixture(scope="module")
def digits():
    return load_data("digits").split("test")


def points(axes):
    return np.concatenate([np.asarray(c.get_offsets()) for c in axes.collections])


def numerals(axes):
    return {text.get_text(): np.array(text.get_position()) for text in axes.texts}


def z_values(axis):
    return [float(t.get_text().replace("−", "-")) for t in axis.get_ticklabels()]


def test_two_latents_are_drawn_where_their_posterior_means_are(digits):
    pair = PPCA.maximum_likelihood(digits.x, latent_dim=2)
    (axes,) = latent_scatter(pair, digits.x).axes
    torch.testing.assert_close(
        torch.as_tensor(points(axes)), latent_means(pair, digits.x).double(), check_dtype=False
    )
    assert axes.get_xlabel() == "E[z₁ | x]"
    assert axes.get_ylabel() == "E[z₂ | x]"


def test_ten_classes_are_told_apart_by_numeral_marker_and_colour(digits):
    pair = PPCA.maximum_likelihood(digits.x, latent_dim=2)
    figure = latent_scatter(pair, digits.x, digits.y)
    (axes,) = figure.axes
    assert set(numerals(axes)) == {str(c) for c in range(10)}
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == [
        str(c) for c in range(10)
    ]
    shapes = {c.get_paths()[0].vertices.tobytes() for c in axes.collections}
    colors = {to_hex(c.get_facecolor()[0]) for c in axes.collections}
    assert len(shapes) == 10
    assert len(colors) == 10


def test_a_numeral_stands_at_the_median_of_a_class_far_from_others():
    pair = PPCA.maximum_likelihood(load_data("digits").split("train").x, latent_dim=2)
    x = load_data("digits").split("test").x
    means = latent_means(pair, x)
    y = (means[:, 0] > 0).long()
    (axes,) = latent_scatter(pair, x, y).axes
    for label in (0, 1):
        np.testing.assert_allclose(
            numerals(axes)[str(label)], np.median(means[y == label], axis=0), rtol=1e-5
        )


def test_numerals_of_classes_with_one_centre_do_not_cover_each_other(digits):
    pair = PPCA.maximum_likelihood(digits.x, latent_dim=2)
    twice = torch.cat([digits.x, digits.x])
    y = torch.cat([torch.zeros(360), torch.ones(360)]).long()
    (axes,) = latent_scatter(pair, twice, y).axes
    spread = np.ptp(points(axes), axis=0).max()
    at = numerals(axes)
    assert np.linalg.norm(at["0"] - at["1"]) > 0.04 * spread


def test_missing_labels_have_no_numeral(digits):
    pair = VAE((1, 8, 8), latent_dim=2, hidden=(8,))
    y = digits.y.clone()
    y[y > 1] = -1
    figure = latent_scatter(pair, digits.x, y)
    assert set(numerals(figure.axes[0])) == {"0", "1"}
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["missing", "0", "1"]


def test_many_latents_are_shown_by_principal_components_with_their_share(digits):
    pair = PPCA.maximum_likelihood(digits.x, latent_dim=6)
    (axes,) = latent_scatter(pair, digits.x, digits.y).axes
    means = latent_means(pair, digits.x).double()
    variances = torch.linalg.svdvals(means - means.mean(0)).square()
    share = variances / variances.sum()
    assert f"({float(share[0]):.0%} of variance)" in axes.get_xlabel()
    assert f"({float(share[1]):.0%} of variance)" in axes.get_ylabel()


def test_collapsed_latents_still_give_a_figure(digits):
    pair = VAE((1, 8, 8), latent_dim=5, hidden=(8,))
    with torch.no_grad():
        for p in pair.guide.parameters():
            p.zero_()
    (axes,) = latent_scatter(pair, digits.x, digits.y).axes
    assert "(0% of variance)" in axes.get_xlabel()


def test_three_latents_have_three_axes(digits):
    pair = VAE((1, 8, 8), latent_dim=3, hidden=(8,))
    (axes,) = latent_scatter(pair, digits.x, digits.y).axes
    labels = (axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel())
    assert labels == ("E[z₁ | x]", "E[z₂ | x]", "E[z₃ | x]")


def test_one_latent_is_a_strip_per_class_or_a_histogram_of_all(digits):
    pair = VAE((1, 8, 8), latent_dim=1, hidden=(8,))
    (strips,) = latent_scatter(pair, digits.x, digits.y).axes
    assert [t.get_text() for t in strips.get_yticklabels()] == [str(c) for c in range(10)]
    means = latent_means(pair, digits.x)[:, 0]
    np.testing.assert_allclose(sorted(points(strips)[:, 0]), sorted(means.tolist()), rtol=1e-6)
    (histogram,) = latent_scatter(pair, digits.x).axes
    assert sum(bar.get_height() for bar in histogram.patches) == len(digits)


def test_labels_reach_a_guide_that_needs_them(digits):
    pair = CVAE((1, 8, 8), num_classes=10, latent_dim=2, hidden=(8,))
    (axes,) = latent_scatter(pair, digits.x, digits.y).axes
    assert axes.get_xlabel() == "E[z₁ | x, y]"
    with pytest.raises(UsageError, match="needs labels"):
        latent_scatter(pair, digits.x)


def test_a_mixture_has_no_latent_to_scatter(digits):
    with pytest.raises(UsageError, match="no continuous latent"):
        latent_scatter(GMM((1, 8, 8), num_components=3), digits.x)


@pytest.mark.parametrize("x", [torch.zeros(4, 1, 9, 9), torch.zeros(0, 1, 8, 8)])
def test_data_of_another_shape_are_refused(x):
    with pytest.raises(UsageError, match=r"shape \(B, 1, 8, 8\)"):
        latent_scatter(VAE((1, 8, 8), hidden=(8,)), x)


def test_grid_ticks_are_normal_quantiles():
    (axes,) = latent_grid(VAE((1, 8, 8), hidden=(8,)), size=5).axes
    expected = norm.ppf((np.arange(5) + 0.5) / 5)
    np.testing.assert_allclose(z_values(axes.xaxis), expected, atol=0.005)
    np.testing.assert_allclose(z_values(axes.yaxis), expected, atol=0.005)


def test_grid_of_a_span_is_even_and_its_ticks_are_round():
    (axes,) = latent_grid(VAE((1, 8, 8), hidden=(8,)), size=50, span=(-4, 4)).axes
    assert z_values(axes.xaxis) == list(range(-4, 5))
    np.testing.assert_allclose(np.diff(axes.get_xticks()), np.diff(axes.get_xticks())[0])
    image = axes.images[0].get_array()
    assert image.shape == (400, 400)


def test_grid_shows_what_is_decoded_at_its_ticks():
    """z₁ grows to the right, z₂ upwards."""
    pair = PPCA((1, 8, 8), latent_dim=2)
    with torch.no_grad():
        pair.model.W.zero_()
        pair.model.W[0, 0] = 0.1  # the first pixel shows z₁
        pair.model.W[63, 1] = 0.1  # the last pixel shows z₂
        pair.model.mu.fill_(0.5)
    (axes,) = latent_grid(pair, size=50, span=(-4, 4)).axes
    image = np.asarray(axes.images[0].get_array())
    values = torch.linspace(-4, 4, 50)
    np.testing.assert_allclose(image[0, ::8], 0.5 + 0.1 * values, atol=1e-6)
    np.testing.assert_allclose(image[7::8, 7], 0.5 + 0.1 * values.flip(0), atol=1e-6)
    assert axes.get_xlim()[0] < axes.get_xlim()[1]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]
    heights = dict(zip(z_values(axes.yaxis), axes.get_yticks(), strict=True))
    assert heights[4.0] == pytest.approx(3.5)
    assert heights[-4.0] == pytest.approx(399 - 3.5)


def test_grid_of_a_label():
    pair = CVAE((1, 8, 8), num_classes=10, latent_dim=2, hidden=(8,))
    three, four = (latent_grid(pair, size=4, y=y).axes[0] for y in (3, 4))
    assert "y = 3" in three.get_title()
    assert not np.array_equal(three.images[0].get_array(), four.images[0].get_array())
    with pytest.raises(UsageError, match="needs labels"):
        latent_grid(pair, size=4)


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (VAE((1, 8, 8), latent_dim=3, hidden=(8,)), "exactly 2 latents"),
        (GMM((1, 8, 8), num_components=3), "exactly 2 latents"),
        (VAE((6,), latent_dim=2, hidden=(8,)), "figures of images need images"),
    ],
)
def test_grid_refuses_what_it_cannot_show(pair, message):
    with pytest.raises(UsageError, match=message):
        latent_grid(pair)


def test_grid_refuses_an_empty_span():
    with pytest.raises(UsageError, match="low to high"):
        latent_grid(VAE((1, 8, 8), hidden=(8,)), span=(1, 1))


def test_names_of_the_axes_lie_on_the_figure(digits, monkeypatch):
    """Equal scales change the ticks after the layout has made room for them."""
    spread = np.array([[4.4, 0.0], [0.0, 1.0]])
    corners = np.array([[-0.5, -1.9], [0.5, 1.9], [-0.5, 1.9], [0.5, -1.9]])
    pair = PPCA.maximum_likelihood(digits.x, latent_dim=2)
    for means in (corners, corners @ spread):
        given = torch.as_tensor(means)
        monkeypatch.setattr("inference.figures.latent.latent_means", lambda *_, g=given: g)
        figure = latent_scatter(pair, digits.x[:4], y=digits.y[:4])
        figure.savefig(io.BytesIO(), format="png")
        assert figure.axes[0].yaxis.label.get_window_extent().x0 >= 0
