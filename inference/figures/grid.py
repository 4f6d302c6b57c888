"""Images from a pair, which nothing changes, and many in one axes: a single ``imshow`` of tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from inference.figures.canvas import figure_of, one_panel
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["Mosaic", "check_images", "check_shape", "condition", "decoded_means", "mosaic_figure"]

THIN, WIDE = 0.04, 0.18
"""Gaps, as parts of a tile: between tiles, and between groups of them."""

_LETTER = 0.073  # inches that one takes of a title
_TILE_DOTS = 56  # tiles of fewer pixels are magnified, so that gaps can be thin


@dataclass(frozen=True)
class Mosaic:
    """Tiles laid out in rows and columns, with gaps that are transparent.

    The pixels are grey, (height, width), masked in the gaps, or RGBA, (height, width, 4); the
    centres of columns ``across`` and of rows ``down``, and the size of a tile, are counted in them.
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
    """Lay out images (N, C, H, W) in [0, 1], grey or RGB, row by row; the last may stay incomplete.

    Gaps between columns and between rows are parts of a tile's width and height: one for all, or
    one for each. Only if all are 0 the tiles keep their own pixels; otherwise each pixel becomes a
    square of equal pixels, as many as make the gaps thin.
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
    rows: Sequence[str] = (),
    gaps: tuple[float | Sequence[float], float] = (THIN, THIN),
    ax: Place | None = None,
) -> tuple[Figure, Axes, Mosaic]:
    """A figure of one mosaic without ticks, but for the names of its columns and its rows.

    The gaps are those across and down of :func:`mosaic`; ``tile_inches`` is the width of a tile on
    paper, made smaller where the whole would be wider than seven inches. It is drawn in ``ax`` if
    that is given.
    """
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    tiles = mosaic(images, columns=columns, gaps_across=gaps[0], gaps_down=gaps[1])
    height, width = tiles.pixels.shape[:2]
    inches = max(2.5, min(7.0, tile_inches * width / tiles.tile[1]))
    across = max(inches, _LETTER * max(map(len, title.split("\n"))))  # the layout cuts titles off
    around = 0.65 + 0.17 * title.count("\n")
    beside = 0.07 * max(map(len, rows), default=0)
    size = (across + 0.3 + beside, inches * height / width + around)
    axes = one_panel(ax, size, layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08))
    axes.imshow(tiles.pixels, cmap="gray", vmin=0, vmax=1)
    axes.set_xticks(tiles.across if names else [], names)
    axes.set_yticks(tiles.down if rows else [], rows)
    axes.tick_params(length=0, labelsize=8)
    axes.spines[:].set_visible(False)
    axes.set_title(title, fontsize=10)
    return figure_of(axes), axes, tiles


def check_images(pair: Pair) -> None:
    """Refuse pairs whose data are no images."""
    check_pair(pair)
    check_shape(tuple(pair.data_shape), f"this {type(pair).__name__} is of")


def check_shape(shape: tuple[int, ...], what: str = "got") -> None:
    """Refuse what is no shape of an image, saying what is of it."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise UsageError(
            f"figures of images need images of 1 or 3 channels, (C, H, W); {what} data of shape "
            f"{shape}"
        )


def condition(pair: Pair, y: Tensor | int | None) -> str:
    """``", y"`` where labels were given to a pair that conditions on them, for a figure's text."""
    return "" if y is None or pair.num_classes is None else ", y"


def decoded_means(pair: Pair, latents: Mapping[str, Tensor], y: Tensor | None) -> Tensor:
    """E[x | latents], (\\*batch, \\*data_shape), on the CPU."""
    mean: Tensor = pair.decode(latents, y=y)["x"].mean
    return mean.cpu()
