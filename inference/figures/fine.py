"""A matplotlib figure whose files are fine enough to be handed in."""

from __future__ import annotations

import io
from typing import Any

import matplotlib
from matplotlib.figure import Figure

__all__ = ["DOTS_PER_INCH", "FineFigure"]

DOTS_PER_INCH = 150


class FineFigure(Figure):
    """A figure that is saved with 150 dots per inch at least, unless ``savefig`` is told otherwise.

    On a screen, and in a notebook, it is as large as any other. As a cell's last value it is shown
    in any notebook; ``%matplotlib inline``, where it was said, shows it in its own way.

    >>> import io
    >>> figure, file = FineFigure(figsize=(2.0, 1.0)), io.BytesIO()
    >>> figure.savefig(file, format="png")
    >>> int.from_bytes(file.getvalue()[16:20], "big")  # pixels across
    300
    """

    def _repr_png_(self) -> bytes:
        """The figure for a notebook that was told of no way to show figures."""
        written = io.BytesIO()
        super().savefig(written, format="png", bbox_inches="tight")
        return written.getvalue()

    def savefig(self, fname: Any, **options: Any) -> None:
        """As matplotlib does, but for the number of dots."""
        if matplotlib.rcParams["savefig.dpi"] == "figure":
            options.setdefault("dpi", max(DOTS_PER_INCH, self.dpi))
        self.draw_without_rendering()  # a constrained layout has settled the second time
        super().savefig(fname, **options)
