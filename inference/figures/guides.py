"""What guides lose: the gap between evidence and bound, and what it is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from inference.evaluation import QUANTITIES, GuideComparison, GuideScores
from inference.figures.canvas import figure_of, one_panel
from inference.figures.palette import INK, MISSING, PETROFF, plain
from inference.figures.registry import register_figure
from pyro_models import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["guide_gaps"]

NO_DENSITY = "no density"
_BELOW = 36  # points from the axis to the legend, past the numbers and what they are
PARTS = {"approximation_gap": PETROFF[0], "amortisation_gap": PETROFF[1]}


@register_figure(needs="a comparison of guides: draw it with pyro-models guides --out")
def guide_gaps(
    comparison: GuideComparison,
    *,
    log: bool = False,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """One bar per guide: log p(x) − ELBO, split into approximation and amortisation gap.

    The error bar is the standard error of the whole gap over data. A gap that cannot be split is
    grey; a guide without a density, or with a bound above log p(x) by more than its error, has no
    bar, and its name says so. A gap that is negative within its error has no length.

    Parameters
    ----------
    comparison
        Result of :func:`inference.evaluation.compare_guides`.
    log
        Whole gaps on a logarithmic axis, not split: parts do not add up there. A gap that is not
        positive has no bar.
    title
        Drawn above; by default what the gaps are measured from.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If no guide has a gap, or a gap is not finite.

    Examples
    --------
    >>> import torch
    >>> from inference.evaluation import compare_guides
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> found = compare_guides(ppca, x[:4], guides=["prior"], num_particles=50)
    >>> guide_gaps(found).axes[0].get_xlabel()
    'log p(x) − ELBO, nats per datum'
    """
    from matplotlib.transforms import offset_copy

    gaps = {row.name: row.value("gap") for row in comparison.rows}
    drawn = {name: gap for name, gap in gaps.items() if gap is not None}
    if not drawn:
        raise UsageError(
            "no guide here has a density, so there is no gap to draw"
            if all(_why(row) == NO_DENSITY for row in comparison.rows)
            else "every bound here is above log p(x) by more than its error: no gap can be drawn"
        )
    if not all(math.isfinite(gap) for gap, _ in drawn.values()):
        raise UsageError(
            "a gap that is not finite cannot be drawn: more particles, or leave it out"
        )
    axes = one_panel(ax, (6.4, (1.3 if log else 1.6) + 0.36 * len(gaps)))
    labels = []
    for at, row in enumerate(comparison.rows):
        gap = gaps[row.name]
        labels.append(row.name if gap is not None else f"{row.name} ({_why(row)})")
        if gap is None or (log and gap[0] <= 0):
            continue
        value, error = max(gap[0], 0.0), gap[1]  # below 0 is within its error, and no length
        whole, part = row.value("approximation_gap"), row.value("amortisation_gap")
        if log or whole is None:
            axes.barh(at, value, color=PETROFF[0] if log else MISSING, height=0.7)
        else:
            foot = max(whole[0], 0.0)
            axes.barh(at, foot, color=PARTS["approximation_gap"], height=0.7)
            if part is not None and part[0] > 0:
                axes.barh(at, part[0], left=foot, color=PARTS["amortisation_gap"], height=0.7)
        if math.isfinite(error):
            axes.errorbar(value, at, xerr=error, color=INK, capsize=3, lw=1)
        far = value + (error if math.isfinite(error) else 0.0)
        beside: dict[str, Any] = {"xytext": (5, 0), "textcoords": "offset points", "va": "center"}
        length = f"{gap[0]:.{2 if gap[0] >= 0.1 else 3}f}" if gap[0] >= 0 else "0 within its error"
        axes.annotate(length, (max(far, 0.0), at), fontsize=8, color=INK, **beside)
    axes.set_yticks(np.arange(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    if log:
        axes.set_xscale("log")
    else:
        for name, color in _parts_shown(comparison).items():
            axes.barh([0], [0.0], color=color, label=name)
        below = offset_copy(axes.transAxes, fig=figure_of(axes), y=-_BELOW, units="points")
        where: dict[str, Any] = {"bbox_to_anchor": (0, 0), "bbox_transform": below}
        axes.legend(fontsize=8, frameon=False, loc="upper left", borderaxespad=0, **where)
    axes.margins(x=0.12)
    found = comparison.evidence
    given, of = getattr(found, "given", None), QUANTITIES["gap"]
    evidence = QUANTITIES["log_likelihood"].heading(given)
    axes.set_xlabel(f"{of.heading(given)}, {of.unit}")
    plain(axes, lines="x")
    by = found.method if found.kind == "exact" else f"{found.kind}, by {found.method}"
    heading = f"{len(found):,} data, {evidence}: {by}"
    axes.set_title(heading if title is None else title, fontsize=10)
    return figure_of(axes)


def _parts_shown(comparison: GuideComparison) -> dict[str, str]:
    """What parts of gaps are called in the legend, and their colors."""
    named = {"approximation gap (family)": PARTS["approximation_gap"]}
    if any(row.value("amortisation_gap") for row in comparison.rows):
        named["amortisation gap (to the best of the family)"] = PARTS["amortisation_gap"]
    if any(row.value("gap") and not row.value("approximation_gap") for row in comparison.rows):
        named["not split"] = MISSING
    return named


def _why(row: GuideScores) -> str:
    """Why a guide has no gap, in a few words."""
    reason = getattr(row, "absent", {}).get("gap", NO_DENSITY)
    return NO_DENSITY if reason.startswith(NO_DENSITY) else "bound above log p(x)"
