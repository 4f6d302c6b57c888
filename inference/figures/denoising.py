"""Figures of a diffusion: how images come out of noise, by all steps or few, and between two."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine
from torch import Tensor

from inference.figures.grid import THIN, WIDE, check_images, mosaic_figure
from inference.figures.heading import heading
from inference.figures.registry import Shown, register_figure
from inference.isolated import isolated
from inference.posterior.reconstruction import generate
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.counts import check_counts
from pyro_models.pair import Diffuses

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["between_samples", "denoising", "fewer_steps"]


def _check(pair: Pair) -> None:
    check_images(pair)
    if not fulfills(pair, Diffuses):
        raise UsageError(f"this figure is of a diffusion, and {type(pair).__name__} is none")


def _faster(pair: Pair) -> Callable[..., Any]:
    """The pair by fewer steps."""
    _check(pair)
    if not hasattr(pair, "faster"):
        raise UsageError(f"{type(pair).__name__} has no method faster")
    found: Callable[..., Any] = pair.faster
    return found


@register_figure(needs="a diffusion")
def denoising(
    pair: Pair,
    *,
    rows: int = 5,
    columns: int = 8,
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Chains z_T, …, z_1 from noise down to E[x | z_1], each in a row, at even distances.

    Parameters
    ----------
    pair
        A diffusion of images; z is shown as pixels, (z + 1)/2, cut off at black and white.
    rows, columns
        Number of chains, and of steps of each that are shown, beside the image at its end.
    seed
        Random seed of the chains.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If the pair is no diffusion of images.
    """
    _check(pair)
    check_counts(rows=rows, columns=columns)
    with isolated(pair, seed=seed):
        z: Tensor = poutine.trace(pair.model).get_trace(n=rows).nodes["z"]["value"]
        image = pair.decode({"z": z})["x"].mean
    steps = torch.linspace(z.shape[1], 1, min(columns, z.shape[1])).round().long()
    shown = torch.cat([(z[:, steps - 1] + 1) / 2, image.unsqueeze(1)], 1).flatten(0, 1)
    return mosaic_figure(
        shown,
        columns=len(steps) + 1,
        gaps=([*[THIN] * (len(steps) - 1), WIDE], THIN),
        names=[*(f"$z_{{{t}}}$" for t in steps.tolist()), r"E[x | $z_1$]"],
        title=heading("From noise to images", pair, title=title),
        tile_inches=0.8,
        ax=ax,
    )[0]


def _of_shown(shown: Shown) -> Figure:
    # its ``steps`` are not those of an interpolation
    return fewer_steps(shown.pair, seed=shown.seed, title=shown.title, ax=shown.ax)


@register_figure(needs="a diffusion", of_shown=_of_shown)
def fewer_steps(
    pair: Pair,
    *,
    columns: int = 10,
    num_steps: Sequence[int] = (50, 20, 5),
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Samples by all steps that the pair takes, and by few without noise (DDIM), row by row.

    Parameters
    ----------
    pair
        A diffusion of images with a method ``faster``.
    columns
        Number of samples in a row.
    num_steps
        Numbers of steps of the rows below the first; those that the pair does not have are left
        out.
    seed
        Random seed of every row. The rows do not share their noise.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If the pair is no diffusion of images, or cannot take fewer steps.
    """
    faster, whole = _faster(pair), pair.latent_sites["z"].event_shape[0]
    fewer = [count for count in num_steps if count < whole]
    made = [pair, *(faster(count, eta=0.0) for count in fewer)]
    images = torch.cat([generate(each, n=columns, seed=seed).cpu() for each in made])
    figure, axes, tiles = mosaic_figure(
        images,
        columns=columns,
        gaps=(THIN, WIDE),
        title=heading("Samples by number of steps", pair, title=title),
        tile_inches=0.8,
        ax=ax,
    )
    own = {1.0: "DDPM", 0.0: "DDIM"}.get(eta := getattr(pair.model, "eta", 1.0), f"η = {eta:g}")
    names = [f"{whole} ({own})", *(f"{count} (DDIM)" for count in fewer)]
    axes.set_yticks(tiles.down, names)
    return figure


def _between(shown: Shown) -> Figure:
    own: dict[str, Any] = {"seed": shown.seed, "title": shown.title, "ax": shown.ax}
    return between_samples(shown.pair, steps=shown.steps, **own)


@register_figure(needs="a diffusion", of_shown=_between)
def between_samples(
    pair: Pair,
    *,
    rows: int = 5,
    steps: int = 10,
    num_steps: int = 50,
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Rows of images between two samples, by the noise that they are made of.

    Without noise but the first (η = 0, DDIM), an image is a function of z_T. Between two draws of
    it, the noise goes along their arc, sin((1 − λ) θ)/sin θ z_T + sin(λ θ)/sin θ z_T′ with θ the
    angle between them, so that every point is about as likely as the ends (Song et al. 2021).

    Parameters
    ----------
    pair
        A diffusion of images with a method ``faster``.
    rows, steps
        Number of rows, and of λ in each, from 0 to 1.
    num_steps, seed
        Steps that are taken, at most those of the pair; and the random seed of the noise.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If the pair is no diffusion of images, or cannot take fewer steps.
    """
    faster, whole = _faster(pair), pair.latent_sites["z"].event_shape[0]
    check_counts(rows=rows, steps=steps, num_steps=num_steps)
    smooth = faster(min(num_steps, whole), eta=0.0)
    with isolated(smooth, seed=seed) as device:
        chain = poutine.trace(smooth.model).get_trace(n=1).nodes["z"]["fn"]
        kind, size = next(pair.parameters()).dtype, math.prod(pair.data_shape)
        weight = torch.linspace(0, 1, steps, dtype=kind, device=device).unsqueeze(-1)
        first, last = torch.randn(2, rows, 1, size, dtype=kind, device=device)
        angle = torch.cosine_similarity(first, last, dim=-1).acos().unsqueeze(-1)
        way = ((1 - weight) * angle).sin() * first + (weight * angle).sin() * last
        top = (way / angle.sin()).reshape(rows * steps, 1, *pair.data_shape)
        z = chain.from_noise(top.expand(-1, *chain.event_shape))
        images = smooth.decode({"z": z})["x"].mean
    return mosaic_figure(
        images.cpu(),
        columns=steps,
        names=[f"{at:.2f}".rstrip("0").rstrip(".") for at in weight.flatten().tolist()],
        title=heading("Between samples, by their noise", pair, title=title),
        tile_inches=0.8,
        ax=ax,
    )[0]
