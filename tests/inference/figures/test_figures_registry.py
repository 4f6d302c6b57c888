"""A figure has one name everywhere, and one of your own is drawn by its name."""

from types import SimpleNamespace

import pytest
from matplotlib.figure import Figure

from inference import figures
from inference.figures import FIGURES, Shown, draw_figure, register_figure
from inference.figures.registry import figure_named, figures_of_pairs
from pyro_models import VAE, UsageError, load_data


@pytest.fixture
def shown():
    data = load_data("digits")
    vae = VAE(data.data_shape, hidden=[8], latent_dim=2)
    return Shown(
        pair=vae,
        load_test=lambda: data.prepared("test", limit=12),
        load_history=lambda: SimpleNamespace(epochs=()),
        size=3,
        seed=4,
    )


@pytest.fixture
def own():
    """The registry as it was, afterwards."""
    before = set(FIGURES)
    yield
    for name in set(FIGURES) - before:
        del FIGURES[name]


def test_every_figure_has_the_name_of_its_function():
    functions = {n for n in figures.__all__ if n.islower() and not n.endswith("_figure")}
    assert set(FIGURES) == functions
    for name, figure in FIGURES.items():
        assert getattr(figures, name) is figure.function
        assert figure.needs or not figure.missing


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("samples", "prior_samples"),
        ("components", "mixture_means"),
        ("curves", "learning_curves"),
        *((name.replace("_", "-"), name) for name in figures_of_pairs()),
    ],
)
def test_names_of_before_are_still_understood(old, new):
    assert figure_named(old).name == new


def test_a_figure_of_ones_own_gets_what_its_arguments_name(own, shown):
    seen = {}

    @register_figure(needs="labels")
    def my_figure(pair, x, *, y, seed, dots=3):
        seen.update(pair=pair, shape=x.shape, y=y, seed=seed, dots=dots)
        return Figure()

    assert isinstance(draw_figure("my-figure", shown), Figure)
    assert seen["pair"] is shown.pair
    assert (seen["shape"], len(seen["y"])) == ((12, 1, 8, 8), 12)
    assert (seen["seed"], seen["dots"]) == (4, 3)
    assert "my_figure" in figures_of_pairs()


def test_data_are_loaded_for_figures_of_data_alone(own, shown):
    def never():
        raise AssertionError("no data are needed")

    of_pair = Shown(pair=shown.pair, load_test=never, load_history=never, size=3)
    assert len(draw_figure("latent_grid", of_pair).axes) == 1
    assert len(draw_figure("prior_samples", of_pair).axes) == 1


def test_a_function_in_a_file_is_drawn_by_the_name_of_both(own, shown, tmp_path):
    lines = "from matplotlib.figure import Figure\nodd = 3\ndef mine(pair, seed, dots=2):\n"
    lines += (
        "    return Figure(figsize=(seed, dots))\ndef needy(pair, colour):\n    return Figure()\n"
    )
    (tmp_path / "own-figures.py").write_text(lines)
    figure = draw_figure(f"{tmp_path}/own-figures.py:mine", shown)
    assert figure.get_size_inches().tolist() == [4, 2]
    with pytest.raises(UsageError, match=r"needy is no figure of a pair alone: .* colour"):
        draw_figure(f"{tmp_path}/own-figures.py:needy", shown)
    with pytest.raises(UsageError, match="is no function that returns a figure"):
        draw_figure(f"{tmp_path}/own-figures.py:odd", shown)
    with pytest.raises(UsageError, match="has no 'other'"):
        draw_figure(f"{tmp_path}/own-figures.py:other", shown)
    (tmp_path / "wrong.py").write_text("def odd(pair): return 3\ndef fails(pair): return 1 / 0\n")
    with pytest.raises(UsageError, match="odd returns no matplotlib Figure; got 3"):
        draw_figure(f"{tmp_path}/wrong.py:odd", shown)
    with pytest.raises(UsageError, match=r"the figure fails cannot be computed \(ZeroDivision"):
        draw_figure(f"{tmp_path}/wrong.py:fails", shown)
    with pytest.raises(UsageError, match="it has odd, fails"):
        draw_figure(f"{tmp_path}/wrong.py:other", shown)
    with pytest.raises(UsageError, match="cannot be read"):
        draw_figure(f"{tmp_path}/none.py:mine", shown)


def test_mistakes_are_one_line(own, shown):
    with pytest.raises(UsageError, match="there is a figure 'latent_grid' already"):
        register_figure(name="latent_grid")(lambda pair: Figure())
    with pytest.raises(UsageError, match="has the argument colour, which is neither one of"):
        register_figure(name="mine")(lambda pair, colour: Figure())
    with pytest.raises(UsageError, match=r"unknown figure 'pie': choose from .*latent_scatter"):
        draw_figure("pie", shown)
    with pytest.raises(UsageError, match="latent_use is no figure of a pair alone: it needs"):
        draw_figure("latent-use", shown)
    with pytest.raises(UsageError, match="no labels to make a column"):
        draw_figure("class_grid", shown)
