"""Algorithm 1, turn by turn: f, the drawn f*, m ± 2 √v, and the added pair."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from gp_bo.examination.algorithm1 import Algorithm1
from gp_bo.figures.bands import draw_band
from inference.figures.palette import INK, PETROFF
from pyro_models import UsageError

__all__ = ["algorithm1_figure"]


def algorithm1_figure(run: Algorithm1, *, turns: Sequence[int] = (0, 5, 10)) -> Figure:
    """One panel for each k of ``turns``: f, f*, the mixture's m ± 2 √v, D, and the added pair."""
    absent = [k for k in turns if not 0 <= k < len(run.steps)]
    if absent or not turns:
        raise UsageError(f"the run has k = 0 … {len(run.steps) - 1}; got {list(turns)}")
    figure = Figure(figsize=(7.0, 0.5 + 2.5 * len(turns)), layout="constrained")
    panels = figure.subplots(len(turns), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, k in zip(panels, turns, strict=True):
        step = run.steps[k]
        draw_band(axes, run.grid, step.mean, step.variance.clamp_min(0.0).sqrt(), alpha=0.2)
        axes.plot(run.grid, step.mean, color=PETROFF[0], label="m")
        axes.plot(run.grid, run.truth, color=INK, linestyle="--", linewidth=1, label="f")
        if len(step.f_star):
            axes.plot(run.grid, step.f_star, color=PETROFF[6], linewidth=1, label="f*")
        axes.plot(step.x, step.y, "o", color=INK, markersize=4, label="D")
        star = {"color": PETROFF[2], "markersize": 13, "markeredgecolor": "white"}
        axes.plot(step.x_new, step.y_new, "*", **star, label="added")
        axes.set_title(f"k = {k}", fontsize=10, loc="left")
        axes.set_ylabel("f(x)")
        axes.spines[["top", "right"]].set_visible(False)
    panels[-1].set_xlabel("x")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=6, frameon=False)
    return figure
