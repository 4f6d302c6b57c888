"""A fitted Gaussian process along one input."""

import io

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gp_bo import FittedGP, fit_gp
from gp_bo.figures.bands import slice_figure
from pyro_models import UsageError


@pytest.fixture(scope="module")
def fitted() -> FittedGP:
    """Of two inputs, the second the same for all data."""
    generator = torch.Generator().manual_seed(0)
    first = torch.rand(12, generator=generator, dtype=torch.float64)
    X = torch.stack([first, torch.full_like(first, 3.0)], 1)
    return fit_gp(X, (4 * first).sin(), inference="map", noise=0.01)


def _png(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, dpi=40)
    assert file.tell() > 2000


@pytest.mark.parametrize("column", [0, 1])
def test_where_the_data_lie_along_the_input_is_drawn(fitted: FittedGP, column: int) -> None:
    figure = slice_figure(fitted, ["heat", "cups"], "taste", column=column)
    (axes,) = figure.axes
    [data] = [line for line in axes.get_lines() if line.get_label() == "data"]
    assert np.asarray(data.get_xdata()) == pytest.approx(fitted.X[:, column].numpy())
    low, high = axes.get_xlim()
    assert low < float(fitted.X[:, column].min()) <= float(fitted.X[:, column].max()) < high
    _png(figure)


def test_bands_are_the_colours_of_their_keys(fitted: FittedGP) -> None:
    (axes,) = slice_figure(fitted, ["heat", "cups"], "taste").axes
    colours = [tuple(each.get_facecolor()[0]) for each in axes.collections]
    assert [each.get_label() for each in axes.collections] == [
        "measurement ± 2 sd",
        "function, m ± 2√v",
    ]
    assert all(colour[3] == 1 for colour in colours)  # opaque: none is mixed with the one below it
    assert to_rgb(colours[0][:3]) != to_rgb(colours[1][:3])


def test_a_column_that_is_none_is_refused(fitted: FittedGP) -> None:
    with pytest.raises(UsageError, match="a column is"):
        slice_figure(fitted, ["heat", "cups"], "taste", column=2)
