"""Figures of inference image by image: half-seen images completed, whole ones reconstructed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inference.figures.grid import THIN, WIDE, check_images, check_shape, mosaic_figure
from inference.figures.heading import heading, subject
from inference.figures.registry import register_figure
from inference.isolated import isolated
from inference.posterior.completion import Completion
from inference.posterior.decoding import Draw
from inference.posterior.posterior import Posterior
from inference.posterior.reconstruction import reconstruct
from pyro_models import UsageError
from pyro_models.contract import has_encoder
from pyro_models.counts import check_counts, is_count
from pyro_models.data.reading import read
from pyro_models.observed import Data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["completions", "encoder_free"]

_BY = {
    "exact": ", exactly",
    "trained": r" by the trained $p(z\,|\,x_{\mathrm{seen}})$",
    "encoder_zeros": " by the encoder fed zeros (wrong)",
}


@register_figure(needs="a completion: draw it with pyro-models complete")
def completions(
    completed: Completion | Mapping[str, Completion],
    x: Data,
    *,
    rows: int = 8,
    samples: int | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Originals, what was seen of them with the rest black, and their completions.

    Columns: original | seen | mean completion E[x | x_seen] | sampled completions. Seen pixels of a
    completion are those given.

    Parameters
    ----------
    completed
        Result of :func:`inference.posterior.complete`; or several by name, of the same data and
        mask: then the columns of each stand beside those of the one before.
    x
        The originals, (B, \\*data_shape), prepared.
    rows, samples
        At most so many images, and sampled completions of each; all there are unless given, at most
        four.
    title, ax
        Drawn above; and axes, or a figure or a part of one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If the data are no images, are not those completed, or a count does not fit.
    """
    several = completed if isinstance(completed, Mapping) else {"": completed}
    if not several:
        raise UsageError("there is nothing to show: give at least one completion")
    first = next(iter(several.values()))
    x = read(x).x.to(first.x)
    _check_originals(first, x)
    for name, other in several.items():
        if other.x.shape != first.x.shape or not bool((other.mask == first.mask).all()):
            raise UsageError(f"{name} completes other data, or from other pixels, than the first")
    fewest = min(len(c.samples) for c in several.values())
    shown = min(4, fewest) if samples is None else samples
    if not is_count(rows) or not is_count(shown, least=0) or shown > fewest:
        raise UsageError(
            f"give rows ≥ 1 and 0 to {fewest} samples, as many as were drawn; got {rows}, {shown}"
        )
    count = min(rows, len(x))
    columns, labels, gaps = [x[:count].cpu(), first.x[:count].cpu()], ["original", "seen"], [THIN]
    for name, one in several.items():
        columns += [one.mean[:count].cpu(), *one.samples[:shown, :count].cpu()]
        middle = (1 + shown) // 2  # of the group's columns
        heads = ["mean", *["sample"] * shown]
        if name:
            heads[middle] = f"{heads[middle]}\n{name}"
        labels += heads
        gaps += [WIDE, *[THIN] * shown]
    by = _BY.get(first.guide, f", q: {first.guide.replace('_', ' ')}") if len(several) == 1 else ""
    of_samples = r"$x \sim p(x\,|\,x_{\mathrm{seen}})$"
    if first.pixels == "mean":
        of_samples = r"E$[x\,|\,z]$,  $z \sim q(z\,|\,x_{\mathrm{seen}})$"
    how = rf"mean: E$[x\,|\,x_{{\mathrm{{seen}}}}]$,  samples: {of_samples}"
    pair = None if first.posterior is None or len(several) > 1 else first.posterior.pair
    of = "" if pair is None else f": {subject(pair)}"
    title = f"Half-seen images completed{by}{of}" if title is None else title
    images = torch.stack([c.to(columns[0].dtype) for c in columns], 1).flatten(0, 1)
    wide, apart = len(columns), (gaps, THIN)
    return mosaic_figure(
        images,
        columns=wide,
        gaps=apart,
        names=labels,
        title=f"{title}\n{how}",
        tile_inches=0.85,
        ax=ax,
    )[0]


def _check_originals(completed: Completion, x: Tensor) -> None:
    check_shape(tuple(completed.x.shape[1:]))
    if x.shape != completed.x.shape:
        raise UsageError(
            f"give the originals of what was completed, {tuple(completed.x.shape)}; got "
            f"{tuple(x.shape)}"
        )
    seen = completed.mask.cpu()
    if not torch.equal(x.cpu()[seen].to(completed.x.dtype), completed.x.cpu()[seen]):
        raise UsageError("these are not the originals of what was completed: seen pixels differ")


@register_figure(needs="a posterior: draw it with pyro-models infer --figure")
def encoder_free(
    posterior: Posterior,
    *,
    rows: int = 8,
    latents: Draw = "mean",
    pixels: Draw = "mean",
    blocks: int = 2,
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Originals | decoded from latents fitted to each image alone | decoded from the encoder's.

    The last column is left out where the pair has no encoder.

    Parameters
    ----------
    posterior
        Result of :func:`inference.posterior.infer` on whole images.
    rows, blocks
        At most so many rows, and images side by side in a row.
    latents, pixels, seed
        ``"mean"``: E_q[z], and ``"sample"``: z ~ q, for both; likewise E[x | z], or x ~ p(x | z);
        and the random seed of the draws.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If the data are no images, or were half-seen.
    """
    pair = posterior.pair
    check_images(pair)
    if posterior.mask is not None and not bool(posterior.mask.all()):
        raise UsageError("this figure is of whole images: use completions for half-seen ones")
    check_counts(rows=rows, blocks=blocks)
    part = posterior.select(slice(0, rows * blocks))
    blocks = min(blocks, len(part))
    fitted = part.reconstruct(latents=latents, pixels=pixels, seed=seed)
    shown, names = [part.x.cpu(), fitted.cpu()], ["original", "fitted"]
    if has_encoder(pair):
        with isolated(pair, seed=seed):
            encoded = reconstruct(pair, part.x, y=part.y, latents=latents, pixels=pixels)
        shown, names = [*shown, encoded.cpu()], [*names, "encoder"]
    images, wide = torch.stack(shown, 1).flatten(0, 1), len(names)
    how = "E[z]" if latents == "mean" else "z"
    of_pixels = "E[x | z]" if pixels == "mean" else "x ~ p(x | z)"
    said = f"{of_pixels} at {how} of q(z; Ψ*), fitted to each image ({posterior.name})"
    said += ", and of q(z | x)" if wide > 2 else ""
    what = f"Reconstructions without{' and with' * (wide > 2)} the encoder"
    title = heading(what, pair, title=title, how=said)
    gaps = [WIDE if i % wide == wide - 1 else THIN for i in range(wide * blocks - 1)], WIDE / 2
    names *= blocks
    return mosaic_figure(
        images, columns=wide * blocks, gaps=gaps, names=names, title=title, tile_inches=0.85, ax=ax
    )[0]
