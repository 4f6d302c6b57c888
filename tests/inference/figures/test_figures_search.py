"""The figure of a search: every setting once, the best so far, what has no score as a cross."""

from pathlib import Path

import numpy as np
import pytest

from inference import figures
from inference.selection import Outcome, Row, Sweep


@pytest.fixture
def found(monkeypatch):
    """Five settings, one of them pruned, as a search has tried them."""
    scores = {0.001: -30.0, 0.01: -25.0, 0.1: None, 0.02: -26.0, 0.03: -24.0}
    rows = []
    for lr, score in scores.items():
        pruned = "" if score is not None else "pruned at epoch 1 of 4: far behind"
        outcome = Outcome(Path("s"), 0, None, epochs=1, pruned=pruned)
        rows.append(Row({"lr": lr, "options.hidden": [4]}, (outcome,)))
    values = dict(zip(map(id, rows), scores.values(), strict=True))
    whole = property(lambda row: values[id(row)] is not None)
    monkeypatch.setattr(Row, "is_whole", whole)
    monkeypatch.setattr(Row, "mean", property(lambda row: values[id(row)] or np.nan))
    monkeypatch.setattr(Sweep, "label", "L (nats)")
    monkeypatch.setattr(Sweep, "lower_is_better", False)
    grid = {"lr": sorted(scores), "options.hidden": [[4]]}
    return Sweep(tuple(rows), grid, (0,), Path("s"), search="gp_bo")


def test_a_search_is_drawn_in_its_order_and_against_each_setting(found):
    figure = figures.search_progress(found)
    upper, first, second = figure.axes
    steps = upper.lines[0].get_ydata()
    assert list(steps) == [-30.0, -25.0, -25.0, -25.0, -24.0]
    assert first.get_xscale() == "log"
    assert first.get_xlabel() == "lr"
    assert second.get_xlabel() == "hidden"
    crosses = [line for line in upper.lines if line.get_marker() == "x"]
    assert [list(line.get_xdata()) for line in crosses] == [[3]]
    assert "gp_bo: 5 settings, 5 epochs, 1 pruned" in figure.get_suptitle()
    figure.canvas.draw()
