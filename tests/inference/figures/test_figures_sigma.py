"""Curves over σ show the numbers they were given, and the best of each."""

from types import SimpleNamespace

import pytest

from inference.figures import sigma_curves
from pyro_models import UsageError


def curve(*means, best):
    return SimpleNamespace(
        sigmas=(0.1, 0.2, 0.4),
        means=[(mean, 1.0) for mean in means],
        best=best,
        sigma=(0.1, 0.2, 0.4)[best],
        kind="lower bound",
        method="annealing",
        value=SimpleNamespace(shape=(3, 7)),
    )


def test_every_curve_is_drawn_with_its_best() -> None:
    axes = sigma_curves({"a": curve(1, 5, 3, best=1), "b": curve(9, 2, 0, best=0)}).axes[0]
    drawn = [container[0].get_ydata().tolist() for container in axes.containers]
    assert drawn == [[1, 5, 3], [9, 2, 0]]
    best = [line.get_xydata().tolist() for line in axes.lines if len(line.get_xdata()) == 1]
    assert best == [[[0.2, 5]], [[0.1, 9]]]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert axes.get_title() == "7 data; lower bound by annealing"
    assert sigma_curves(curve(1, 5, 3, best=1)).axes[0].get_legend() is None


def test_no_curve_is_refused() -> None:
    with pytest.raises(UsageError, match="no curve to draw"):
        sigma_curves({})
