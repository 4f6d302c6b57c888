"""The loss along a ramp of learning rates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from inference.figures.canvas import figure_of, one_panel
from inference.figures.palette import INK, class_color, class_marker, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place
    from inference.learning import FoundRate

__all__ = ["learning_rates"]


@register_figure(needs="a ramp of learning rates: draw one with pyro-models find-lr --figure")
def learning_rates(
    found: FoundRate | Mapping[str, FoundRate],
    *,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Loss against learning rate: each step's, faint, their average, and the rate suggested.

    Losses far above the start, where the training has diverged, are cut off.

    Parameters
    ----------
    found
        A result of :func:`inference.learning.find_lr`, or several by name.
    title
        Drawn above; by default what was maximised, and the rule.
    ax
        Axes, a figure or a part of one to draw in; a new figure if not given.

    Raises
    ------
    UsageError
        If there is none.

    Examples
    --------
    >>> import torch
    >>> from inference.learning import find_lr
    >>> from pyro_models import PPCA
    >>> x = torch.randn(300, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(5 + x, latent_dim=2)
    >>> figure = learning_rates(find_lr(ppca, x, lr_min=1e-3))
    >>> figure.axes[0].get_xlabel()
    'learning rate'
    """
    named = found if isinstance(found, Mapping) else {"": found}
    if not named:
        raise UsageError("no ramp to draw")
    axes = one_panel(ax, (6.0, 3.8))
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    lows, highs = [], []
    for i, (name, ramp) in enumerate(named.items()):
        rates, losses, smoothed = (v.numpy() for v in (ramp.rates, ramp.losses, ramp.smoothed))
        color = class_color(i)
        axes.plot(rates, losses, color=color, alpha=0.35, lw=0.8)
        axes.plot(rates, smoothed, color=color, lw=1.8, label=name)
        at = np.interp(np.log(ramp.suggestion), np.log(rates), smoothed)
        axes.plot(ramp.suggestion, at, class_marker(i), color=color, ms=8, mec=INK, zorder=5)
        axes.annotate(
            f"{ramp.suggestion:.2g}",
            (ramp.suggestion, at),
            xytext=(7, 7),
            textcoords="offset points",
            fontsize=9,
        )
        if ramp.diverged_at is not None:
            axes.axvline(ramp.diverged_at, color=color, lw=1.0, ls=":")
        lows.append(min(smoothed.min(), losses.min()))
        highs.append(ramp.start)
    low, high = min(lows), max(highs)
    room = 0.25 * (high - low) or 1.0
    axes.set_ylim(low - room / 2, high + room)
    first = next(iter(named.values()))
    axes.set_ylabel(f"loss ({first.unit})")
    axes.set_title(title or f"{first.objective}; the rule {first.rule}", fontsize=9)
    plain(axes, lines="y")
    if any(ramp.diverged_at is not None for ramp in named.values()):
        axes.plot([], [], color=INK, lw=1.0, ls=":", label="diverged")
    if len(axes.get_legend_handles_labels()[1]):
        axes.legend(fontsize=8, frameon=False, loc="upper left")
    return figure_of(axes)
