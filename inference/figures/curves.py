"""Learning curves: the bound, epoch by epoch."""

from __future__ import annotations

import math
import textwrap
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from inference.evaluation.quantity import NATS
from inference.figures.palette import INK, PETROFF, plain
from inference.figures.registry import register_figure
from inference.learning.history import History
from pyro_models import UsageError

__all__ = ["learning_curves"]


@dataclass(frozen=True)
class _Line:
    """How one bound is drawn."""

    attribute: str
    label: str
    color: str
    marker: str
    dashes: str


@dataclass(frozen=True)
class _Bound:
    """One bound at the epochs where it was computed; values may not be finite."""

    line: _Line
    epochs: np.ndarray
    values: np.ndarray


_LINES = (
    _Line("validation", "validation", PETROFF[2], "s", "-"),
    _Line("train", "training", PETROFF[0], "o", "-"),
    _Line("running", "training, while learning", PETROFF[8], "^", "--"),
)
_FEW = 30  # epochs up to which each is marked
_LABEL_GAP = 0.055
_TITLE_WIDTH = 70


@register_figure()
def learning_curves(history: History, *, title: str | None = None) -> Figure:
    """Bounds by epoch, each line named at its end, the best epoch marked; higher is better.

    The axis is made for the later epochs. A bound too deep for it is a triangle on the lower edge,
    and a note says how deep; a bound that is not finite is a cross there.

    Parameters
    ----------
    history
        A record of training: ``epochs`` with ``epoch``, ``running``, ``train`` and ``validation``;
        ``objective``, ``unit`` and ``best_epoch`` are shown where present. A ``remark``, of an
        objective that is no bound, stands below the title, and the axis says objective.
    title
        Drawn above; by default the objective.

    Raises
    ------
    UsageError
        If there is no epoch, or no finite bound.
    """
    bounds = _bounds(history)
    finite = [b.values[np.isfinite(b.values)] for b in bounds]
    if not sum(len(values) for values in finite):
        raise UsageError("no epoch with a finite bound to draw: train first")
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(_limits(bounds))
    every = [record.epoch for record in history.epochs]
    pad = 0.02 * (max(every) - min(every)) or 0.5
    axes.set_xlim(min(every) - pad, max(every) + pad)
    for bound in bounds:
        few = len(bound.epochs) <= _FEW
        axes.plot(
            bound.epochs,
            np.where(np.isfinite(bound.values), bound.values, np.nan),
            color=bound.line.color,
            marker=bound.line.marker if few else "",
            ls=bound.line.dashes,
            lw=1.6,
            ms=4,
            zorder=3,
        )
    _mark_outside(axes, bounds)
    best = getattr(history, "best_epoch", None)
    if best is not None:
        _mark_best(axes, bounds, best)
    _name_lines(axes, bounds)
    axes.set_xlabel("epoch")
    remark = getattr(history, "remark", "")
    unit = getattr(history, "unit", None) or NATS
    axes.set_ylabel(f"{'objective' if remark else 'bound'} ({unit})")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    plain(axes, lines="y")
    objective = getattr(history, "objective", None)
    lines = [title or (f"objective: {objective}" if objective else "")]
    lines += textwrap.wrap(remark, _TITLE_WIDTH)
    if any(lines):
        heading = "\n".join(line for line in lines if line)
        axes.set_title(heading, fontsize=10, pad=6 if best is None else 18)
    return figure


def _bounds(history: History) -> list[_Bound]:
    """The bounds that were computed, those of no epoch left out."""
    bounds = []
    for line in _LINES:
        pairs = [(record.epoch, getattr(record, line.attribute)) for record in history.epochs]
        computed = [(epoch, value) for epoch, value in pairs if value is not None]
        if computed:
            epochs, values = np.array(computed, dtype=float).T
            bounds.append(_Bound(line, epochs, values))
    return bounds


def _limits(bounds: list[_Bound]) -> tuple[float, float]:
    """Limits of the bound's axis: what is deeper than three times the later epochs is left out."""
    values = np.concatenate([b.values for b in bounds])
    values = values[np.isfinite(values)]
    later = np.concatenate([b.values[max(1, len(b.values) // 5) :] for b in bounds])
    later = later[np.isfinite(later)]
    top, low = values.max(), values.min()
    if len(later) and top > later.min():
        low = values[values >= top - 3 * (top - later.min())].min()
    span = (top - low) or max(1.0, 0.01 * abs(top))
    return low - 0.06 * span, top + 0.06 * span


def _mark_outside(axes: Axes, bounds: list[_Bound]) -> None:
    """Triangles and crosses on the lower edge, and a note that tells what they are."""
    low, _ = axes.get_ylim()
    style: dict[str, Any] = {
        "ls": "",
        "clip_on": False,
        "transform": axes.get_xaxis_transform(),
        "zorder": 5,
    }
    notes = []
    deepest, when = math.inf, math.nan
    broken = False
    for bound in bounds:
        hidden = np.isfinite(bound.values) & (bound.values < low)
        wrong = ~np.isfinite(bound.values)
        for inside, marker in ((hidden, "v"), (wrong, "x")):
            at = bound.epochs[inside]
            axes.plot(at, np.zeros_like(at), marker, color=bound.line.color, ms=7, mew=2, **style)
        broken = broken or bool(wrong.any())
        if hidden.any() and bound.values[hidden].min() < deepest:
            deepest = bound.values[hidden].min()
            when = bound.epochs[hidden][bound.values[hidden].argmin()]
    if math.isfinite(deepest):
        notes.append(f"▼ deeper: down to {deepest:,.0f} at epoch {when:.0f}".replace("-", "−"))
    if broken:
        notes.append("× not finite")
    if notes:
        box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1}
        where: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "zorder": 4}
        axes.text(0.99, 0.04, "\n".join(notes), fontsize=8, color=INK, bbox=box, **where)


def _mark_best(axes: Axes, bounds: list[_Bound], best: int) -> None:
    """A dotted line at the best epoch, and a ring around its best known bound.

    Near the right end, where the lines are named, the epoch is written left of it.
    """
    axes.axvline(best, color=INK, ls=":", lw=1, zorder=1)
    for bound in bounds:
        at = np.flatnonzero((bound.epochs == best) & np.isfinite(bound.values))
        if len(at):
            height = bound.values[at[0]]
            axes.plot(best, height, "o", mfc="none", mec=INK, ms=10, mew=1.4, zorder=6)
            break
    first, last = axes.get_xlim()
    axes.annotate(
        f"best epoch {best}",
        xy=(best, 1),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 2),
        textcoords="offset points",
        ha="right" if best > last - 0.15 * (last - first) else "center",
        fontsize=8,
        color=INK,
    )


def _name_lines(axes: Axes, bounds: list[_Bound]) -> None:
    """The name of each line at its end, right of the axes, pushed apart where ends are close."""
    low, high = axes.get_ylim()
    ends = []
    for bound in bounds:
        finite = np.flatnonzero(np.isfinite(bound.values))
        if len(finite):
            height = (bound.values[finite[-1]] - low) / (high - low)
            ends.append((min(max(height, 0.0), 1.0), bound.epochs[finite[-1]], bound.line))
    ends.sort(key=lambda end: end[0])
    for (height, epoch, line), place in zip(ends, _apart([e[0] for e in ends]), strict=True):
        axes.annotate(
            line.label,
            xy=(epoch, low + height * (high - low)),
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=line.color,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": line.color, "lw": 0.6, "shrinkB": 4},
        )


def _apart(heights: list[float]) -> list[float]:
    """Increasing heights moved apart to ``_LABEL_GAP``, about where they were, none above 1."""
    places = list(heights)
    for _ in range(50):
        for i in range(len(places) - 1):
            lack = _LABEL_GAP - (places[i + 1] - places[i])
            if lack > 0:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
    above = max(0.0, places[-1] - 1) if places else 0.0
    return [place - above for place in places]
