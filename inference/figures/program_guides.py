"""Where guides of a Pyro model are wrong: their marginals against the reference's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from inference.evaluation import ProgramGuideComparison
from inference.figures.canvas import figure_of, panels
from inference.figures.palette import MISSING, PETROFF, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError
from pyro_models.counts import check_counts

if TYPE_CHECKING:
    from inference.figures.canvas import Place

__all__ = ["guide_marginals"]

_BINS = 40
_DRAWS = 2000
_IN_LEGEND = 30  # characters in the width of a panel
_TAIL = 0.005  # share of the reference left out on either side


@register_figure(needs="a comparison of guides of a Pyro model")
def guide_marginals(
    comparison: ProgramGuideComparison,
    *,
    most: int = 6,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Marginals of each guide at the numbers where guides are worst, the reference's in grey.

    A number of a site is as bad as the largest error of a mean or a standard deviation, in standard
    deviations of the reference, that any guide has there. Guides are histograms of their draws.

    Parameters
    ----------
    comparison
        Result of :func:`inference.evaluation.compare_guides` of a Pyro model.
    most
        Panels at most.
    title
        Drawn above; by default the model.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If no guide could be compared with a reference.
    """
    check_counts(most=most)
    rows = [row for row in comparison.rows if row.departures is not None]
    if not rows:
        raise UsageError("no guide here was compared with a reference: there is nothing to draw")
    badness: dict[tuple[str, int], float] = {}
    for row in rows:
        assert row.departures is not None
        for name in row.departures.mean:
            of = (row.departures.mean[name].abs(), row.departures.sd[name].abs())
            for at, value in enumerate(np.maximum(*(v.flatten().numpy() for v in of)).tolist()):
                known = badness.get((name, at), 0.0)
                badness[name, at] = max(known, math.inf if math.isnan(value) else value)
    worst = sorted(badness, key=lambda key: -badness[key])[:most]
    columns = min(3, len(worst))
    lines = math.ceil(len(worst) / columns)
    place, grid = panels(ax, lines, columns, (max(4.5, 2.9 * columns), 2.1 * lines + 0.9))
    for panel in grid.flat[len(worst) :]:
        panel.set_axis_off()
    for panel, (name, at) in zip(grid.flat, worst, strict=False):
        _draw(panel, comparison, name, at)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    few = max(1, int(columns * _IN_LEGEND / max(map(len, labels))))  # what fits the width
    place.legend(handles, labels, loc="outside lower center", ncols=few, frameon=False)
    above = f"guides of {comparison.model}, where they are worst"
    place.suptitle(above if title is None else title, fontsize=10)
    return figure_of(place)


def _draw(panel: Axes, comparison: ProgramGuideComparison, name: str, at: int) -> None:
    known = comparison.reference_draws
    bins: int | list[float] = _BINS
    if known is not None:
        values = _column(known[name], at)
        low, high = (float(np.quantile(values, share)) for share in (_TAIL, 1 - _TAIL))
        bins = np.linspace(low, high, _BINS).tolist()
        label = comparison.reference_name
        panel.hist(values, bins=bins, density=True, color=MISSING, label=label)
    compared = [row for row in comparison.rows if row.posterior and not row.is_reference]
    several = False
    for i, row in enumerate(compared):
        assert row.posterior is not None
        drawn = row.posterior.sample(_DRAWS)[name]
        several = drawn.dim() > 1
        values, color = _column(drawn, at), PETROFF[i % len(PETROFF)]
        if values.min() == values.max():
            panel.axvline(values[0], color=color, label=row.name)
        else:
            how: dict[str, Any] = {"histtype": "step", "color": color, "label": row.name}
            panel.hist(values, bins=bins, density=True, **how)
    panel.set_title(f"{name}[{at}]" if several else name)
    panel.set_yticks([])
    plain(panel)


def _column(draws: Tensor, at: int) -> np.ndarray:
    values: np.ndarray = draws.reshape(len(draws), -1)[:, at].double().cpu().numpy()
    return values
