"""Names of lines at their ends, right of the axes, in the place of a legend."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import numpy as np

from inference.figures.canvas import figure_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["LABEL_GAP", "name_lines"]

LABEL_GAP = 0.055  # of the height of the axes, between names


class Line(Protocol):
    """A line, and what it is called."""

    @property
    def label(self) -> str:
        """Its name."""

    @property
    def color(self) -> str:
        """Its color."""

    @property
    def epochs(self) -> np.ndarray:
        """Where its values are."""

    @property
    def values(self) -> np.ndarray:
        """Its values."""

    @property
    def finite(self) -> np.ndarray:
        """Which of them are finite."""


def name_lines(axes: Axes, lines: Iterable[Line], gap: float = LABEL_GAP) -> None:
    """The name of each line at its end, right of the axes, pushed apart where ends are close."""
    from matplotlib.transforms import offset_copy

    low, high = axes.get_ylim()
    ends = []
    for line in lines:
        finite = np.flatnonzero(line.finite)
        if len(finite):
            height = (line.values[finite[-1]] - low) / (high - low)
            ends.append((min(max(height, 0.0), 1.0), line.epochs[finite[-1]], line))
    ends.sort(key=lambda end: end[0])
    # in points, so that the width they take is the same however wide the layout makes the axes
    beside = offset_copy(axes.transAxes, fig=figure_of(axes), x=10, units="points")
    for (height, epoch, line), place in zip(ends, _apart([e[0] for e in ends], gap), strict=True):
        axes.annotate(
            line.label,
            xy=(epoch, low + height * (high - low)),
            xytext=(1, place),
            textcoords=beside,
            va="center",
            fontsize=9,
            color=line.color,
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": line.color, "lw": 0.6, "shrinkB": 4},
        )


def _apart(heights: list[float], gap: float) -> list[float]:
    """Increasing heights moved apart to a gap, about where they were, none above 1."""
    places = list(heights)
    for _ in range(50):
        for i in range(len(places) - 1):
            lack = gap - (places[i + 1] - places[i])
            if lack > 0:
                places[i] -= lack / 2
                places[i + 1] += lack / 2
    above = max(0.0, places[-1] - 1) if places else 0.0
    return [place - above for place in places]
