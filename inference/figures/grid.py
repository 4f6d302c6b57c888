"""Many images in one axes: a mosaic of tiles, drawn by a single ``imshow``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from torch import Tensor

__all__ = ["THIN", "WIDE", "Mosaic", "mosaic", "mosaic_figure"]

THIN, WIDE = 0.04, 0.18
"""Gaps, as parts of a tile: between tiles, and between groups of them."""

_TILE_DOTS = 56  # tiles of fewer pixels are magnified, so that gaps can be thin


@dataclass(frozen=True)
class Mosaic:
    """Tiles laid out in rows and columns, with gaps that are transparent.

    Attributes
    ----------
    pixels
        (height, width) grey, masked in the gaps, or (height, width, 4) RGBA; values in [0, 1].
    across, down, tile
        Centres of the columns, left to right, and of the rows, top to bottom, and height and width
        of a tile, in mosaic pixels.
    """

    pixels: np.ndarray
    across: np.ndarray
    down: np.ndarray
    tile: tuple[int, int]


def mosaic(
    images: Tensor,
    *,
    columns: int,
    gaps_across: float | Sequence[float] = THIN,
    gaps_down: float | Sequence[float] = THIN,
) -> Mosaic:
    """Lay out images row by row; the last row may stay incomplete.

    Parameters
    ----------
    images, columns
        (N, C, H, W) in [0, 1], clipped; C = 1 grey, C = 3 RGB; and tiles in a row.
    gaps_across, gaps_down
        Gaps between columns and between rows as parts of a tile's width and height: one for all, or
        one for each. Only if all are 0 the tiles keep their own pixels; otherwise each pixel
        becomes a square of equal pixels, as many as make the gaps thin.
    """
    count, channels, height, width = images.shape
    rows = math.ceil(count / columns)
    magnify = max(1, math.ceil(_TILE_DOTS / min(height, width)))
    if not np.any(gaps_across) and not np.any(gaps_down):
        magnify = 1
    height, width = height * magnify, width * magnify
    top = _starts(rows, height, gaps_down)
    left = _starts(columns, width, gaps_across)
    values = images.detach().float().cpu().clamp(0, 1).numpy().transpose(0, 2, 3, 1)
    values = values.repeat(magnify, axis=1).repeat(magnify, axis=2)

    colors = 1 if channels == 1 else 4
    pixels = np.full((top[-1] + height, left[-1] + width, colors), np.nan, dtype=np.float32)
    if colors == 4:
        pixels[:] = (1, 1, 1, 0)
        values = np.concatenate([values, np.ones_like(values[..., :1])], axis=-1)
    for i, value in enumerate(values):
        row, column = divmod(i, columns)
        pixels[top[row] : top[row] + height, left[column] : left[column] + width] = value
    shown = np.ma.masked_invalid(pixels[..., 0]) if colors == 1 else pixels
    return Mosaic(shown, left + (width - 1) / 2, top + (height - 1) / 2, tile=(height, width))


def _starts(count: int, size: int, gaps: float | Sequence[float]) -> np.ndarray:
    """First pixel of each of ``count`` tiles of ``size`` pixels with gaps between them."""
    between = np.broadcast_to(np.asarray(gaps), (max(count - 1, 0),))
    widths = np.ceil(between * size).astype(int)
    return np.concatenate([[0], np.cumsum(size + widths)]).astype(int)[:count]


def mosaic_figure(
    images: Tensor,
    *,
    columns: int,
    title: str,
    tile_inches: float,
    names: Sequence[str] = (),
    gaps_across: float | Sequence[float] = THIN,
    gaps_down: float | Sequence[float] = THIN,
) -> tuple[Figure, Axes, Mosaic]:
    """A figure of one mosaic without ticks, but for the names of its columns.

    ``tile_inches`` is the width of a tile on paper, made smaller where the whole would be wider
    than seven inches; all else is as for :func:`mosaic`.
    """
    tiles = mosaic(images, columns=columns, gaps_across=gaps_across, gaps_down=gaps_down)
    height, width = tiles.pixels.shape[:2]
    inches = max(2.5, min(7.0, tile_inches * width / tiles.tile[1]))
    around = 0.65 + 0.17 * title.count("\n")
    figure = Figure(
        figsize=(inches + 0.3, inches * height / width + around),
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08),
    )
    axes = figure.add_subplot()
    axes.imshow(tiles.pixels, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks(tiles.across if names else [], names)
    axes.set_yticks([])
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10)
    return figure, axes, tiles
