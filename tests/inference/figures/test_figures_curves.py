import math
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.text import Text

from inference.figures import learning_curves
from pyro_models import Flow, UsageError


def history(running, train=None, validation=None, **attributes):
    none = [None] * len(running)
    records = zip(running, train or none, validation or none, strict=True)
    epochs = [
        SimpleNamespace(epoch=i, running=r, train=t, validation=v)
        for i, (r, t, v) in enumerate(records, start=1)
    ]
    return SimpleNamespace(epochs=epochs, **attributes)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def curve(figure, y):
    """Whether some line of the figure passes through exactly these values."""
    lines = [np.asarray(line.get_ydata(), float) for line in figure.axes[0].lines]
    return any(np.array_equal(line, y, equal_nan=True) for line in lines)


def test_every_bound_is_drawn_and_named():
    figure = learning_curves(history([-3, -2], [-2.5, -1.5], [-2.6, -1.7]))
    assert curve(figure, [-3, -2])
    assert curve(figure, [-2.5, -1.5])
    assert curve(figure, [-2.6, -1.7])
    assert {"training", "validation", "training, while learning"} <= set(texts(figure))


def test_bounds_that_were_never_computed_are_not_named():
    assert "validation" not in texts(learning_curves(history([-3, -2])))


def test_axes_carry_units_and_objective():
    axes = learning_curves(history([-3, -2], objective="elbo")).axes[0]
    assert axes.get_xlabel() == "epoch"
    assert axes.get_ylabel() == "bound (nats per datum)"
    assert "elbo" in axes.get_title()
    bits = learning_curves(history([-3, -2], unit="bits per dimension"), title="Mine").axes[0]
    assert bits.get_ylabel() == "bound (bits per dimension)"
    assert bits.get_title() == "Mine"


def test_the_axis_in_bits_of_levels_is_inside_the_figure_whole():
    pair = Flow((1, 8, 8), levels=17, flow={"class_path": "dense", "init_args": {"couplings": 1}})
    figure = learning_curves(history([-132.0, -97.0]), pair=pair)
    (bits,) = figure.axes[0].child_axes
    figure.draw_without_rendering()
    label = bits.yaxis.label.get_window_extent()
    assert bits.get_ylabel() == "bits per dimension"
    assert label.x0 >= 0
    most, least = (y / (-64 * math.log(2)) for y in figure.axes[0].get_ylim())
    assert sorted(bits.get_ylim()) == pytest.approx([least, most])


def test_an_objective_that_is_no_bound_is_not_called_one():
    remark = (
        "it bounds no evidence, and its regulariser saturates: JS is at most log 2 = 0.693 nats"
    )
    for title in (None, "Mine"):
        record = history([-3, -2], objective="js", remark=remark)
        axes = learning_curves(record, title=title).axes[0]
        first, *rest = axes.get_title().split("\n")
        assert first == (title or "objective: js")
        assert " ".join(rest) == remark
        assert axes.get_ylabel() == "objective (nats per datum)"


def test_bounds_computed_now_and_then_are_joined():
    figure = learning_curves(history([-3, -2, -1], validation=[-3.5, None, -1.5]))
    assert curve(figure, [-3.5, -1.5])


def test_one_epoch_is_seen_as_markers():
    axes = learning_curves(history([-3], [-2.5], [-2.6])).axes[0]
    assert [line.get_marker() for line in axes.lines if line.get_marker() not in "vx"]
    low, high = axes.get_ylim()
    assert low < -3 < -2.5 < high
    assert [t for t in axes.get_xticks() if axes.get_xlim()[0] < t < axes.get_xlim()[1]] == [1]


def test_the_best_epoch_is_marked_on_the_validation_curve():
    figure = learning_curves(history([-3, -2, -1], validation=[-3.5, -2.5, -2.7], best_epoch=2))
    assert "best epoch 2" in texts(figure)
    rings = [line for line in figure.axes[0].lines if line.get_markerfacecolor() == "none"]
    assert [(r.get_xdata()[0], r.get_ydata()[0]) for r in rings] == [(2, -2.5)]


def test_an_awful_first_epoch_neither_flattens_the_rest_nor_is_hidden():
    bounds = [-1e6, *(-100 - 50 * math.exp(-i / 5) for i in range(20))]
    figure = learning_curves(history(bounds))
    low, high = figure.axes[0].get_ylim()
    assert high - low < 100
    assert any("−1,000,000 at epoch 1" in text for text in texts(figure))
    triangles = [line for line in figure.axes[0].lines if line.get_marker() == "v"]
    assert [list(t.get_xdata()) for t in triangles] == [[1]]


def test_an_ordinary_start_is_shown_in_full():
    bounds = [-150, -120, -110, -105, -103, -102]
    figure = learning_curves(history(bounds))
    assert figure.axes[0].get_ylim()[0] < -150
    assert not any("deeper" in text for text in texts(figure))


@pytest.mark.parametrize("broken", [math.nan, -math.inf, math.inf])
def test_a_bound_that_is_not_finite_is_a_cross(broken):
    figure = learning_curves(history([-3, broken, -1]))
    assert curve(figure, [-3, math.nan, -1])
    assert any("not finite" in text for text in texts(figure))
    crosses = [line for line in figure.axes[0].lines if line.get_marker() == "x"]
    assert [list(c.get_xdata()) for c in crosses] == [[2]]


def test_names_of_close_lines_do_not_cover_each_other():
    figure = learning_curves(history([-3, -2], [-3, -2], [-3, -2]))
    figure.draw_without_rendering()
    names = ("training", "validation", "training, while learning")
    labels = [text for text in figure.axes[0].texts if text.get_text() in names]
    boxes = [Text.get_window_extent(label) for label in labels]  # without the leaders
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_the_last_epoch_is_marked_beside_the_names_of_the_lines():
    figure = learning_curves(history([-3, -2], [-3, -2], [-3, -2], best_epoch=2))
    figure.draw_without_rendering()
    best, *names = sorted(figure.axes[0].texts, key=lambda t: "best" not in t.get_text())
    box = Text.get_window_extent(best)
    assert not any(box.overlaps(Text.get_window_extent(name)) for name in names)


@pytest.mark.parametrize("bounds", [[], [math.nan]])
def test_nothing_to_draw_is_refused(bounds):
    with pytest.raises(UsageError, match="train first"):
        learning_curves(history(bounds))
