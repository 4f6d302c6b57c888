"""Images between images: decoded on the straight way from one code to another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inference.figures.grid import THIN, WIDE, check_images, mosaic_figure
from inference.figures.heading import heading
from inference.figures.registry import Shown, register_figure
from inference.isolated import isolated
from inference.posterior.decoding import Draw, check_draw
from inference.posterior.reconstruction import posterior_draw, site_means
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.counts import is_count
from pyro_models.observed import Data, Observed, observed
from pyro_models.pair import Diffuses, MadeOfNoise

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["interpolation"]


def _between_classes(shown: Shown) -> Figure:
    """Rows between the first test images of the classes 0–1, 2–3, …, or, given labels, of one."""
    pair, x, y = shown.pair, shown.test.x, shown.test.y
    given: dict[str, Any] = {"steps": shown.steps, "seed": shown.seed, "title": shown.title}
    given |= {"ax": shown.ax, "pixels": shown.pixels or "mean", "latents": shown.latents or "mean"}
    if y is None:
        return interpolation(pair, x[0:10:2], x[1:10:2], **given)
    of_class = [(y == c).nonzero().flatten().tolist() for c in range(int(y.max()) + 1)]
    firsts = [rows[0] for rows in of_class if rows]
    ends = list(zip(firsts[0::2], firsts[1::2], strict=False))
    if pair.num_classes is not None:
        ends = [(rows[0], rows[1]) for rows in of_class if len(rows) > 1][:5]
    if not ends:
        raise UsageError("an interpolation needs two test images; give more data")
    a, b = torch.tensor(ends).unbind(1)
    y_starts, y_ends = (None, None) if pair.num_classes is None else (y[a], y[b])
    ends_of: dict[str, Any] = {"y_starts": y_starts, "y_ends": y_ends}
    return interpolation(pair, x[a], x[b], **ends_of, **given)


@register_figure(needs="continuous latents", of_shown=_between_classes)
def interpolation(
    pair: Pair,
    starts: Data,
    ends: Data,
    *,
    y_starts: Data | None = None,
    y_ends: Data | None = None,
    steps: int = 10,
    latents: Draw = "mean",
    pixels: Draw = "mean",
    seed: int = 0,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Rows of images decoded on the straight way from one datum's code to another's.

    z(λ) = (1 − λ) E[z | start] + λ E[z | end] for λ on a uniform partition of [0, 1], decoded to
    E[x | z(λ)]; or between draws of q(z | start) and q(z | end), or to draws of p(x | z(λ)). At
    the two ends of a row stand the true images. Of a flow, z is the noise that it makes of an
    image, and an image is a function of it: there is nothing to draw.

    Parameters
    ----------
    pair
        A pair with continuous latents only.
    starts, ends, y_starts, y_ends
        Prepared images (B, C, H, W), one pair per row, and labels (B,), for pairs that need them;
        both of a row must be the same.
    steps
        Number of λ, from 0 to 1.
    latents, pixels, seed
        Whether codes are means of q(z | x) or draws, ``"sample"``; whether pixels are means of
        p(x | z) or draws; and the random seed.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If a latent is discrete, shapes or labels do not go together, or data are no images.
    """
    check_images(pair)
    check_draw("latents", latents)
    check_draw("pixels", pixels)
    start, end = observed(pair, starts, y=y_starts), observed(pair, ends, y=y_ends)
    _check_path(pair, start, end, steps=steps)
    rows, y = len(start), start.y
    with isolated(pair, seed=seed):
        weights = torch.linspace(0, 1, steps, dtype=start.x.dtype)

        def between(first: Tensor, last: Tensor) -> Tensor:
            weight = weights.to(first).reshape(1, -1, *(1,) * (first.dim() - 1))
            return (1 - weight) * first.unsqueeze(1) + weight * last.unsqueeze(1)

        if fulfills(pair, MadeOfNoise):
            if (latents, pixels) != ("mean", "mean"):
                raise UsageError("a flow draws nothing: leave latents and pixels at their means")
            names, code, what = ["z"], "f({})", "Interpolation between the noise of images"
            path = pair.of_noise(between(pair.noise(start.x), pair.noise(end.x))).cpu()
        else:
            names, mean = list(pair.latent_sites), latents == "mean"
            what = f"Interpolation between posterior {'means' if mean else 'draws'}"
            code = f"E[{', '.join(names)} | {{}}]" if mean else f"{', '.join(names)} of {{}}"
            first, last = (_codes(pair, images, mean=mean) for images in (start, end))
            along = {name: between(first[name], last[name]) for name in names}
            y = None if y is None else y.unsqueeze(1).expand(rows, steps)
            p_x = pair.decode(along, y=y)["x"]
            path = (p_x.mean if pixels == "mean" else p_x.sample()).cpu()
    labels = [f"{weight:.2f}".rstrip("0").rstrip(".") for weight in weights.tolist()]
    figure, axes, _ = mosaic_figure(
        torch.cat([start.x.cpu().unsqueeze(1), path, end.x.cpu().unsqueeze(1)], 1).flatten(0, 1),
        columns=steps + 2,
        gaps=([WIDE, *[THIN] * (steps - 1), WIDE], THIN),
        names=["start", *labels, "end"],
        title=heading(what, pair, title=title),
        tile_inches=0.8,
        ax=ax,
    )
    z = ", ".join(names)
    ways = f"(1 − λ) {code.format('start')} + λ {code.format('end')}"
    drawn = ";  pixels drawn" if pixels == "sample" else ""
    way = f"λ,  where {z} = {ways}{drawn};  true images at both ends"
    axes.set_xlabel(way, fontsize=9)
    return figure


def _codes(pair: Pair, images: Observed, *, mean: bool) -> dict[str, Tensor]:
    """Means of q(z | x) by site, or a joint draw."""
    if mean:
        return site_means(pair, images)
    return posterior_draw(pair, images)


def _check_path(pair: Pair, starts: Observed, ends: Observed, *, steps: int) -> None:
    """Refuse ends between which there is no straight way."""
    if fulfills(pair, Diffuses):
        raise UsageError(
            f"the latents that a {type(pair).__name__} decodes are the images themselves with a "
            "little noise: the straight way between two is a cross-fade, and shows nothing of it"
        )
    discrete = [name for name, site in pair.latent_sites.items() if site.discrete]
    if discrete:
        raise UsageError(
            f"nothing lies between two values of a discrete latent ({', '.join(discrete)}): "
            "interpolation needs continuous latents only"
        )
    if len(starts) != len(ends):
        raise UsageError(f"give as many ends as starts; got {len(starts)} and {len(ends)}")
    if not is_count(steps, least=2):
        raise UsageError(f"steps must be at least 2, λ = 0 and λ = 1; got {steps}")
    if (starts.y is None) != (ends.y is None):
        raise UsageError("give both y_starts and y_ends, or neither")
    if starts.y is not None and ends.y is not None and not torch.equal(starts.y, ends.y):
        raise UsageError(
            "the label is held along a row: choose starts and ends of the same labels (y_starts "
            "and y_ends must be equal)"
        )
