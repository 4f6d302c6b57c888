"""What an optimisation looks like: regret by evaluation, and why a point was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gp_bo.figures.bands import draw_band
from gp_bo.optimize.acquisition.closed_form import LogExpectedImprovement
from gp_bo.optimize.ask_tell import Optimizer
from gp_bo.optimize.inputs import Continuous
from inference.figures.palette import INK, PETROFF, plain
from pyro_models import UsageError
from pyro_models.brief import Brief

__all__ = ["RegretCurves", "progress_figure", "regret_curves", "search_figure"]

DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (1, 1)))
FLOOR = 1e-8  # of a regret that is drawn


@dataclass(frozen=True)
class RegretCurves(Brief):
    """Regrets of several methods on one function: method → (runs, evaluations).

    ``title`` is the name of the function, ``design_size`` that of the design that they share.
    """

    title: str
    design_size: int
    regrets: Mapping[str, Sequence[Sequence[float]] | np.ndarray]


def regret_curves(panels: Sequence[RegretCurves]) -> Figure:
    """Median simple regret after each evaluation, quartiles shaded; one panel a function.

    A method keeps its colour and dashes in all of them, of which there is at least one.
    """
    methods = list(dict.fromkeys(m for panel in panels for m in panel.regrets))
    if not methods:
        raise UsageError("no regret to draw: run something first")
    band = min(0.15, 0.5 / len(methods))  # of many methods, fainter: their bands lie on each other
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(0.8 + 3.6 * columns, 0.6 + 2.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        for method, runs in panel.regrets.items():
            i = methods.index(method)
            values = np.maximum(np.asarray(runs, dtype=np.float64), FLOOR)
            low, middle, high = np.quantile(values, (0.25, 0.5, 0.75), axis=0)
            at = np.arange(1, values.shape[1] + 1)
            color = PETROFF[i % len(PETROFF)]
            axes.fill_between(at, low, high, color=color, alpha=band, linewidth=0)
            axes.plot(at, middle, color=color, linestyle=DASHES[i % len(DASHES)], label=method)
        end = "end of the shared design"
        axes.axvline(panel.design_size, color=INK, linewidth=0.6, alpha=0.5, label=end)
        axes.set_yscale("log")
        axes.set_title(panel.title, fontsize=10)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        plain(axes)
    for axes in grid[:, 0]:
        axes.set_ylabel("simple regret")
    for axes in list(grid.flat)[: len(panels)][-columns:]:  # the lowest of each column
        axes.set_xlabel("evaluations")
    each = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in grid.flat]
    by_label = {label: handle for pairs in each for handle, label in pairs}
    labels, handles = list(by_label), list(by_label.values())
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)
    return figure


def progress_figure(optimizer: Optimizer, *, optimum: float | None = None) -> Figure:
    """Every value in order, of which there is at least one, and the best so far.

    The best there is, ``optimum``, is drawn as a line where it is known, and the simple regret
    below.
    """
    evaluated = [(i + 1, e.value) for i, e in enumerate(optimizer.evaluations)]
    good = np.array([(i, v) for i, v in evaluated if v is not None])
    failed = [i for i, v in evaluated if v is None]
    if not len(good):
        raise UsageError("no value to draw: tell one first")
    best = (np.maximum if optimizer.state.maximize else np.minimum).accumulate(good[:, 1])
    known = optimum is not None
    figure = Figure(figsize=(6.0, 4.8 if known else 3.4), layout="constrained")
    ratios = (3, 2) if known else (1,)
    panels = figure.subplots(len(ratios), 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    axes = panels[0]
    axes.plot(*good.T, "o", color=PETROFF[0], markersize=4, label="value")
    axes.step(good[:, 0], best, where="post", color=PETROFF[2], label="best so far")
    if failed:
        label, foot = "failed, without a value", axes.get_xaxis_transform()
        axes.plot(failed, [0.03] * len(failed), "x", color=INK, label=label, transform=foot)
    if optimum is not None:
        axes.axhline(optimum, color=INK, linewidth=0.8, linestyle=":", label="optimum")
        regret = np.maximum(np.abs(best - optimum), FLOOR)
        panels[1].step(good[:, 0], regret, where="post", color=PETROFF[2], label="simple regret")
        panels[1].set(yscale="log", ylabel="simple regret")
    axes.set_ylabel(optimizer.state.problem or "value")
    axes.margins(y=0.1)
    for each in panels:
        plain(each)
    panels[-1].set_xlabel("evaluations")
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    figure.align_ylabels()
    return figure


def search_figure(optimizer: Optimizer, *, input_name: str | None = None) -> Figure:
    """The GP along one input, m ± 2 √v over the draws of θ, and log expected improvement below it.

    Other inputs are held at the best point. Values are in their own unit; where large values are
    wanted the improvement is upwards.

    There are two values or more; ``input_name`` is a continuous input, the first of them unless
    given.
    """
    space = optimizer.space
    smooth = [n for n, each in space.inputs.items() if isinstance(each, Continuous)]
    name = (smooth[0] if smooth else "") if input_name is None else input_name
    if name not in smooth:
        raise UsageError(f"choose a continuous input: {', '.join(smooth) or 'there is none'}")
    surrogate, best = optimizer.surrogate(), optimizer.best
    if best is None:
        raise UsageError("two values or more are needed for a model; tell more")
    index, along = space.names.index(name), space.inputs[name]
    column = sum(each.columns for each in [*space.inputs.values()][:index])
    line = torch.linspace(0, 1, 400, dtype=torch.float64)
    unit = space.encode([best.point]).repeat(len(line), 1)
    unit[:, column] = line
    unit = unit.to(surrogate.device)
    with torch.no_grad():
        m, v = (each.cpu() for each in surrogate.mixture(unit))
        improvement = LogExpectedImprovement().value(surrogate, unit).cpu()
    shift, scale = optimizer.standardization
    center, width = shift + scale * m, abs(scale) * v.clamp_min(0).sqrt()
    at = [along.back([u]) for u in line.tolist()]
    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    top, low = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    draw_band(top, at, center, width, alpha=0.2)
    top.plot(at, center, color=PETROFF[0], label="m")
    good = [(e.point[index], e.value) for e in optimizer.evaluations if e.value is not None]
    one = len(space.inputs) == 1
    if one:
        top.plot(*zip(*good, strict=True), "o", color=INK, markersize=4, label="told")
        failed = [e.point[index] for e in optimizer.evaluations if e.value is None]
        if failed:
            worst = (min if optimizer.state.maximize else max)(value for _, value in good)
            label = "failed, taken for the worst"
            top.plot(failed, [worst] * len(failed), "x", color=INK, label=label)
    else:
        top.plot(best.point[index], best.value, "o", color=INK, markersize=5, label="best")
    top.set_ylabel(optimizer.state.problem or "value")
    figure.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    low.plot(at, improvement, color=PETROFF[2])
    floor = max(float(improvement.max()) - 40, float(improvement.min()))
    low.set_ylim(floor, float(improvement.max()) + 2)
    low.set(xlabel=name if one else f"{name} (others at the best point)", ylabel="log EI")
    if isinstance(along, Continuous) and along.log:
        low.set_xscale("log")
    for axes in (top, low):
        plain(axes)
    low.set_xlim(at[0], at[-1])
    figure.align_ylabels()
    return figure
