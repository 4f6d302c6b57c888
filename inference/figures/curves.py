"""Learning curves: the bound, epoch by epoch."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inference.evaluation.quantity import BITS, NATS
from inference.figures.palette import INK, PETROFF, plain
from inference.figures.registry import register_figure
from inference.learning.history import History
from pyro_models import Pair, UsageError
from pyro_models.likelihoods.levels import CountingLevels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_curves"]


class _Bound(NamedTuple):
    """One bound at the epochs where it was computed, and how it is drawn; some are not finite."""

    label: str
    color: str
    marker: str
    dashes: str
    epochs: np.ndarray
    values: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        return np.isfinite(self.values)


_LINES = {
    "validation": ("validation", PETROFF[2], "s", "-"),
    "train": ("training", PETROFF[0], "o", "-"),
    "running": ("training, while learning", PETROFF[8], "^", "--"),
}
_MEASURES = {  # of adversarial training, in panels below
    "loss": ("generator_loss", "critic_loss"),
    "share": ("accuracy_real", "accuracy_fake", "diversity"),
}
_FEW = 30  # epochs up to which each is marked
_LABEL_GAP = 0.055
_TITLE_WIDTH = 70


@register_figure()
def learning_curves(
    history: History, *, title: str | None = None, pair: Pair | None = None
) -> Figure:
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
    pair
        Whose training it was: a bound on the probability of levels of pixels has an axis in bits
        per dimension, −bound / (D ln 2), too.

    Raises
    ------
    UsageError
        If there is no epoch, or no finite bound.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    bounds = _bounds(history)
    if not any(b.finite.any() for b in bounds):
        raise UsageError("no epoch with a finite bound to draw: train first")
    measured = _measured(history)
    figure = Figure(figsize=(6.4, 4.0 + 2.2 * len(measured)), layout="constrained")
    heights = [4.0, *[2.2] * len(measured)]
    axes, *below = figure.subplots(1 + len(measured), height_ratios=heights, squeeze=False)[:, 0]
    every = [record.epoch for record in history.epochs]
    pad = 0.02 * (max(every) - min(every)) or 0.5
    axes.set(xlim=(min(every) - pad, max(every) + pad), ylim=_limits(bounds))
    for b in bounds:
        values = np.where(b.finite, b.values, np.nan)
        marker = b.marker if len(b.epochs) <= _FEW else ""
        style: dict[str, Any] = {"color": b.color, "ls": b.dashes, "lw": 1.6, "ms": 4, "zorder": 3}
        axes.plot(b.epochs, values, marker=marker, **style)
    _mark_outside(axes, bounds)
    best = getattr(history, "best_epoch", None)
    if best is not None:
        _mark_best(axes, bounds, best)
    _name_lines(axes, bounds)
    remark = getattr(history, "remark", "")
    unit = getattr(history, "unit", None) or NATS
    axes.set(xlabel="epoch", ylabel=f"{'objective' if remark else 'bound'} ({unit})")
    if pair is not None and not remark and isinstance(pair.likelihood, CountingLevels):
        scale = -math.prod(pair.data_shape) * math.log(2)
        functions = (lambda nats: nats / scale, lambda bits: bits * scale)
        bits = axes.secondary_yaxis("left", functions=functions)
        bits.set_ylabel(BITS)
        # in points: a fraction of the axes, whose width the layout sets, was cut off at the edge
        bits.spines["left"].set_position(("outward", 57))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    plain(axes, lines="y")
    objective = getattr(history, "objective", None)
    lines = [title or (f"objective: {objective}" if objective else "")]
    lines += textwrap.wrap(remark, _TITLE_WIDTH)
    for lower, (what, curves) in zip(below, measured.items(), strict=True):
        _draw_measures(lower, what, curves, axes.get_xlim())
    if any(lines):
        heading = "\n".join(line for line in lines if line)
        axes.set_title(heading, fontsize=10, pad=6 if best is None else 18)
    return figure


def _measured(history: History) -> dict[str, list[_Bound]]:
    """What an objective measured beside its value: losses, and shares, where there are any."""
    epochs = [record for record in history.epochs if getattr(record, "measures", {})]
    groups: dict[str, list[_Bound]] = {}
    for what, names in _MEASURES.items():
        for i, name in enumerate(name for name in names if epochs and name in epochs[0].measures):
            at = np.array([(r.epoch, r.measures.get(name, np.nan)) for r in epochs], dtype=float)
            look = (name.replace("_", " "), PETROFF[2 * i], "", "-")
            groups.setdefault(what, []).append(_Bound(*look, *at.T))
    return groups


def _draw_measures(axes: Axes, what: str, curves: list[_Bound], across: Any) -> None:
    """Each line named at its end."""
    from matplotlib.ticker import MaxNLocator

    for curve in curves:
        axes.plot(curve.epochs, curve.values, color=curve.color, lw=1.4, marker=curve.marker)
    if what == "share":
        axes.set_ylim(0, max(1.05, *(1.05 * c.values.max() for c in curves)))
    _name_lines(axes, curves, gap=2 * _LABEL_GAP)
    axes.set(xlabel="epoch", ylabel=what, xlim=across)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    plain(axes, lines="y")


def _bounds(history: History) -> list[_Bound]:
    """The bounds that were computed, those of no epoch left out."""
    bounds = []
    for attribute, look in _LINES.items():
        pairs = [(record.epoch, getattr(record, attribute)) for record in history.epochs]
        computed = [(epoch, value) for epoch, value in pairs if value is not None]
        if computed:
            bounds.append(_Bound(*look, *np.array(computed, dtype=float).T))
    return bounds


def _limits(bounds: list[_Bound]) -> tuple[float, float]:
    """Limits of the bound's axis: what is deeper than three times the later epochs is left out."""
    values = np.concatenate([b.values[b.finite] for b in bounds])
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
    style: dict[str, Any] = {"ls": "", "clip_on": False, "ms": 7, "mew": 2, "zorder": 5}
    notes: list[str] = []
    hidden: list[tuple[float, float]] = []
    for b in bounds:
        below = b.finite & (b.values < low)
        for inside, marker in ((below, "v"), (~b.finite, "x")):
            at, edge = b.epochs[inside], axes.get_xaxis_transform()
            if len(at):  # an empty line would have a place in the layout, far below
                axes.plot(at, np.zeros_like(at), marker, color=b.color, transform=edge, **style)
        hidden += zip(b.values[below], b.epochs[below], strict=True)
    if hidden:
        deepest, when = min(hidden, key=lambda found: found[0])
        notes.append(f"▼ deeper: down to {deepest:,.0f} at epoch {when:.0f}".replace("-", "−"))
    if not all(b.finite.all() for b in bounds):
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
        heights = bound.values[(bound.epochs == best) & bound.finite]
        if len(heights):
            axes.plot(best, heights[0], "o", mfc="none", mec=INK, ms=10, mew=1.4, zorder=6)
            break
    first, last = axes.get_xlim()
    side = "right" if best > last - 0.15 * (last - first) else "center"
    above: dict[str, Any] = {"xytext": (0, 2), "textcoords": "offset points", "ha": side}
    above["xycoords"] = axes.get_xaxis_transform()
    axes.annotate(f"best epoch {best}", xy=(best, 1), fontsize=8, color=INK, **above)


def _name_lines(axes: Axes, bounds: list[_Bound], gap: float = _LABEL_GAP) -> None:
    """The name of each line at its end, right of the axes, pushed apart where ends are close."""
    low, high = axes.get_ylim()
    ends = []
    for bound in bounds:
        finite = np.flatnonzero(bound.finite)
        if len(finite):
            height = (bound.values[finite[-1]] - low) / (high - low)
            ends.append((min(max(height, 0.0), 1.0), bound.epochs[finite[-1]], bound))
    ends.sort(key=lambda end: end[0])
    for (height, epoch, bound), place in zip(ends, _apart([e[0] for e in ends], gap), strict=True):
        axes.annotate(
            bound.label,
            xy=(epoch, low + height * (high - low)),
            xytext=(1.03, place),
            textcoords="axes fraction",
            va="center",
            fontsize=9,
            color=bound.color,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": bound.color, "lw": 0.6, "shrinkB": 4},
        )


def _apart(heights: list[float], gap: float) -> list[float]:
    """Increasing heights moved apart to a gap, about where they were, none above 1."""
    places = list(heights)
    for _ in range(50):
        for i in range(len(places) - 1):
            lack = gap - (places[i + 1] - places[i])
            if lack > 0:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
    above = max(0.0, places[-1] - 1) if places else 0.0
    return [place - above for place in places]
