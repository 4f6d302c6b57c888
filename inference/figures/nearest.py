"""Figure of samples beside the training images that are nearest to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inference.figures.grid import THIN, WIDE, check_images, condition, mosaic_figure
from inference.figures.heading import heading
from inference.figures.registry import register_figure
from inference.posterior.decoding import Draw
from inference.posterior.reconstruction import generate
from pyro_models import Pair, UsageError
from pyro_models.counts import is_count
from pyro_models.observed import Data, observed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["nearest"]

_MOST = 1000  # images whose distances to training images are computed


@register_figure(needs="images")
def nearest(
    pair: Pair,
    train: Tensor,
    *,
    x: Data | None = None,
    columns: int = 8,
    rows: int = 8,
    pixels: Draw = "mean",
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Samples, each beside the training image nearest to it: has the model learned by heart?

    Nearest is by the distance of the pixels, ‖x − x′‖. Below stands its median over samples, and
    over test images: a model that repeats training images is nearer to them than test images are.

    Parameters
    ----------
    pair
        Whose model generates; of a pair that needs labels, of all in turn.
    train, x
        Prepared training images (N, C, H, W), and test images.
    columns, rows
        Size of the grid, samples and training images together.
    pixels, seed
        ``"mean"``: E[x | z]. ``"sample"``: x ~ p(x | z); and the random seed.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If the pair's data are no images, those given are of another shape, or ``columns`` is odd.
    """
    check_images(pair)
    if not is_count(columns, least=2) or columns % 2 or not is_count(rows):
        raise UsageError(
            f"samples stand beside training images: give an even number of columns; got {columns} "
            f"columns, {rows} rows"
        )
    n = min(columns * rows // 2, _MOST)
    y = None if pair.num_classes is None else torch.arange(n, device="cpu") % pair.num_classes
    drawn = generate(pair, n=n, y=y, pixels=pixels, seed=seed).cpu()
    known = observed(pair, train).x.cpu()
    shown = {"samples": drawn} | ({} if x is None else {"test data": observed(pair, x).x.cpu()})
    far = {
        name: torch.cdist(images[:_MOST].flatten(1), known.flatten(1)).min(1)
        for name, images in shown.items()
    }
    medians = ", ".join(f"{name} {of.values.median():.2f}" for name, of in far.items())
    z, under = ", ".join(pair.latent_sites), condition(pair, y)
    what = "Samples beside the nearest training images"
    figure, axes, _ = mosaic_figure(
        torch.stack([drawn, known[far["samples"].indices]], 1).flatten(0, 1),
        columns=columns,
        gaps=([THIN if i % 2 == 0 else WIDE for i in range(columns - 1)], WIDE / 2),
        names=["sample", "nearest"] * (columns // 2),
        title=heading(what, pair, title=title, how=f"x: {pixels} of p(x | {z}{under})"),
        tile_inches=0.8,
        ax=ax,
    )
    axes.set_xlabel(f"median distance to the nearest training image:\n{medians}", fontsize=9)
    return figure
