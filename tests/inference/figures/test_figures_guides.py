"""The figure of gaps shows the numbers it was given."""

from types import SimpleNamespace

import matplotlib as mpl
import pytest
from matplotlib.colors import to_hex

from inference.figures import guide_gaps
from inference.figures.palette import MISSING, PETROFF
from pyro_models import UsageError


class Evidence(SimpleNamespace):
    def __len__(self):
        return 1234


def row(name, gap=None, approximation=None, amortisation=None):
    values = {"gap": gap, "approximation_gap": approximation, "amortisation_gap": amortisation}
    return SimpleNamespace(
        name=name, value=lambda q: None if values[q] is None else (values[q], 0.1)
    )


def comparison(*rows, kind="exact", method="exact"):
    return SimpleNamespace(rows=rows, evidence=Evidence(kind=kind, method=method))


ROWS = (row("prior", 8.0), row("encoder", 3.0, 1.0, 2.0), row("normal", 1.0, 1.0), row("point"))


def bars(axes):
    """Bars that can be seen: place, foot, width and colour."""
    return [
        (round(b.get_y() + b.get_height() / 2), b.get_x(), b.get_width(), to_hex(b.get_facecolor()))
        for b in axes.patches
        if b.get_width()
    ]


def test_bars_are_the_gaps_and_their_parts():
    before = dict(mpl.rcParams)
    figure = guide_gaps(comparison(*ROWS))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert bars(axes) == [
        (0, 0, 8.0, MISSING),
        (1, 0, 1.0, PETROFF[0]),
        (1, 1.0, 2.0, PETROFF[1]),
        (2, 0, 1.0, PETROFF[0]),
    ]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names == ["prior", "encoder", "normal", "point (no density)"]
    assert [text.get_text() for text in axes.texts] == ["8.00", "3.00", "1.00"]
    assert figure.axes[0].get_title() == "1,234 data, log p(x): exact"
    assert len(figure.axes[0].get_legend().get_texts()) == 3
    assert dict(mpl.rcParams) == before


def test_on_a_logarithmic_axis_gaps_are_whole():
    lower = comparison(
        *ROWS, row("better than allowed", -0.1), kind="lower bound", method="annealing"
    )
    figure = guide_gaps(lower, log=True, title=None)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert [width for *_, width, _ in bars(axes)] == pytest.approx([8.0, 3.0, 1.0])
    assert axes.get_xscale() == "log"
    assert figure.axes[0].get_title() == "1,234 data, log p(x): lower bound, by annealing"


@pytest.mark.parametrize(
    ("rows", "why"),
    [((row("point"),), "no guide here has a density"), ((row("x", float("nan")),), "not finite")],
    ids=["none", "nan"],
)
def test_what_cannot_be_drawn_is_said(rows, why):
    with pytest.raises(UsageError, match=why):
        guide_gaps(comparison(*rows))
