"""Models side by side: the same images by each of them, and what each of them makes."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inference.figures.canvas import figure_of, panels
from inference.figures.grid import WIDE, check_images, condition, mosaic_figure
from inference.figures.heading import subject
from inference.figures.images import prior_samples
from inference.figures.registry import Shown, register_figure
from inference.isolated import isolated
from inference.posterior.decoding import Draw
from inference.posterior.reconstruction import reconstruct
from pyro_models import Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.observed import Data, Labels, observed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["reconstructions_by_model", "samples_by_model"]

_SHOWN = 10  # images in a row
_ACROSS = 3  # panels in a row
_NAME = 28  # characters in the width of a panel


def _rows(shown: Mapping[str, Shown]) -> Figure:
    """The same test images by every run, of the data that each run was trained on."""
    first = next(iter(shown.values()))
    _check_same_data(shown)
    return reconstructions_by_model(
        {name: one.pair for name, one in shown.items()},
        {name: one.test.x for name, one in shown.items()},
        y=first.test.y,
        latents=first.latents or "mean",
        pixels=first.pixels or "mean",
        seed=first.seed,
        title=first.title,
        ax=first.ax,
    )


@register_figure(needs="images; of one run or of several", of_several=_rows)
def reconstructions_by_model(
    pairs: Mapping[str, Pair],
    x: Data | Mapping[str, Data],
    *,
    y: Labels | None = None,
    latents: Draw = "mean",
    pixels: Draw = "mean",
    columns: int = 10,
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """A row of originals, and below it a row for each model: the same images, reconstructed.

    Parameters
    ----------
    pairs
        Models by the names of their rows, all of images of one shape.
    x
        Prepared images (B, C, H, W), of any kind that :func:`pyro_models.observed.observed` takes;
        or the same images by the name of each model, prepared as suits it: the row above shows
        those of the first.
    y
        Labels (B,), for the pairs that need them.
    latents, pixels, seed
        ``"mean"``: E[z | x], and ``"sample"``: z ~ q(z | x); likewise E[x | z], or x ~ p(x | z);
        and the random seed of the draws, the same for every model.
    columns
        At most so many images.
    title, ax
        Drawn above, by default what the rows are; and axes, or a figure or a part of one, to draw
        in, a new figure unless given.

    Raises
    ------
    UsageError
        If there is no model, or its data are no images or of another shape or number.

    Examples
    --------
    >>> from pyro_models import PPCA, VAE, load_data
    >>> x = load_data("digits").prepared("test", limit=6).x
    >>> pairs = {"VAE": VAE((1, 8, 8), hidden=[8]), "PPCA": PPCA((1, 8, 8), latent_dim=3)}
    >>> axes = reconstructions_by_model(pairs, x).axes[0]
    >>> [tick.get_text() for tick in axes.get_yticklabels()]
    ['original', 'VAE', 'PPCA']
    """
    _check_pairs(pairs)
    check_counts(columns=columns)
    rows: list[Tensor] = []
    for name, pair in pairs.items():
        own = x[name] if isinstance(x, Mapping) else x
        data = observed(pair, own, y=y if pair.num_classes is not None else None)[:columns]
        if rows and data.x.shape != rows[0].shape:
            raise UsageError(
                f"give every model the same images; {name} has {tuple(data.x.shape)}, the first "
                f"{tuple(rows[0].shape)}"
            )
        if not rows:
            rows.append(data.x.cpu().float())
        with isolated(pair, seed=seed):
            again = reconstruct(pair, data, latents=latents, pixels=pixels)
        rows.append(again.cpu().float())
    how = f"z: {latents} of q(z | x),  x: {pixels} of p(x | z)"
    above = "The same images by each model" if title is None else title
    return mosaic_figure(
        torch.cat(rows),
        columns=len(rows[0]),
        gaps=(WIDE / 3, WIDE / 2),
        rows=["original", *pairs],
        title=f"{above}\n{how}",
        tile_inches=0.7,
        ax=ax,
    )[0]


def _grids(shown: Mapping[str, Shown]) -> Figure:
    """A grid of samples of every run."""
    first = next(iter(shown.values()))
    return samples_by_model(
        {name: one.pair for name, one in shown.items()},
        pixels=first.pixels or "mean",
        seed=first.seed,
        title=first.title,
        ax=first.ax,
    )


@register_figure(needs="images; of one run or of several", of_several=_grids)
def samples_by_model(
    pairs: Mapping[str, Pair],
    *,
    n: int = 25,
    pixels: Draw = "mean",
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """A grid of samples of each model, side by side.

    Parameters
    ----------
    pairs
        Models by the names that stand above their grids; of one that needs labels, of all in turn.
    n, pixels, seed
        As of :func:`inference.figures.prior_samples`.
    title, ax
        Drawn above, by default what is shown; and axes, or a figure or a part of one, to draw in, a
        new figure unless given.

    Raises
    ------
    UsageError
        If there is no model, or its data are no images.

    Examples
    --------
    >>> from pyro_models import PPCA, VAE
    >>> pairs = {"VAE": VAE((1, 8, 8), hidden=[8]), "PPCA": PPCA((1, 8, 8), latent_dim=3)}
    >>> [axes.get_title() for axes in samples_by_model(pairs, n=9).axes]
    ['VAE', 'PPCA']
    """
    _check_pairs(pairs)
    check_counts(n=n)
    columns = min(_ACROSS, len(pairs))
    rows = math.ceil(len(pairs) / columns)
    place, grid = panels(ax, rows, columns, (2.5 * columns, 2.7 * rows + 0.5))
    for unused in grid.flat[len(pairs) :]:
        unused.remove()
    for panel, (name, pair) in zip(grid.flat, pairs.items(), strict=False):
        y = None if pair.num_classes is None else torch.arange(n, device="cpu") % pair.num_classes
        labels = condition(pair, y)
        above = name if not labels else f"{name}, all labels in turn"
        prior_samples(pair, n=n, y=y, pixels=pixels, seed=seed, ax=panel)
        panel.set_title(textwrap.fill(above, _NAME), fontsize=10)
    what = f"Samples of each model;  x: {pixels} of p(x | z)"
    place.suptitle(what if title is None else title, fontsize=10)
    return figure_of(place)


def _check_pairs(pairs: Any) -> None:
    """Refuse what is no mapping of names to pairs of images."""
    if not isinstance(pairs, Mapping) or not pairs:
        raise UsageError('give models by name, such as {"VAE": vae, "PPCA": ppca}')
    for pair in pairs.values():
        check_images(pair)


def _check_same_data(shown: Mapping[str, Shown]) -> None:
    """Refuse runs that were not trained on the same images, in whatever way these are prepared."""
    (first, one), *others = shown.items()
    for name, other in others:
        if other.test.x.shape != one.test.x.shape or not _alike(one.test.x, other.test.x):
            raise UsageError(
                f"{first} and {name} are of different images ({subject(one.pair)}, "
                f"{subject(other.pair)}): models side by side are of the same"
            )


_LEAST = 0.5  # correlation of the pixels of one image, prepared in two ways


def _alike(x: Tensor, other: Tensor) -> bool:
    """Whether images are the same but for their preparation: pixels go with one another."""
    both = torch.stack([x.flatten().double().cpu(), other.flatten().double().cpu()])
    return bool(torch.corrcoef(both)[0, 1] > _LEAST)
