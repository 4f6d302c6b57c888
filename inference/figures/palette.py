"""Colours and markers that the colour-blind can tell apart, and axes that show only the data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["INK", "MISSING", "PETROFF", "class_color", "class_marker", "marker_area", "plain"]

# Ten colours for scatter plots, optimised under simulated colour-vision deficiency
# (Petroff 2021, arXiv:2107.02270).
PETROFF = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
INK = "#222222"
MISSING = "#c8c8c8"
_MARKERS = "os^vDP<X>*"


def class_color(label: int) -> str:
    """Colour of a class; grey for a missing label (−1)."""
    return MISSING if label < 0 else PETROFF[label % len(PETROFF)]


def class_marker(label: int) -> str:
    """Marker of a class: no two of the first hundred classes share both marker and colour."""
    return "." if label < 0 else _MARKERS[(label + label // len(PETROFF)) % len(_MARKERS)]


def marker_area(label: int) -> float:
    """Area in square points that makes the class's marker look as big as the others."""
    return {"*": 34.0, "P": 24.0, "X": 24.0, ".": 30.0}.get(class_marker(label), 16.0)


def plain(axes: Axes, *, lines: Literal["x", "y"] | None = None) -> None:
    """Take the box from around the data, and draw faint lines at the values of one axis."""
    axes.spines[["top", "right"]].set_visible(False)
    if lines is not None:
        axes.grid(axis=lines, color="#e6e6e6", lw=0.6)
        axes.set_axisbelow(True)
