"""Calibration: ranks of the truth among posterior draws, and how often regions hold it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from inference.evaluation import Calibration
from inference.evaluation.calibration.uniformity import binomial_quantile
from inference.figures.canvas import figure_of, panels
from inference.figures.palette import INK, MISSING, PETROFF, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError

if TYPE_CHECKING:
    from inference.figures.canvas import Place

__all__ = ["expected_coverage", "rank_ecdfs", "rank_histograms"]

NEEDS = "a calibration: draw it with pyro-models calibrate --out"
MOST_PANELS = 12
_COLUMNS = 4
_PER_BAR = 20  # ranks, so that the height of a bar says something


@register_figure(needs=NEEDS)
def rank_histograms(
    calibration: Calibration,
    *,
    quantities: list[str] | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Histograms of the ranks of the truth, flat within the grey band if the posterior is right.

    Too narrow a posterior makes a valley, too wide a one a hill, one shifted upwards a slope down.
    The band holds all bars of a panel at once with 95 %, or 1 − ``level``, by Bonferroni's
    inequality; panels whose quantity is found to be miscalibrated are red.

    Parameters
    ----------
    calibration
        Result of :func:`inference.evaluation.calibrate`.
    quantities
        Whose ranks; all unless given, of more than twelve those with the smallest p-values.
    title
        Drawn above; by default what was calibrated.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If there is no such quantity.

    Examples
    --------
    >>> import torch
    >>> ranks = torch.randint(0, 100, (200,), generator=torch.Generator().manual_seed(0))
    >>> len(rank_histograms(Calibration({"mu": ranks}, num_draws=99)).axes)
    1
    """
    place, named = _panels(calibration, quantities, title, ax)
    size, last = len(calibration), calibration.num_draws
    bars = max(2, min(20, size // _PER_BAR, last + 1))
    edges = np.linspace(0, last + 1, bars + 1).round()
    share = np.diff(edges) / (last + 1)
    tail = calibration.level / bars / 2
    for name, axes in named.items():
        counts, _ = np.histogram(calibration.ranks[name].values, edges)
        low, high = (binomial_quantile(at, size, share) / (size * share) for at in (tail, 1 - tail))
        axes.stairs(high, edges, baseline=low, fill=True, color=MISSING, alpha=0.6)
        axes.stairs(
            counts / (size * share), edges, fill=True, alpha=0.7, color=_color(calibration, name)
        )
        axes.axhline(1, color=INK, lw=0.8, ls=":")
        axes.set(xlim=(0, last + 1), ylim=(0, None), xticks=[0, (last + 1) / 2, last + 1])
    place.supxlabel("rank of the truth among draws", fontsize=9)
    place.supylabel("ranks per uniform rank", fontsize=9)
    return figure_of(place)


@register_figure(needs=NEEDS)
def rank_ecdfs(
    calibration: Calibration,
    *,
    quantities: list[str] | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Share of the ranks below each rank, less that of uniform ranks, in a simultaneous band.

    The line stays within the band everywhere with 95 %, or 1 − ``level``, if the posterior is right
    (Säilynoja, Bürkner & Vehtari 2022). Too narrow a posterior lies above the band at the left and
    below it at the right, one shifted upwards above it throughout.

    Parameters
    ----------
    calibration, quantities, title, ax
        As of :func:`rank_histograms`.

    Raises
    ------
    UsageError
        If there is no such quantity.

    Examples
    --------
    >>> import torch
    >>> ranks = torch.randint(0, 100, (200,), generator=torch.Generator().manual_seed(0))
    >>> len(rank_ecdfs(Calibration({"mu": ranks}, num_draws=99)).axes)
    1
    """
    place, named = _panels(calibration, quantities, title, ax)
    band = calibration.band
    at = np.r_[0.0, band.fraction, 1.0]
    for name, axes in named.items():
        low, high, found = (
            np.r_[0.0, values - band.fraction, 0.0]
            for values in (band.lower, band.upper, calibration.ranks[name].ecdf)
        )
        axes.fill_between(at, low, high, color=MISSING, alpha=0.6, lw=0)
        axes.plot(at, found, color=_color(calibration, name), lw=1.4)
        axes.axhline(0, color=INK, lw=0.8, ls=":")
        axes.set(xlim=(0, 1), xticks=[0, 0.5, 1])
    place.supxlabel("rank of the truth, as a share", fontsize=9)
    place.supylabel("ECDF − uniform", fontsize=9)
    return figure_of(place)


@register_figure(needs=NEEDS)
def expected_coverage(
    calibration: Calibration,
    *,
    quantities: list[str] | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Share of the truths that credible regions hold, by their credibility.

    Regions of highest density and central intervals that are too small lie below the diagonal; of
    balls around random points (TARP) those of too narrow a posterior lie above it on the left and
    below it on the right. The band is as of :func:`rank_ecdfs`.

    Parameters
    ----------
    calibration
        Result of :func:`inference.evaluation.calibrate`.
    quantities
        As of :meth:`inference.evaluation.Calibration.coverage`; ``tarp``, and ``log_q`` where it is
        known, unless given.
    title
        Drawn above; by default what was calibrated.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If there is no such quantity, or none to be drawn.

    Examples
    --------
    >>> import torch
    >>> ranks = torch.randint(0, 100, (200,), generator=torch.Generator().manual_seed(0))
    >>> expected_coverage(Calibration({"tarp": ranks}, num_draws=99)).axes[0].get_xlabel()
    'credibility'
    """
    known: list[str] = [name for name in ("tarp", "log_q") if name in calibration.ranks]
    chosen = known if quantities is None else quantities
    place, named = _panels(calibration, chosen, title, ax)
    for name, axes in named.items():
        curve = calibration.coverage(name)
        at, low, high, covered = (
            np.r_[0.0, values, 1.0]
            for values in (curve.credibility, curve.band.lower, curve.band.upper, curve.covered)
        )
        axes.fill_between(at, low, high, color=MISSING, alpha=0.6, lw=0)
        axes.plot([0, 1], [0, 1], color=INK, lw=0.8, ls=":")
        axes.plot(at, covered, color=_color(calibration, name), lw=1.4)
        axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="credibility")
    next(iter(named.values())).set_ylabel("share of truths held")
    return figure_of(place)


def _panels(
    calibration: Calibration, quantities: list[str] | None, title: str | None, ax: Place | None
) -> tuple[Figure | SubFigure, dict[str, Axes]]:
    """A panel for each quantity, under its name."""
    shown = calibration.quantities or tuple(calibration.ranks)
    names = list(shown if quantities is None else quantities)
    unknown = [name for name in names if name not in calibration.ranks]
    if unknown or not names:
        said = f"no {', '.join(unknown)} among" if unknown else "nothing to draw of"
        raise UsageError(f"there is {said} the quantities {', '.join(calibration.ranks)}")
    if quantities is None and len(names) > MOST_PANELS:
        smallest = sorted(names, key=lambda name: min(calibration.adjusted[name]))[:MOST_PANELS]
        names = [name for name in names if name in smallest]
    columns = min(_COLUMNS, len(names))
    lines = math.ceil(len(names) / columns)
    place, grid = panels(ax, lines, columns, (1.2 + 2.2 * columns, 0.9 + 1.9 * lines))
    grid = grid.ravel()
    for unused in grid[len(names) :]:
        unused.remove()
    named = dict(zip(names, grid, strict=False))
    for name, axes in named.items():
        axes.set_title(name, fontsize=9)
        axes.tick_params(labelsize=8)
        plain(axes)
    of = f"{calibration.guide} of {calibration.model}, n = {len(calibration)} simulations"
    place.suptitle(of if title is None else title, fontsize=10)
    return place, named


def _color(calibration: Calibration, name: str) -> str:
    """Red where something was found."""
    return PETROFF[2] if min(calibration.adjusted[name]) <= calibration.level else PETROFF[0]
