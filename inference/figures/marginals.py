"""Latents of a Pyro model: what their posterior is, number by number."""

from __future__ import annotations

import math
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from inference.figures.canvas import figure_of, panels
from inference.figures.palette import INK, PETROFF, plain
from inference.figures.registry import register_figure
from inference.programs import ProgramPosterior
from pyro_models.registry import check_choice

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["marginals"]

MOST_PANELS, _COLUMNS = 12, 4


@register_figure(needs="a posterior of a Pyro model: draw it with pyro-models infer --figure")
def marginals(
    posterior: ProgramPosterior,
    *,
    sites: list[str] | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Histograms of the numbers of all latents, with mean and central 90 % interval.

    Chains are drawn one over the other, so that those which disagree are seen. Of more than twelve
    numbers the first twelve are shown.

    Parameters
    ----------
    posterior
        Result of :func:`inference.infer` of a Pyro model.
    sites
        Which latents; all unless given.
    title
        Drawn above; by default guide and model.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If there is no such latent.

    Examples
    --------
    >>> import torch
    >>> import pyro, pyro.distributions as dist
    >>> from inference import infer
    >>> def model(y):
    ...     mu = pyro.sample("mu", dist.Normal(0.0, 1.0))
    ...     pyro.sample("y", dist.Normal(mu, 1.0).expand([len(y)]).to_event(1), obs=y)
    >>> figure = marginals(infer(model, torch.zeros(4), guide="laplace"))
    >>> figure.axes[0].get_title()
    'mu'
    """
    draws = posterior.draws
    names = list(draws) if sites is None else sites
    for name in names:
        check_choice("latent", name, draws)
    numbers = ((n, at) for n in names for at in product(*map(range, draws[n].shape[1:])))
    shown = list(islice(numbers, MOST_PANELS))
    columns = min(_COLUMNS, len(shown))
    rows = math.ceil(len(shown) / columns)
    place, grid = panels(ax, rows, columns, (max(3.6, 2.4 * columns), 0.4 + 1.9 * rows))
    chains = posterior.chains()
    ends = posterior.interval(0.9)
    for axes, (name, at) in zip(grid.flat, shown, strict=False):
        every: tuple[Any, ...] = (slice(None), *at)
        values = draws[name][every].cpu()
        parts = [values] if chains is None else list(chains[0][name][(slice(None), *every)].cpu())
        weights = posterior.weights.cpu() if len(parts) == 1 else None
        bounds = (float(values.min()), float(values.max()))
        for part in parts:
            axes.hist(
                part.numpy(),
                bins=40,
                range=bounds,
                weights=None if weights is None else weights.numpy(),
                density=True,
                histtype="step" if len(parts) > 1 else "stepfilled",
                color=None if len(parts) > 1 else PETROFF[0],
            )
        low, high = (float(end[at]) for end in ends[name])
        axes.axvspan(low, high, color=PETROFF[3], alpha=0.2, lw=0)
        axes.axvline(float(posterior.mean[name][at]), color=INK, lw=0.8, ls=":")
        axes.set_title(f"{name}[{', '.join(map(str, at))}]" if at else name, fontsize=9)
        axes.set_yticks([])
        plain(axes)
    for axes in grid.flat[len(shown) :]:
        axes.set_axis_off()
    every_number = sum(math.prod(draws[name].shape[1:]) for name in names)
    of = f"{posterior.name} of {posterior.program.name}: draws, mean and central 90 % interval"
    if len(shown) < every_number:
        of += f"\nthe first {len(shown)} of {every_number} numbers"
    place.suptitle(of if title is None else title, fontsize=10)
    return figure_of(place)
