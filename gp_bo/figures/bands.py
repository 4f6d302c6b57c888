"""A function of one input: mean, band, drawn functions and data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from torch import Tensor

from gp_bo.arrays import as_inputs
from gp_bo.fitted import FittedGP
from gp_bo.scaling import margin
from gp_bo.signatures import takes_options_of
from inference.figures.palette import INK, PETROFF, plain
from pyro_models import UsageError

__all__ = ["bands", "draw_band", "draw_bands", "slice_figure"]


def draw_band(
    axes: Axes,
    x: Any,
    mean: Tensor,
    deviation: Tensor,
    *,
    label: str | None = "m ± 2√v",
    **style: Any,
) -> None:
    """m ± 2√v alone, at inputs x, from m and √v."""
    _fill(axes, x, mean - 2 * deviation, mean + 2 * deviation, label=label, **style)


def _fill(
    axes: Axes, x: Any, low: Tensor, high: Tensor, *, label: str | None, **style: Any
) -> None:
    axes.fill_between(x, low, high, linewidth=0, label=label, **{"color": PETROFF[0], **style})


def draw_bands(
    axes: Axes,
    fitted: FittedGP,
    x: Tensor | np.ndarray | None = None,
    *,
    truth: Callable[[Tensor], Tensor] | None = None,
    num_functions: int = 0,
    include_noise: bool = False,
    seed: int = 0,
) -> None:
    """m ± 2√v over one input, with the data, on given axes; m and v are those of the mixture.

    Of another likelihood than the Gaussian they are the mean and the central 95 % interval of
    E[y | f], a probability or a rate.

    Parameters
    ----------
    fitted
        A Gaussian process of one input.
    x
        Inputs, (M,), in increasing order; by default 200 over the data and a tenth beyond.
    truth
        The function itself, where it is known.
    num_functions, seed
        How many functions to draw, each at one θ, and their random seed.
    include_noise
        The band of outputs rather than of the function.
    """
    if fitted.X.shape[1] != 1:
        raise UsageError(f"bands are for one input; this Gaussian process has {fitted.X.shape[1]}")
    if x is None:
        low, high = float(fitted.X.min()), float(fitted.X.max())
        pad = margin(fitted.X[:, 0], 0.1)
        x = torch.linspace(low - pad, high + pad, 200, dtype=torch.float64)
    grid = as_inputs(x, dim=1, device=torch.device("cpu"))[:, 0].detach()
    with torch.no_grad():
        parts = fitted.band(grid, include_noise=include_noise)
    mean, lower, upper = (part.cpu() for part in parts)
    label = fitted.band_label + (", with noise" if include_noise else "")
    _fill(axes, grid, lower, upper, alpha=0.25, label=None)
    axes.plot([], [], color=PETROFF[0], alpha=0.25, lw=8, label=label)
    axes.plot(grid, mean, color=PETROFF[0], lw=1.8, label="m", zorder=3)
    if num_functions:
        drawn = fitted.sample(grid, num_functions, include_noise=include_noise, seed=seed)
        axes.plot(grid, drawn.cpu().mT, color=PETROFF[6], lw=0.8, alpha=0.8, zorder=2)
        axes.plot([], [], color=PETROFF[6], lw=0.8, label="drawn functions")
    if truth is not None:
        axes.plot(grid, truth(grid).cpu(), color=INK, lw=1.2, ls="--", label="f", zorder=4)
    data = torch.stack([fitted.X[:, 0], fitted.y]).cpu()
    seen = data[:, (data[0] >= grid[0]) & (data[0] <= grid[-1])]
    axes.plot(*seen, "o", color=INK, ms=5, label="data", zorder=5, clip_on=False)
    axes.set(xlim=(float(grid[0]), float(grid[-1])), xlabel="x", ylabel="y")
    plain(axes)


@takes_options_of(draw_bands)
def bands(
    fitted: FittedGP,
    x: Tensor | np.ndarray | None = None,
    *,
    title: str | None = None,
    **options: Any,
) -> Figure:
    """m ± 2√v over one input, with the data; m and v are those of the mixture over all draws.

    It is drawn by :func:`draw_bands`, whose arguments these are, with a title above.
    """
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    draw_bands(axes, fitted, x, **options)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="best")
    if title:
        axes.set_title(title, fontsize=10)
    return figure


def slice_figure(
    fitted: FittedGP,
    inputs: Sequence[str],
    target: str,
    *,
    column: int = 0,
    num_functions: int = 3,
    seed: int = 0,
) -> Figure:
    """m ± 2 √v of the function and of a new measurement, and some functions, along one input.

    With one input the data are drawn; with several, where they lie along this one, as ticks. The
    input of a column varies; the others stand at the median of the data. ``inputs`` and ``target``
    are names for the axes, ``num_functions`` joint draws of f.
    """
    X = fitted.X
    if not 0 <= column < X.shape[1] or len(inputs) != X.shape[1]:
        raise UsageError(f"a column is 0 … {X.shape[1] - 1}, and each has a name; got {column}")
    first, last = float(X[:, column].min()), float(X[:, column].max())
    pad = margin(X[:, column], 0.05)
    line = X.median(0).values.repeat(200, 1)
    at = torch.linspace(first - pad, last + pad, 200, dtype=X.dtype)
    line[:, column] = at.to(X.device)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    noisy_label = "measurement ± 2 sd" if fitted.band_label == "m ± 2√v" else "measurement, 95 %"
    bands = ((True, 0.12, noisy_label), (False, 0.34, f"function, {fitted.band_label}"))
    with torch.no_grad():
        for noisy, share, label in bands:
            if noisy and not fitted.gp.likelihood.has_intervals:
                continue
            parts = fitted.band(line, include_noise=noisy)
            mean, low, high = (part.cpu() for part in parts)
            # opaque, so that bands on top of each other keep their own colours
            tint = tuple(1 - share * (1 - part) for part in to_rgb(PETROFF[0]))
            _fill(axes, at, low, high, label=label, color=tint)
        drawn = list(fitted.sample(line, num_functions, seed=seed).cpu()) if num_functions else []
    axes.plot(at, mean, color=PETROFF[0], label="m")
    for i, values in enumerate(drawn):
        word = "functions drawn" if i == 0 else None
        axes.plot(at, values, color=PETROFF[6], linewidth=0.8, alpha=0.8, label=word)
    alone = X.shape[1] == 1
    if alone:
        axes.plot(X[:, 0].cpu(), fitted.y.cpu(), "o", color=INK, markersize=4, label="data")
    else:
        foot = axes.get_xaxis_transform()
        style: dict[str, Any] = {"color": INK, "ms": 7, "label": "data", "transform": foot}
        axes.plot(X[:, column].cpu(), [0.02] * len(X), "|", **style)
    axes.set_xlim(first - pad, last + pad)
    held = "" if alone else " (other inputs at their medians)"
    axes.set(xlabel=f"{inputs[column]}{held}", ylabel=target)
    plain(axes)
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    return figure
