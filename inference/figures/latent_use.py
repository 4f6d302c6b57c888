"""What each latent dimension carries: its KL, and how its variance splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.evaluation import QUANTITIES, Diagnostics
from inference.figures.canvas import figure_of, panels
from inference.figures.palette import INK, MISSING, PETROFF, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["latent_use"]

_NAMED_UPRIGHT = 25  # dimensions up to which their numbers stand upright
_NAMED = 100  # and up to which there is room for them at all


@register_figure(needs="a diagnosis: draw it with pyro-models diagnose --figure")
def latent_use(
    diagnostics: Diagnostics, *, title: str | None = None, ax: Place | None = None
) -> Figure:
    """KL and variances of every latent dimension, the most used one first.

    The two variances stand on each other, for they add up to the variance of z_d when x and z are
    both drawn, z from the guide: Var(z_d) = Var_x(E[z_d | x]) + E_x(Var[z_d | x]). A dotted line
    marks 1, the variance of a standard normal prior. Dimensions are counted from 1, as in z₁, z₂,
    …; one that is not active, because its posterior is the same whatever x is, is grey.

    Parameters
    ----------
    diagnostics
        Result of :func:`inference.evaluation.diagnose`; its ``given`` is named where it has one.
    title
        Drawn above; by default how many dimensions are active, on which data.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If a number is not finite, or there is no dimension.

    Examples
    --------
    >>> from inference.evaluation import diagnose
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> ppca = PPCA.maximum_likelihood(data.prepared("train").x, latent_dim=5)
    >>> latent_use(diagnose(ppca, data, num_particles=1, limit=20)).get_suptitle()
    '5 of 5 latent dimensions active, on 20 test data of digits'
    """

    of_means = diagnostics.posterior_mean_variance.numpy()
    within = diagnostics.posterior_variance.numpy()
    kl = None if diagnostics.kl is None else diagnostics.kl.numpy()
    if not len(of_means):
        raise UsageError("there is no latent dimension to draw")
    if not all(np.isfinite(v).all() for v in (of_means, within, *([] if kl is None else [kl]))):
        raise UsageError("a diagnosis with numbers that are not finite cannot be drawn")
    order = np.argsort(-of_means, kind="stable")
    active = np.arange(len(order)) < diagnostics.active_units
    count = 1 if kl is None else 2
    width = min(14.0, max(6.4, 0.16 * len(order)))
    place, grid = panels(ax, count, 1, (width, 0.6 + 2.4 * count), sharex=True)
    grid = grid[:, 0]
    at = np.arange(len(order))
    given = getattr(diagnostics, "given", None)
    if kl is not None:
        grid[0].bar(at, kl[order], color=np.where(active, PETROFF[0], MISSING))
        q, p = (f"q(z | x, {given})", f"p(z | {given})") if given else ("q(z | x)", "p(z)")
        of = QUANTITIES["kl"]
        grid[0].set_ylabel(f"{of.title}({q} ‖ {p}), {of.unit}")
        grid[0].set_title(f"in all {kl.sum():.2f} {of.unit}", fontsize=9, color=INK, loc="right")
    _stack(grid[-1], at, of_means[order], within[order], active)
    grid[-1].set(xlabel="latent dimension, by variance of its posterior mean", xticks=[])
    if len(order) <= _NAMED:
        angle, size = (90, 6) if len(order) > _NAMED_UPRIGHT else (0, 9)
        grid[-1].set_xticks(at, [str(d + 1) for d in order], rotation=angle, fontsize=size)
    for axes in grid:
        plain(axes, lines="y")
    heading = f"{diagnostics.active_units} of {len(order)} latent dimensions active"
    heading += f", given {given}" if given else ""
    if data := getattr(diagnostics, "data", ""):
        heading += f", on {len(diagnostics.k_hat):,} {diagnostics.split} data of {data}"
    place.suptitle(heading if title is None else title, fontsize=10)
    return figure_of(place)


def _stack(
    axes: Axes, at: np.ndarray, of_means: np.ndarray, within: np.ndarray, active: np.ndarray
) -> None:
    """Variance of posterior means, and on it the mean variance of posteriors."""
    colors = {"of E[z | x] over x": PETROFF[2], "of q(z | x), mean over x": PETROFF[1]}
    bottom = np.zeros_like(of_means)
    for (name, color), height in zip(colors.items(), (of_means, within), strict=True):
        axes.bar(at, height, bottom=bottom, color=np.where(active, color, MISSING))
        axes.bar(at[:1], [0.0], color=color, label=name)  # in the legend, whatever is active
        bottom = bottom + height
    if not active.all():
        axes.bar(at[:1], [0.0], color=MISSING, label="not active")
    axes.axhline(1, color=INK, ls=":", lw=1)
    axes.set(ylabel="variance", ylim=(0, 1.08 * max(1.0, bottom.max())))
    axes.legend(fontsize=8, frameon=False, ncols=3, loc="lower right", bbox_to_anchor=(1, 1))
