"""Learning curves: the bound, epoch by epoch."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from inference.evaluation.quantity import BITS, NATS
from inference.figures.canvas import figure_of, one_panel, panels
from inference.figures.heading import subject
from inference.figures.line_names import LABEL_GAP, name_lines
from inference.figures.palette import INK, PETROFF, class_color, class_marker, plain
from inference.figures.registry import Shown, register_figure
from inference.learning.history import History
from pyro_models import Pair, UsageError
from pyro_models.likelihoods.levels import CountingLevels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

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
_DASHES = {"validation": "-", "train": "--", "running": ":"}  # of several trainings
_MEASURES = {  # of adversarial training, in panels below
    "loss": ("generator_loss", "critic_loss"),
    "share": ("accuracy_real", "accuracy_fake", "diversity"),
}
_FEW = 30  # epochs up to which each is marked
_TITLE_WIDTH = 70


def _runs_of(shown: Mapping[str, Shown]) -> Figure:
    """The trainings of several runs in one axis; of one also in bits per dimension."""
    first, *others = shown.values()
    own: dict[str, Any] = {"title": first.title, "ax": first.ax}
    if not others:
        return learning_curves(first.load_history(), pair=first.pair, **own)
    measures = {n: getattr(one.pair.likelihood, "measure", None) for n, one in shown.items()}
    if first.title is None and len(set(measures.values())) > 1:
        each = "; ".join(f"{name}: {measure or 'none'}" for name, measure in measures.items())
        said = f"These bounds may not be compared: they are of different measures ({each})"
        own["title"] = textwrap.fill(said, _TITLE_WIDTH)
    return learning_curves({name: one.load_history() for name, one in shown.items()}, **own)


@register_figure(of_several=_runs_of)
def learning_curves(
    history: History | Mapping[str, History],
    *,
    title: str | None = None,
    pair: Pair | None = None,
    ax: Place | None = None,
) -> Figure:
    """Bounds by epoch, each line named at its end, the best epoch marked; higher is better.

    The axis is made for the later epochs. A bound too deep for it is a triangle on the lower edge,
    and a note says how deep; a bound that is not finite is a cross there. Below stands on how many
    data the bounds are. Several trainings have a color each: validation is a whole line, training
    a dashed one; the bound while learning is dotted, and drawn where there is no other.

    Parameters
    ----------
    history
        A record of training: ``epochs`` with ``epoch``, ``running``, ``train`` and ``validation``;
        ``objective``, ``unit``, ``curve_data`` and ``best_epoch`` are shown where present. A
        ``remark``, of an objective that is no bound, stands below the title, and the axis says
        objective. Or several by name, of the same unit, in one axis.
    title
        Drawn above; by default the pair, where it is given, and the objective.
    pair
        Whose training it was: a bound on the probability of levels of pixels has an axis in bits
        per dimension, −bound / (D ln 2), too.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If there is no epoch, or no finite bound, or several trainings have different units.
    """
    histories: Mapping[str, History] = history if isinstance(history, Mapping) else {"": history}
    bounds = _bounds_of(histories)
    if not any(b.finite.any() for b in bounds):
        raise UsageError("no epoch with a finite bound to draw: train first")
    measured = _measured(histories)
    heights = [4.0, *[2.2] * len(measured)]
    size = 6.4 if len(histories) == 1 else 7.2, sum(heights) + 0.2
    if measured:
        _, grid = panels(ax, len(heights), 1, size, height_ratios=heights)
        axes, *below = grid[:, 0]
    else:
        axes, below = one_panel(ax, size), []
    every = [record.epoch for one in histories.values() for record in one.epochs]
    pad = 0.02 * (max(every) - min(every)) or 0.5
    axes.set(xlim=(min(every) - pad, max(every) + pad), ylim=_limits(bounds))
    for b in bounds:
        values = np.where(b.finite, b.values, np.nan)
        marker = b.marker if len(b.epochs) <= _FEW else ""
        style: dict[str, Any] = {"color": b.color, "ls": b.dashes, "lw": 1.6, "ms": 4, "zorder": 3}
        axes.plot(b.epochs, values, marker=marker, **style)
    _mark_outside(axes, bounds)
    best = _mark_best(axes, histories)
    name_lines(axes, bounds)
    first = next(iter(histories.values()))
    remarks = list(dict.fromkeys(getattr(one, "remark", "") for one in histories.values()))
    unit = getattr(first, "unit", None) or NATS
    axes.set(ylabel=f"{'objective' if any(remarks) else 'bound'} ({unit})")
    _name_epochs(axes, data=_data_behind(histories))
    if pair is not None and not any(remarks) and isinstance(pair.likelihood, CountingLevels):
        _add_bits(axes, pair)
    plain(axes, lines="y")
    for lower, (what, curves) in zip(below, measured.items(), strict=True):
        _draw_measures(lower, what, curves, axes.get_xlim())
    above = [_heading(histories, pair) if title is None else title]
    above += [line for remark in remarks for line in textwrap.wrap(remark, _TITLE_WIDTH)]
    if any(above):
        lines = "\n".join(line for line in above if line)
        axes.set_title(lines, fontsize=10, pad=18 if best else 6)
    return figure_of(axes)


def _heading(histories: Mapping[str, History], pair: Pair | None) -> str:
    """The pair where it is known, and the objective where all have the same."""
    objectives = {getattr(one, "objective", None) for one in histories.values()}
    found = [] if pair is None else [subject(pair)]
    if len(objectives) == 1 and (objective := objectives.pop()):
        found.append(f"objective: {objective}")
    return "; ".join(found)


def _data_behind(histories: Mapping[str, History]) -> str:
    """On how many data the curves are; of several trainings, where all agree or each by itself."""
    texts = {}
    for name, one in histories.items():
        counts = getattr(one, "curve_data", {})
        words = [f"{counts[s]:,} {s.replace('train', 'training')}" for s in _LINES if s in counts]
        texts[name] = f"bounds on {' and '.join(words)} data" if words else ""
    if len(set(texts.values())) == 1:
        return next(iter(texts.values()))
    return "\n".join(f"{name}: {text}" for name, text in texts.items() if text)


def _name_epochs(axes: Axes, *, data: str = "") -> None:
    """Whole numbers along the axis, and below it what is said of the data."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if data:
        below: dict[str, Any] = {"xytext": (0, -32), "textcoords": "offset points", "va": "top"}
        below |= {"xycoords": "axes fraction", "ha": "center", "annotation_clip": False}
        axes.annotate(data, (0.5, 0), fontsize=8, color=INK, **below)


def _add_bits(axes: Axes, pair: Pair) -> None:
    """A second axis upwards, in bits per dimension."""
    scale = -math.prod(pair.data_shape) * math.log(2)
    functions = (lambda nats: nats / scale, lambda bits: bits * scale)
    bits = axes.secondary_yaxis("left", functions=functions)
    bits.set_ylabel(BITS)
    # in points: a fraction of the axes, whose width the layout sets, was cut off at the edge
    bits.spines["left"].set_position(("outward", 57))


def _measured(histories: Mapping[str, History]) -> dict[str, list[_Bound]]:
    """What an objective measured beside its value: losses, and shares, where there are any."""
    groups: dict[str, list[_Bound]] = {}
    for j, (of, history) in enumerate(histories.items()):
        epochs = [record for record in history.epochs if getattr(record, "measures", {})]
        for what, names in _MEASURES.items():
            known = [name for name in names if epochs and name in epochs[0].measures]
            for i, name in enumerate(known):
                values = [(r.epoch, r.measures.get(name, np.nan)) for r in epochs]
                label, dashes = name.replace("_", " "), ("-", "--", ":")[i]
                look = (label, PETROFF[2 * i], "", "-")
                if len(histories) > 1:
                    look = (f"{of}: {label}", class_color(j), "", dashes)
                groups.setdefault(what, []).append(_Bound(*look, *np.array(values, dtype=float).T))
    return groups


def _draw_measures(axes: Axes, what: str, curves: list[_Bound], across: Any) -> None:
    """Each line named at its end."""
    for curve in curves:
        style: dict[str, Any] = {"color": curve.color, "ls": curve.dashes, "lw": 1.4}
        axes.plot(curve.epochs, curve.values, marker=curve.marker, **style)
    if what == "share":
        axes.set_ylim(0, max(1.05, *(1.05 * c.values.max() for c in curves)))
    name_lines(axes, curves, gap=2 * LABEL_GAP)
    axes.set(ylabel=what, xlim=across)
    _name_epochs(axes)
    plain(axes, lines="y")


def _bounds_of(histories: Mapping[str, History]) -> list[_Bound]:
    """The lines of every training; with several, each has one color, and its name at its lines."""
    if len(histories) == 1:
        return [bound for one in histories.values() for bound in _bounds(one).values()]
    units = dict.fromkeys(getattr(one, "unit", None) or NATS for one in histories.values())
    if len(units) > 1:
        raise UsageError(
            f"these trainings are in different units ({', '.join(units)}): draw them apart"
        )
    objectives = {getattr(one, "objective", None) for one in histories.values()}
    bounds = []
    for i, (name, one) in enumerate(histories.items()):
        objective = getattr(one, "objective", None)
        of = f"{name} ({objective})" if objective and len(objectives) > 1 else name
        found = _bounds(one)
        if len(found) > 1:
            found.pop("running", None)
        for what, bound in found.items():
            look: dict[str, Any] = {"color": class_color(i), "marker": class_marker(i)}
            look["dashes"] = _DASHES[what]
            bounds.append(bound._replace(label=f"{of}: {bound.label}", **look))
    return bounds


def _bounds(history: History) -> dict[str, _Bound]:
    """The bounds that were computed, those of no epoch left out."""
    bounds = {}
    for attribute, look in _LINES.items():
        pairs = [(record.epoch, getattr(record, attribute)) for record in history.epochs]
        computed = [(epoch, value) for epoch, value in pairs if value is not None]
        if computed:
            bounds[attribute] = _Bound(*look, *np.array(computed, dtype=float).T)
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


def _mark_best(axes: Axes, histories: Mapping[str, History]) -> bool:
    """A ring around the best known bound; of one training a dotted line, too, and the epoch.

    Near the right end, where the lines are named, the epoch is written left of it. Returns whether
    it is written.
    """
    epochs: dict[str, Any] = {
        name: getattr(one, "best_epoch", None) for name, one in histories.items()
    }
    for name, best in epochs.items():
        for bound in _bounds(histories[name]).values():
            heights = bound.values[(bound.epochs == best) & bound.finite]
            if len(heights):
                axes.plot(best, heights[0], "o", mfc="none", mec=INK, ms=10, mew=1.4, zorder=6)
                break
    best = next(iter(epochs.values()))
    if len(epochs) > 1 or best is None:
        return False
    axes.axvline(best, color=INK, ls=":", lw=1, zorder=1)
    first, last = axes.get_xlim()
    side = "right" if best > last - 0.15 * (last - first) else "center"
    above: dict[str, Any] = {"xytext": (0, 2), "textcoords": "offset points", "ha": side}
    above["xycoords"] = axes.get_xaxis_transform()
    axes.annotate(f"best epoch {best}", xy=(best, 1), fontsize=8, color=INK, **above)
    return True
