"""log p(x) against the σ of N(G(z), σ² I)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from inference.evaluation.quantity import quantity_named
from inference.figures.canvas import figure_of, one_panel
from inference.figures.palette import class_color, class_marker, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.evaluation import SigmaCurve
    from inference.figures.canvas import Place

__all__ = ["sigma_curves"]


@register_figure(needs="curves over σ: draw them with pyro-models evidence --sigmas --figure")
def sigma_curves(
    curves: SigmaCurve | Mapping[str, SigmaCurve],
    *,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Mean log p(x) over data against σ, with ± one standard error over data; the best is filled.

    Parameters
    ----------
    curves
        A result of :func:`inference.evaluation.sigma_curve`, or several by name.
    title
        Drawn above; by default what the numbers are.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If there is no curve.

    Examples
    --------
    >>> import torch
    >>> from inference.evaluation import sigma_curve
    >>> from pyro_models import Generator
    >>> gan, x = Generator((5,), latent_dim=2, hidden=[8]), torch.ones(2, 5)
    >>> figure = sigma_curves(sigma_curve(gan, x, (0.1, 1.0, 10.0), num_temperatures=10))
    >>> figure.axes[0].get_xlabel()
    'σ'
    """
    from matplotlib.ticker import NullFormatter, NullLocator

    named = curves if isinstance(curves, Mapping) else {"": curves}
    if not named:
        raise UsageError("no curve to draw")
    axes = one_panel(ax, (6.0, 3.8))
    axes.set(xscale="log", xlabel="σ")
    for i, (name, curve) in enumerate(named.items()):
        means, errors = zip(*curve.means, strict=True)
        style: dict[str, Any] = {"color": class_color(i), "marker": class_marker(i), "mfc": "white"}
        axes.errorbar(curve.sigmas, means, yerr=errors, label=name, capsize=3, lw=1.4, **style)
        best = curve.sigma, means[curve.best]
        axes.plot(*best, class_marker(i), color=class_color(i), zorder=5)
    ticks = sorted({sigma for curve in named.values() for sigma in curve.sigmas})
    axes.set_xticks(ticks, [f"{sigma:g}" for sigma in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())
    of, first = quantity_named("log_likelihood"), next(iter(named.values()))
    axes.set_ylabel(f"{of.title}, {of.unit}")
    by = {f"{curve.kind} by {curve.method}" for curve in named.values()}
    said = f"{first.value.shape[1]:,} data; {'; '.join(sorted(by))}"
    axes.set_title(said if title is None else title, fontsize=9)
    plain(axes, lines="y")
    if len(named) > 1:
        axes.legend(fontsize=8, frameon=False)
    return figure_of(axes)
