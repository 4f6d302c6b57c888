"""What the figures of a search show is what was told and computed."""

import io
import math

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gp_bo import fit_gp
from gp_bo.optimize import Optimizer
from gp_bo.optimize.figures import RegretCurves, progress_figure, regret_curves, search_figure
from gp_bo.optimize.fitting import surrogate_of
from pyro_models import UsageError


def _line(axes: Axes, label: str) -> np.ndarray:
    (line,) = (each for each in axes.lines if each.get_label() == label)
    return np.asarray(line.get_xydata())


def _png(figure: Figure) -> None:
    file = io.BytesIO()
    figure.savefig(file, dpi=40)
    assert file.tell() > 2000


@pytest.fixture
def told() -> Optimizer:
    """Five values of a bowl, and one failure."""
    optimizer = Optimizer([(0.0, 1.0)], problem="loss")
    for x in (0.0, 0.2, 0.5, 0.7, 1.0):
        optimizer.tell([x], (x - 0.3) ** 2)
    optimizer.tell([0.9], math.nan)
    return optimizer


@pytest.mark.parametrize("count", [1, 2, 5])
def test_regret_is_the_median_and_every_column_has_its_label(count: int) -> None:
    random = np.random.default_rng(0)
    panels = [
        RegretCurves(str(i), 3, {m: random.uniform(0.1, 1, (7, 6)) for m in ("ours", "random")})
        for i in range(count)
    ]
    figure = regret_curves(panels)
    shown = [axes for axes in figure.axes if axes.axison]
    assert len(shown) == count
    for axes, panel in zip(shown, panels, strict=True):
        middle = np.median(panel.regrets["random"], axis=0)
        assert _line(axes, "random")[:, 1] == pytest.approx(middle)
    assert [a.get_xlabel() for a in shown] == ["", "", *["evaluations"] * 3][-count:]
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words == ["ours", "random", "end of the shared design"]
    _png(figure)


def test_progress_shows_the_best_so_far_and_failures_apart_from_values(told: Optimizer) -> None:
    figure = progress_figure(told, optimum=0.0)
    axes, low = figure.axes
    best = np.minimum.accumulate([0.09, 0.01, 0.04, 0.16, 0.49])
    assert _line(axes, "best so far")[:, 1] == pytest.approx(best)
    assert _line(axes, "failed, without a value")[:, 0] == pytest.approx([6])
    assert axes.get_ylabel() == "loss"
    assert _line(low, "simple regret")[:, 1] == pytest.approx(best)
    assert low.get_yscale() == "log"
    _png(figure)
    assert len(progress_figure(told).axes) == 1  # no regret without an optimum


def test_search_shows_the_data_and_a_failure_where_it_counts(told: Optimizer) -> None:
    figure = search_figure(told)
    top, low = figure.axes
    assert _line(top, "told")[:, 0] == pytest.approx([0.0, 0.2, 0.5, 0.7, 1.0])
    assert _line(top, "failed, taken for the worst")[0] == pytest.approx([0.9, 0.49])
    mean = _line(top, "m")
    at = np.interp([0.2, 0.7], mean[:, 0], mean[:, 1])
    assert at == pytest.approx([0.01, 0.16], abs=0.02)
    assert low.get_ylabel() == "log EI"
    _png(figure)


def test_what_cannot_be_drawn_is_told_in_one_line(told: Optimizer) -> None:
    with pytest.raises(UsageError, match="no regret"):
        regret_curves([RegretCurves("empty", 3, {})])
    with pytest.raises(UsageError, match="no value to draw"):
        progress_figure(Optimizer([(0.0, 1.0)]))
    with pytest.raises(UsageError, match="choose a continuous input: x"):
        search_figure(told, input_name="y")


@pytest.mark.filterwarnings("ignore::gp_bo.InferenceWarning")
def test_a_sparse_fit_is_no_surrogate() -> None:
    x = np.linspace(0, 1, 8)
    options = {"num_inducing": 3, "epochs": 1, "progress": False}
    sparse = fit_gp(x, x**2, inference="sparse_variational", **options)
    with pytest.raises(UsageError, match="every row"):
        surrogate_of(sparse)
