"""Several trainings in one figure: curves in one axis, models side by side, a panel for each."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from inference import Run, figures, fit
from inference.cli import main
from inference.figures import Shown, draw_figure, register_figure
from inference.figures.heading import subject
from pyro_models import CVAE, PPCA, VAE, UsageError, load_data


def history(values, **attributes):
    epochs = [
        SimpleNamespace(epoch=i, running=v - 1, train=v, validation=v - 0.5)
        for i, v in enumerate(values, start=1)
    ]
    return SimpleNamespace(epochs=epochs, **attributes)


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run folders of a VAE and of PPCA, of the same images prepared in two ways."""
    folder = tmp_path_factory.mktemp("runs")
    how = {"epochs": 2, "progress": False, "curve_size": 30, "capture": False}
    grey = load_data("digits", preparation="threshold")
    vae = VAE(grey.data_shape, latent_dim=2, hidden=[8], likelihood="bernoulli")
    fit(vae, grey, out=folder / "vae", **how)
    fit(
        PPCA(grey.data_shape, latent_dim=2),
        load_data("digits", preparation="dequantised"),
        out=folder / "ppca",
        **how,
    )
    return folder


def test_trainings_are_drawn_in_one_axis_each_named_at_its_lines():
    of = {"wide": history([-3.0, -2.0], objective="elbo"), "deep": history([-9.0, -1.0])}
    figure = figures.learning_curves(of)
    lines = [list(line.get_ydata()) for line in figure.axes[0].lines]
    assert [-3.0, -2.0] in lines
    assert [-9.5, -1.5] in lines
    assert "wide (elbo): validation" in texts(figure)
    assert "deep: training" in texts(figure)
    assert not any("while learning" in text for text in texts(figure))
    colors = {line.get_color() for line in figure.axes[0].lines if len(line.get_ydata()) == 2}
    assert len(colors) == 2


def test_bounds_in_different_units_are_not_drawn_together():
    of = {"a": history([-3.0]), "b": history([-3.0], unit="bits per dimension")}
    with pytest.raises(UsageError, match="in different units"):
        figures.learning_curves(of)


def test_a_curve_says_on_how_many_data_it_is():
    counts = {"train": 10_000, "validation": 6_000}
    shown = texts(figures.learning_curves(history([-3.0, -2.0], curve_data=counts)))
    assert "bounds on 6,000 validation and 10,000 training data" in shown
    two = {"a": history([-3.0], curve_data=counts), "b": history([-2.0], curve_data={"train": 5})}
    shown = texts(figures.learning_curves(two))
    assert any("b: bounds on 5 training data" in text for text in shown)


def test_a_training_records_on_how_many_data_its_curves_are(runs):
    assert json.loads((runs / "vae/run.json").read_text())["training"]["curve_data"] == {
        "train": 30,
        "validation": 180,
    }


def test_a_row_of_originals_and_a_row_for_each_model():
    x = load_data("digits").prepared("test", limit=4).x
    pairs = {"VAE": VAE((1, 8, 8), hidden=[8]), "CVAE": CVAE((1, 8, 8), num_classes=10)}
    axes = figures.reconstructions_by_model(pairs, x, y=torch.zeros(4, dtype=torch.long)).axes[0]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["original", "VAE", "CVAE"]
    pixels = np.asarray(axes.images[0].get_array().filled(np.nan))
    first = pixels[np.ix_(range(3, 56, 7), range(3, 56, 7))]  # tiles are magnified sevenfold
    assert np.allclose(first, x[0, 0].numpy(), atol=1e-6)
    with pytest.raises(UsageError, match="the same images"):
        figures.reconstructions_by_model(pairs, {"VAE": x, "CVAE": x[:2]}, y=torch.zeros(2).long())
    with pytest.raises(UsageError, match="give models by name"):
        figures.reconstructions_by_model([pairs["VAE"]], x)


def test_several_runs_are_plotted_together(runs, capsys):
    both = [str(runs / "vae"), str(runs / "ppca")]
    for name in ("curves", "reconstructions_by_model", "samples_by_model", "latent_scatter"):
        assert main(["plot", *both, "--figure", name]) == 0, capsys.readouterr().err
        assert (runs / f"{name}-vae-ppca.png").stat().st_size > 5000
        assert f"{name} of vae, ppca" in capsys.readouterr().out
    assert main(["plot", *both, "--figure", "curves"]) == 2
    assert "already there" in capsys.readouterr().err
    assert main(["plot", both[0], both[0], "--figure", "curves"]) == 2
    assert "named twice" in capsys.readouterr().err


def test_bounds_of_different_measures_are_said_to_be_no_matter_of_comparison(runs):
    both = {
        n: Shown(
            pair=Run(runs / n).load_pair(), load_test=list, load_history=lambda: history([-3.0])
        )
        for n in ("vae", "ppca")
    }
    title = draw_figure("learning_curves", both).axes[0].get_title().replace("\n", " ")
    assert title.startswith("These bounds may not be compared")
    same = {"a": both["vae"], "b": both["vae"]}
    assert "compared" not in draw_figure("learning_curves", same).axes[0].get_title()


def shown(runs, name, **options):
    pair = Run(runs / name).load_pair()
    preparation = "threshold" if name == "vae" else "dequantised"
    data = load_data("digits", preparation=preparation)
    return Shown(
        pair=pair, load_test=lambda: data.prepared("test", limit=30), load_history=list, **options
    )


def test_a_figure_has_a_panel_for_each_of_several_runs(runs):
    figure = draw_figure("latent_scatter", {n: shown(runs, n) for n in ("vae", "ppca")})
    titles = [axes.get_title().replace("\n", " ") for axes in figure.axes]
    assert titles == ["vae: VAE of digits, epoch 2", "ppca: PPCA of digits, epoch 2"]

    @register_figure()
    def alone(pair):
        return figures.prior_samples(pair, n=4)

    try:
        with pytest.raises(UsageError, match="it needs an argument ax"):
            draw_figure("alone", {n: shown(runs, n) for n in ("vae", "ppca")})
    finally:
        del figures.FIGURES["alone"]


def test_models_of_other_images_are_not_set_side_by_side(runs):
    of = {"vae": shown(runs, "vae"), "ppca": shown(runs, "ppca")}
    others = SimpleNamespace(x=of["vae"].test.x.flip(0), y=None)
    of["other"] = Shown(pair=of["vae"].pair, load_test=lambda: others, load_history=list)
    with pytest.raises(UsageError, match="vae and other are of different images"):
        draw_figure("reconstructions_by_model", of)


def test_titles_name_model_data_and_epoch(runs):
    vae = Run(runs / "vae").load_pair()
    assert subject(vae) == "VAE of digits, epoch 2"
    for figure in (figures.prior_samples(vae, n=4), figures.latent_grid(vae, size=3)):
        assert "VAE of digits, epoch 2" in figure.axes[0].get_title()
    assert figures.prior_samples(vae, n=4, title="Mine").axes[0].get_title().startswith("Mine\n")


def pixels_of(figure):
    return np.asarray(figure.axes[0].images[0].get_array().filled(0.5))


def test_interpolations_draw_latents_and_pixels_where_asked(runs):
    vae = Run(runs / "vae").load_pair()
    x = load_data("digits", preparation="threshold").prepared("test", limit=4).x
    ends = {"steps": 3}
    mean = pixels_of(figures.interpolation(vae, x[:2], x[2:], **ends))
    drawn = figures.interpolation(vae, x[:2], x[2:], pixels="sample", **ends)
    assert set(np.unique(pixels_of(drawn)[10:40, 80:200])) <= {0.0, 0.5, 1.0}  # Bernoulli draws
    assert "pixels drawn" in drawn.axes[0].get_xlabel()
    of_draws = figures.interpolation(vae, x[:2], x[2:], latents="sample", **ends)
    assert not np.array_equal(mean, pixels_of(of_draws))
    again = figures.interpolation(vae, x[:2], x[2:], latents="sample", **ends)
    assert np.array_equal(pixels_of(of_draws), pixels_of(again))
    assert "posterior draws" in of_draws.axes[0].get_title()
    with pytest.raises(UsageError, match="pixels is 'mean' or 'sample'"):
        figures.interpolation(vae, x[:2], x[2:], pixels="some")
