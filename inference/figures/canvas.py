"""Where a figure is drawn: in a new figure of its own, or in a place that is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_models import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    Place = Axes | SubFigure | Figure
    """Axes, all of a figure, or a part of one."""

__all__ = ["figure_of", "new_figure", "one_panel", "panels", "part"]


def new_figure(size: tuple[float, float], **layout: Any) -> Figure:
    """A figure without pyplot, of a size in inches."""
    from inference.figures.fine import FineFigure

    return FineFigure(figsize=size, **(layout or {"layout": "constrained"}))


def one_panel(
    ax: Place | None, size: tuple[float, float], *, projection: str | None = None, **layout: Any
) -> Axes:
    """The axes to draw in: those given, or the only ones of a place or of a new figure.

    Axes of another projection give their place in the grid to axes of the one that is needed.
    """
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        if ax.name == (projection or "rectilinear"):
            return ax
        spec, parent = _place_of(ax)
        return parent.add_subplot(spec, projection=projection)
    place = new_figure(size, **layout) if ax is None else ax
    return place.add_subplot(projection=projection)


def panels(
    ax: Place | None, rows: int, columns: int, size: tuple[float, float], **options: Any
) -> tuple[Figure | SubFigure, np.ndarray]:
    """A figure or a part of one, and its grid of axes, (rows, columns).

    Axes that are given give their place in the grid to a part of the figure with axes of its own.
    """
    place = part(ax, size)
    return place, place.subplots(rows, columns, squeeze=False, **options)


def part(ax: Place | None, size: tuple[float, float]) -> Any:
    """A new figure, or the place that is given, as something that holds several axes."""
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        spec, parent = _place_of(ax)
        return parent.add_subfigure(spec)
    return new_figure(size) if ax is None else ax


def _place_of(ax: Axes) -> tuple[Any, Any]:
    """The place of axes in a grid, and the figure of it; the axes are taken out."""
    spec, parent = ax.get_subplotspec(), ax.figure
    if spec is None:
        raise UsageError(
            "this figure has several panels, or three axes: give axes of a grid of subplots, whose "
            "place it takes, or a figure or a part of one"
        )
    ax.remove()
    return spec, parent


def figure_of(place: Place) -> Figure:
    """The whole figure that axes or a part of a figure belong to."""
    figure: Any = getattr(place, "figure", place)
    while figure is not figure.figure:  # of a part, the figure around it
        figure = figure.figure
    return figure
