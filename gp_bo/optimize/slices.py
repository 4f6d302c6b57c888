"""A fitted GP along one of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from gp_bo.figures.bands import draw_band
from gp_bo.fitted import FittedGP
from gp_bo.scaling import margin
from inference.figures.palette import INK, PETROFF, plain
from pyro_models import UsageError

__all__ = ["slice_figure"]


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
    low, high = float(X[:, column].min()), float(X[:, column].max())
    pad = margin(X[:, column], 0.05)
    line = X.median(0).values.repeat(200, 1)
    at = torch.linspace(low - pad, high + pad, 200, dtype=X.dtype)
    line[:, column] = at.to(X.device)
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.add_subplot()
    bands = ((True, 0.12, "measurement ± 2 sd"), (False, 0.34, "function, m ± 2√v"))
    with torch.no_grad():
        for noisy, share, label in bands:
            prediction = fitted.predict(line, include_noise=noisy)
            mean, deviation = prediction.mean.cpu(), prediction.variance.clamp_min(0).sqrt().cpu()
            # opaque, so that bands on top of each other keep their own colours
            tint = tuple(1 - share * (1 - part) for part in to_rgb(PETROFF[0]))
            draw_band(axes, at, mean, deviation, label=label, color=tint)
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
    axes.set_xlim(low - pad, high + pad)
    held = "" if alone else " (other inputs at their medians)"
    axes.set(xlabel=f"{inputs[column]}{held}", ylabel=target)
    plain(axes)
    figure.legend(loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    return figure
