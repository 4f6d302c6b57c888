"""Part A of the examination: the hyper-posterior and what it predicts."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from torch import Tensor

from gp_bo.fitted import FittedGP
from inference.figures.palette import INK, PETROFF

__all__ = ["fit_figure", "posterior_figure"]


def posterior_figure(fitted: FittedGP) -> Figure:
    """Draws of (σ_l, σ_s²) on logarithmic axes, and the trace of each, chains in their colours.

    Parameters
    ----------
    fitted
        Of :func:`gp_bo.exam.fit_exam`.
    """
    draws = {name: fitted.hyperparameters[name] for name in ("lengthscale", "variance")}
    values = {name: value.reshape(len(value)) for name, value in draws.items()}
    chains = max(1, fitted.draws.num_chains)
    length = len(values["variance"]) // chains
    figure = Figure(figsize=(9.0, 4.0), layout="constrained")
    parts: Any = figure.subfigures(1, 2, width_ratios=(1, 1.2))
    left, right = parts
    scatter = left.add_subplot()
    traces = right.subplots(2, 1, sharex=True)
    for c in range(chains):
        part = slice(c * length, (c + 1) * length)
        colour, marker = PETROFF[c % len(PETROFF)], "osD^v<>"[c % 7]
        pair = (values["lengthscale"][part], values["variance"][part])
        scatter.loglog(*pair, marker, color=colour, markersize=3, alpha=0.6, linewidth=0)
        for axes, value in zip(traces, pair, strict=True):
            axes.semilogy(range(length), value, color=colour, linewidth=0.7, alpha=0.8)
    scatter.set(xlabel="length-scale", ylabel="variance", title=f"{chains * length} draws")
    traces[0].set(ylabel="length-scale", title=f"{chains} chains")
    traces[1].set(ylabel="variance", xlabel="draw")
    for axes in (scatter, *traces):
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def fit_figure(fitted: FittedGP, grid: Tensor, truth: Tensor, x: Tensor, y: Tensor) -> Figure:
    """f, D and m ± 2 √v, the mixture over all draws of θ."""
    prediction = fitted.predict(grid)
    width = 2 * prediction.variance.clamp_min(0.0).sqrt()
    low, high = prediction.mean - width, prediction.mean + width
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.fill_between(grid, low, high, color=PETROFF[0], alpha=0.2, linewidth=0, label="m ± 2√v")
    axes.plot(grid, prediction.mean, color=PETROFF[0], label="m")
    axes.plot(grid, truth, color=INK, linestyle="--", linewidth=1, label="f")
    axes.plot(x, y, "o", color=INK, markersize=5, label="D")
    axes.set(xlabel="x", ylabel="f(x)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure
