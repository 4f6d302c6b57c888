"""A score against a setting, with error bars over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.figures.canvas import figure_of, one_panel, part
from inference.figures.palette import INK, class_color, class_marker, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError

if TYPE_CHECKING:  # what is drawn rests on experiments, and these draw samples
    from inference.selection import Row, Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["search_progress", "setting_curves"]

_OPTION = "options."
MOST_LINES = 10
DECADE = 10.0
LONG_LABEL = 40


@register_figure(needs="a sweep: draw it with pyro-models sweep")
def setting_curves(
    sweep: Sweep,
    *,
    x: str | None = None,
    lines: str | None = None,
    at: Mapping[str, Any] | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """The mean score over seeds against one setting, with ± one standard error over seeds.

    Each seed's score is a faint dot. The axis is logarithmic where positive values span a decade or
    more; words and lists stand side by side. A setting without any score is a cross at the bottom.

    Parameters
    ----------
    sweep
        The result of :func:`inference.selection.sweep`.
    x, lines
        The setting along the axis, and the one that has a line for each of its values; the first
        and the second that vary unless given.
    at
        Value of each further setting that varies; rows of other values are left out.
    title
        Drawn above; by default what ``at`` says.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If a setting is unknown or left open, or there are no scores that may be compared.
    """
    from matplotlib.ticker import NullFormatter, NullLocator

    x, lines, at = _axes(sweep.grid, x, lines, dict(at or {}))
    rows = [row for row in sweep.rows if all(row.setting[k] == v for k, v in at.items())]
    label = sweep.label  # refuses what may not be compared
    if not any(math.isfinite(row.mean) for row in rows):
        raise UsageError("no setting with a score to draw")
    axes = one_panel(ax, (6.4, 4.0))
    values = list(sweep.grid[x])
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    log = numeric and min(values) > 0 and max(values) / min(values) >= DECADE
    places = np.array(values if numeric else range(len(values)), dtype=float)
    low, high = places.min(), places.max()
    if log:
        axes.set_xscale("log")
    of_lines = [None] if lines is None else list(sweep.grid[lines])
    for i, value in enumerate(of_lines):
        own = [row for row in rows if lines is None or row.setting[lines] == value]
        # side by side, so that bars of equal height stay apart
        shift = 0.0 if len(of_lines) == 1 else 0.012 * (i - (len(of_lines) - 1) / 2)
        at_x = places[[values.index(row.setting[x]) for row in own]]
        at_x = at_x * (high / low) ** shift if log else at_x + shift * ((high - low) or 1.0)
        _draw(axes, at_x, own, index=i, name=None if lines is None else str(value))
    axes.xaxis.set_minor_locator(NullLocator())  # the values of the grid, and nothing between them
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xticks(places, [f"{v:g}" if numeric else str(v) for v in values])
    axes.set_xlabel(x.removeprefix(_OPTION))
    axes.set_ylabel("\n(".join(label.rsplit(" (", 1)) if len(label) > LONG_LABEL else label)
    plain(axes, lines="y")
    fixed = ", ".join(f"{name.removeprefix(_OPTION)} = {value}" for name, value in at.items())
    error = any(math.isfinite(row.standard_error) for row in rows)
    what = "± one standard error over seeds" if error else "one seed each: no error bars"
    above = f"{fixed}; {what}".removeprefix("; ") if title is None else title
    axes.set_title(above, fontsize=10)
    if lines is not None:
        axes.legend(title=lines.removeprefix(_OPTION), fontsize=8, title_fontsize=8, frameon=False)
    return figure_of(axes)


@register_figure(needs="a search: draw it with pyro-models sweep --search")
def search_progress(sweep: Sweep, *, title: str | None = None, ax: Place | None = None) -> Figure:
    """The score of each setting in the order of trial, the best so far, and against each setting.

    Bars are ± one standard error over seeds. A pruned or failed setting is a cross at the bottom.

    Parameters
    ----------
    sweep
        The result of :func:`inference.selection.sweep` with a search.
    title
        Drawn above; by default the search, and how many settings and epochs it took.
    ax
        Axes of a grid, whose place it takes, a figure or a part of one; a new figure if not
        given.

    Raises
    ------
    UsageError
        If there are no scores that may be compared.
    """
    from matplotlib.ticker import MaxNLocator

    best = sweep.best  # refuses what has none
    names = list(sweep.grid)
    across, down = min(3, len(names)), math.ceil(len(names) / 3)
    whole = part(ax, (6.4, 3.2 + 2.6 * down))
    places = whole.add_gridspec(1 + down, across, height_ratios=[3.2, *[2.6] * down])
    axes = whole.add_subplot(places[0, :])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))  # settings are counted
    means = np.array([row.mean if row.is_whole else math.nan for row in sweep.rows])
    order = np.arange(1, len(means) + 1)
    worst = math.inf if sweep.lower_is_better else -math.inf
    running = np.minimum if sweep.lower_is_better else np.maximum
    so_far = running.accumulate(np.where(np.isfinite(means), means, worst))
    axes.step(order, np.where(np.isfinite(so_far), so_far, np.nan), where="post", color=INK, lw=1)
    _points(axes, order, sweep.rows, means)
    axes.set_xlabel("setting, in the order of trial (line: the best so far; dotted: the best)")
    axes.xaxis.get_major_locator().set_params(integer=True)
    if not all(row.is_whole for row in sweep.rows):
        corner: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "color": INK}
        axes.text(0.99, 0.04, "× pruned, failed or not there yet", fontsize=8, **corner)
    label = sweep.label
    axes.set_ylabel("\n(".join(label.rsplit(" (", 1)) if len(label) > LONG_LABEL else label)
    first = None
    for i, name in enumerate(names):
        first = own = whole.add_subplot(places[1 + i // across, i % across], sharey=first)
        own.tick_params(labelleft=i % across == 0)
        values = [row.setting[name] for row in sweep.rows]
        numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
        words = list(dict.fromkeys(map(str, sweep.grid[name])))
        at = np.array(values if numeric else [words.index(str(v)) for v in values], dtype=float)
        if numeric and at.min() > 0 and at.max() / at.min() >= DECADE:
            own.set_xscale("log")
        elif not numeric:
            own.set_xticks(range(len(words)), words, fontsize=8)
        _points(own, at, sweep.rows, means)
        own.axvline(at[sweep.rows.index(best)], color=INK, lw=0.8, ls=":")
        own.set_xlabel(name.removeprefix(_OPTION))
    pruned = sum(bool(row.pruned) for row in sweep.rows)
    what = f"{sweep.search}: {len(sweep.rows)} settings, {sweep.epochs:,} epochs, {pruned} pruned"
    whole.suptitle(title or what, fontsize=10)
    return figure_of(whole)


def _points(axes: Axes, at: np.ndarray, rows: Sequence[Row], means: np.ndarray) -> None:
    """Scores with their errors over seeds, and crosses for what has none."""
    errors = np.array([row.standard_error for row in rows])
    bars = np.where(np.isfinite(errors), errors, 0.0)
    style: dict[str, Any] = {"ms": 4, "lw": 0, "elinewidth": 1.2, "zorder": 3}
    axes.errorbar(at, means, yerr=bars, marker="o", color=class_color(0), **style)
    lost = at[~np.isfinite(means)]
    if len(lost):  # an empty line that is not clipped has no edges, which no layout survives
        edge: dict[str, Any] = {"clip_on": False, "transform": axes.get_xaxis_transform()}
        axes.plot(lost, np.zeros_like(lost), "x", color=class_color(1), ms=6, mew=1.6, **edge)
    low = np.nanquantile(means, 0.1)  # what went astray does not hide the others
    high, spread = np.nanmax(means), np.nanmax(means) - low
    if spread > 0 and np.nanmin(means) < low - 2 * spread:
        axes.set_ylim(low - spread, high + 0.1 * spread)
    plain(axes, lines="y")


def _axes(
    grid: Mapping[str, Sequence[Any]], x: str | None, lines: str | None, at: dict[str, Any]
) -> tuple[str, str | None, dict[str, Any]]:
    """The settings along the axis and by line, and the values of all others."""
    if not grid:
        raise UsageError("this sweep varies no setting: there is nothing to draw")
    for name in (x, lines, *at):
        if name is not None and name not in grid:
            raise UsageError(f"{name} is no setting of this sweep: choose from {', '.join(grid)}")
    for name, value in at.items():
        if value not in grid[name]:
            raise UsageError(f"{name} has no value {value!r} in this sweep")
    varied = [name for name, values in grid.items() if len(values) > 1 and name not in at]
    if x is None:
        x = next((name for name in [*varied, *grid] if name not in (lines, *at)), None)
    if x is None or x == lines or x in at or lines in at:
        raise UsageError("x, lines and at are different settings")
    if lines is None:
        lines = next((name for name in varied if name != x), None)
    left = [name for name in varied if name not in (x, lines)]
    if left:
        raise UsageError(
            f"{', '.join(left)} vary too: say at which value (at), for a figure shows two settings"
        )
    if lines is not None and len(grid[lines]) > MOST_LINES:
        raise UsageError(f"{lines} has more than {MOST_LINES} values: put it along the axis (x)")
    return x, lines, at


def _draw(axes: Axes, at: np.ndarray, rows: Sequence[Row], *, index: int, name: str | None) -> None:
    color, marker = class_color(index), class_marker(index)
    means = np.array([row.mean for row in rows])
    errors = np.array([row.standard_error for row in rows])
    for place, row in zip(at, rows, strict=True):
        axes.plot([place] * len(row.values), row.values, ".", color=color, alpha=0.35, ms=5)
    bars = np.where(np.isfinite(errors), errors, 0.0) if np.isfinite(errors).any() else None
    style: dict[str, Any] = {"ms": 5, "lw": 1.4, "elinewidth": 1.4, "capsize": 3, "zorder": 3}
    axes.errorbar(at, means, yerr=bars, color=color, marker=marker, label=name, **style)
    lost = at[~np.isfinite(means)]
    if len(lost):
        edge: dict[str, Any] = {"clip_on": False, "transform": axes.get_xaxis_transform()}
        axes.plot(lost, np.zeros_like(lost), "x", color=color, ms=7, mew=2, **edge)
        corner: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "color": INK}
        axes.text(0.99, 0.04, "× failed", fontsize=8, **corner)
