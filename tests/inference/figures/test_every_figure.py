"""What holds of every registered figure: it is whole, fine, and drawn wherever one likes."""

import importlib.util
import io
import struct
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

from inference.figures import FIGURES
from inference.figures.fine import FineFigure

spec = importlib.util.spec_from_file_location("every", Path(__file__).parent / "every.py")
every = importlib.util.module_from_spec(spec)
spec.loader.exec_module(every)


@pytest.fixture(scope="module")
def drawn():
    """Functions that draw each figure, of models that are made once."""
    return every.Every().figures()


def assert_whole(figure, name):
    """Nothing of what is drawn lies beyond the edges of the figure."""
    for _ in range(2):  # as for a file: a layout settles the second time
        figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    beyond = max(-box.x0, -box.y0, box.x1 - width, box.y1 - height)
    assert beyond < 0.01, f"{name} is cut off by {beyond:.2f} inches"


def test_every_figure_that_is_registered_is_tried_here(drawn):
    assert {name.partition(",")[0] for name in drawn} == set(FIGURES)


def test_no_label_is_cut_off_in_any_figure(drawn):
    for name, draw in drawn.items():
        assert_whole(draw(), name)


def test_every_figure_is_drawn_in_axes_of_ones_own_and_titled_by_oneself(drawn):
    for name, draw in drawn.items():
        whole, (left, right) = plt.subplots(1, 2, figsize=(13, 5.5), layout="constrained")
        left.plot([0, 1], [0, 1])
        assert draw(ax=right, title="A title of my own") is whole, name
        assert len(left.lines) == 1
        parts = [whole, *whole.subfigs]
        titles = [axes.get_title() for axes in whole.axes] + [p.get_suptitle() for p in parts]
        assert any("A title of my own" in title for title in titles), name
        assert_whole(whole, name)
        plt.close(whole)


def test_every_figure_is_drawn_in_a_part_of_a_figure(drawn):
    for name in ("learning_curves, adversarial", "latent_scatter, three", "prior_samples"):
        whole = Figure(layout="constrained")
        first, second = whole.subfigures(1, 2)
        first.subplots()
        assert drawn[name](ax=second) is whole
        assert second.axes


def test_axes_without_a_place_in_a_grid_hold_one_panel_alone(drawn):
    axes = Figure().add_axes((0.1, 0.1, 0.8, 0.8))
    assert drawn["prior_samples"](ax=axes) is axes.figure
    with pytest.raises(ValueError, match="give axes of a grid of subplots"):
        drawn["marginals"](ax=axes)


def test_files_have_150_dots_per_inch_or_more(drawn):
    for name in ("learning_curves", "prior_samples", "marginals"):
        file = io.BytesIO()
        figure = drawn[name]()
        figure.savefig(file, format="png")
        across = struct.unpack(">I", file.getvalue()[16:20])[0]
        assert across >= 149 * figure.get_size_inches()[0]
        coarse = io.BytesIO()
        figure.savefig(coarse, format="png", dpi=50)
        assert len(coarse.getvalue()) < len(file.getvalue())


def test_a_figure_shows_itself_in_a_notebook_that_was_told_nothing() -> None:
    formatters = pytest.importorskip("IPython.core.formatters")
    figure = FineFigure(figsize=(2.0, 1.0))
    shown, _ = formatters.DisplayFormatter().format(figure)
    assert shown["image/png"].startswith(b"\x89PNG")
