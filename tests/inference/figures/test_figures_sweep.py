"""The figure of a sweep shows means, their errors over seeds, and what failed."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from inference.figures import setting_curves
from pyro_models import UsageError


def table(grid, score, *, error=0.5):
    """A sweep with a score for each setting; None for one that failed."""
    settings = [{}]
    for name, values in grid.items():
        settings = [{**s, name: v} for s in settings for v in values]
    rows = []
    for setting in settings:
        mean = score(**{k.replace(".", "_"): v for k, v in setting.items()})
        values = () if mean is None else (mean - error, mean + error)
        mean = math.nan if mean is None else mean
        lost = math.nan if not values else error
        rows.append(SimpleNamespace(setting=setting, values=values, mean=mean, standard_error=lost))
    return SimpleNamespace(rows=rows, grid=grid, label="log p(x) (nats per datum)")


def bars(figure):
    """Means and half lengths of the error bars of each line."""
    found = []
    for container in figure.axes[0].containers:
        line, _, (segments,) = container.lines
        halves = [(s[1][1] - s[0][1]) / 2 for s in segments.get_segments()]
        found.append((list(line.get_xdata()), list(line.get_ydata()), halves))
    return found


def test_means_and_standard_errors_are_drawn():
    figure = setting_curves(table({"lr": [1e-4, 1e-2]}, lambda lr: 100 * lr, error=0.25))
    axes = figure.axes[0]
    ((x, y, halves),) = bars(figure)
    assert x == [1e-4, 1e-2]
    assert y == pytest.approx([0.01, 1.0])
    assert halves == pytest.approx([0.25, 0.25])
    assert axes.get_xscale() == "log"
    assert axes.get_xlabel() == "lr"
    assert axes.get_ylabel() == "log p(x) (nats per datum)"
    assert "standard error over seeds" in axes.get_title()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["0.0001", "0.01"]
    dots = [list(line.get_ydata()) for line in axes.lines if line.get_marker() == "."]
    assert [pytest.approx([y - 0.25, y + 0.25]) for y in (0.01, 1.0)] == dots


@pytest.mark.parametrize(
    ("values", "scale"),
    [([1, 2, 5], "linear"), ([1, 10], "log"), ([0, 10], "linear"), ([-1, 100], "linear")],
    ids=str,
)
def test_the_axis_is_logarithmic_where_it_spans_a_decade(values, scale):
    figure = setting_curves(table({"options.latent_dim": values}, lambda options_latent_dim: 1.0))
    assert figure.axes[0].get_xscale() == scale
    assert figure.axes[0].get_xlabel() == "latent_dim"


def test_words_and_lists_stand_side_by_side():
    grid = {"options.hidden": [[400, 100], [64], None]}
    figure = setting_curves(table(grid, lambda options_hidden: 1.0))
    labels = [t.get_text() for t in figure.axes[0].get_xticklabels()]
    assert labels == ["[400, 100]", "[64]", "None"]
    assert bars(figure)[0][0] == [0, 1, 2]


def test_a_second_setting_makes_lines_of_their_own_colour_and_marker():
    grid = {"lr": [1e-3, 1e-2], "epochs": [1, 2, 3]}
    figure = setting_curves(table(grid, lambda lr, epochs: epochs + lr))
    found = bars(figure)
    assert [y[0] for _, y, _ in found] == pytest.approx([1.001, 2.001, 3.001])
    lines = [c.lines[0] for c in figure.axes[0].containers]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 3
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["1", "2", "3"]
    for x, _, _ in found:
        assert np.allclose(x, [1e-3, 1e-2], rtol=0.1)
    turned = setting_curves(table(grid, lambda lr, epochs: epochs + lr), x="epochs", lines="lr")
    assert len(bars(turned)) == 2
    assert turned.axes[0].get_xlabel() == "epochs"


def test_further_settings_are_fixed_and_told():
    grid = {"lr": [1e-3, 1e-2], "epochs": [1, 2], "batch_size": [10, 20]}
    found = table(grid, lambda lr, epochs, batch_size: float(batch_size))
    with pytest.raises(UsageError, match="batch_size vary too"):
        setting_curves(found)
    figure = setting_curves(found, at={"batch_size": 20})
    assert [y for _, y, _ in bars(figure)] == [[20, 20], [20, 20]]
    assert "batch_size = 20" in figure.axes[0].get_title()


def test_a_setting_that_failed_is_a_cross():
    figure = setting_curves(table({"lr": [1e-3, 1]}, lambda lr: None if lr == 1 else 3.0))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [list(c.get_xdata()) for c in crosses] == [[1]]
    assert "× failed" in [t.get_text() for t in figure.axes[0].texts]


def test_one_seed_has_no_error_bar():
    figure = setting_curves(table({"lr": [1e-3, 1]}, lambda lr: lr, error=math.nan))
    assert "no error bars" in figure.axes[0].get_title()
    assert not figure.axes[0].containers[0].lines[2]


@pytest.mark.parametrize(
    ("grid", "options", "says"),
    [
        ({}, {}, "varies no setting"),
        ({"lr": [1, 2]}, {"x": "epochs"}, "epochs is no setting of this sweep"),
        ({"lr": [1, 2]}, {"x": "lr", "lines": "lr"}, "different settings"),
        ({"lr": [1, 2]}, {"at": {"lr": 3}}, "has no value 3"),
        ({"lr": [1, 2], "epochs": [*range(11)]}, {}, "more than 10 values"),
    ],
    ids=str,
)
def test_what_cannot_be_drawn_is_refused(grid, options, says):
    with pytest.raises(UsageError, match=says):
        setting_curves(table(grid, lambda **setting: 1.0), **options)


def test_nothing_to_draw_is_refused():
    with pytest.raises(UsageError, match="no setting with a score"):
        setting_curves(table({"lr": [1, 2]}, lambda lr: None))
