"""Two latents of one half-seen image: isocontours of p(z, x_seen) with those of q."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from inference.figures.canvas import figure_of, panels
from inference.figures.grid import check_images
from inference.figures.heading import subject
from inference.figures.palette import INK, PETROFF, plain
from inference.figures.registry import register_figure
from inference.posterior.log_density import condition
from inference.posterior.posterior import Posterior
from pyro_models import Pair, UsageError
from pyro_models.data.masks import Mask
from pyro_models.data.reading import read
from pyro_models.observed import Data, Labels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["latent_contours"]

_MASSES = (0.5, 0.9, 0.99)
_STYLES = ("dashed", "dotted", "dashdot")
_GRID = 201  # nodes along each latent
_REACH = 5.0  # standard deviations of the prior, to begin with


@register_figure(needs="posteriors of one datum over two latents: draw it in Python")
def latent_contours(
    pair: Pair,
    x: Data,
    mask: Mask | None,
    posteriors: Mapping[str, Posterior] | Posterior | Sequence[Posterior],
    *,
    y: Labels | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Isocontours of p(z, x_seen) and of one or more q(z) over two latents, in one plot.

    As a function of z, p(z, x_seen) is p(z | x_seen) up to a constant. Contours are those that hold
    50, 90 and 99 % of the mass, of p (filled) and of each q (lines), so that where the two agree
    the lines lie on the edges of the fill. Beside it stands what was seen.

    Parameters
    ----------
    pair
        A pair with exactly two continuous latents.
    x, mask, y
        One datum, (\\*data_shape) or (1, \\*data_shape), prepared, what is seen of it (``None`` for
        all), and its label, for a pair that needs one, as :func:`pyro_models.observed.observed`
        takes them.
    posteriors
        Posteriors of that one datum from :func:`inference.posterior.infer`: one, several, or
        several by name.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If there are not two latents, the data are no image, or a q is of other data or has no
        density.
    """
    from matplotlib.colors import to_rgb

    named = _named(posteriors)
    check_images(pair)
    x = read(x).x
    x = x if x.dim() == len(pair.data_shape) + 1 else x.unsqueeze(0)
    like = next(iter(pair.parameters()))
    for name, posterior in named.items():
        if len(posterior) != 1 or len(x) != 1:
            raise UsageError(f"contours are of one datum; {name} is of {len(posterior)}")
    target = condition(pair, x, mask=mask, y=y)
    if target.dim != 2:
        raise UsageError(f"contours need exactly two continuous latents; there are {target.dim}")

    def density(of: Posterior | None, nodes: Tensor) -> np.ndarray:
        """log p(z, x_seen), or log q(z), at nodes (N, 1, 2)."""
        with torch.no_grad():
            found = target.log_joint(nodes) if of is None else of.log_prob(target.unpack(nodes))
        return found.squeeze(-1).double().cpu().numpy()

    sources: dict[str, Posterior | None] = {"p": None, **named}
    box = _box(like, [lambda z, s=s: density(s, z) for s in sources.values()])
    across, down, nodes = _nodes(like, box)
    place, grid = panels(ax, 1, 2, (5.6, 4.4), width_ratios=[5, 1])
    axes, beside = grid[0]
    for i, (name, source) in enumerate(sources.items()):
        log_density = density(source, nodes).reshape(len(across), len(down)).T
        levels = _levels(log_density)
        if source is None:
            fills = [(*to_rgb(PETROFF[0]), alpha) for alpha in (0.18, 0.36, 0.6)]
            axes.contourf(across, down, log_density, [*levels, np.inf], colors=fills)
            axes.fill([], [], color=PETROFF[0], alpha=0.5, label=r"$p(z, x_{\mathrm{seen}})$")
            continue
        color = INK if i == 1 else PETROFF[(2, 4, 6)[(i - 2) % 3]]
        style = "solid" if i == 1 else _STYLES[(i - 2) % 3]
        line: dict[str, Any] = {"colors": [color], "linewidths": 1.2, "linestyles": style}
        axes.contour(across, down, log_density, levels, **line)
        axes.plot([], [], color=color, lw=1.2, ls=style, label=f"q: {name.replace('_', ' ')}")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="$z_1$", ylabel="$z_2$")
    plain(axes)
    axes.legend(frameon=False, fontsize=9, loc="best")
    above = subject(pair) if title is None else title
    axes.set_title(f"{above}\nContours that hold 50, 90 and 99 % of the mass", fontsize=10)
    pixels = next(iter(named.values())).x[0].detach().float().cpu().clamp(0, 1).numpy()
    beside.imshow(pixels.transpose(1, 2, 0).squeeze(), cmap="gray", vmin=0, vmax=1)
    beside.set_title("seen", fontsize=9)
    beside.set(xticks=[], yticks=[])
    return figure_of(place)


def _named(
    posteriors: Mapping[str, Posterior] | Posterior | Sequence[Posterior],
) -> dict[str, Posterior]:
    several = [posteriors] if isinstance(posteriors, Posterior) else posteriors
    named = dict(several) if isinstance(several, Mapping) else {p.name: p for p in several}
    if len(named) < len(several):
        raise UsageError("two posteriors bear one name: give a dictionary of names")
    if not named:
        raise UsageError("give at least one posterior to compare with")
    return named


def _nodes(like: Tensor, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """Values along both latents and the grid of them, (N, 1, 2)."""
    across, down = (np.linspace(float(low), float(high), _GRID) for low, high in box)
    grid = np.stack(np.meshgrid(across, down, indexing="ij"), -1).reshape(-1, 1, 2)
    return across, down, torch.as_tensor(grid).to(like)


def _box(like: Tensor, densities: Sequence[Any]) -> np.ndarray:
    """A box, (2, 2), around what holds nearly all the mass of every density, found by zooming."""
    sides = []
    for density in densities:
        box = np.array([[-_REACH, _REACH]] * 2)
        for _ in range(3):
            across, down, nodes = _nodes(like, box)
            log_density = density(nodes).reshape(_GRID, _GRID)
            i, j = np.nonzero(log_density > log_density.max() - 6.0)
            for axis, (values, hit) in enumerate(((across, i), (down, j))):
                step = values[1] - values[0]
                box[axis] = values[hit.min()] - 2 * step, values[hit.max()] + 2 * step
        sides.append(box)
    low, high = np.min([s[:, 0] for s in sides], 0), np.max([s[:, 1] for s in sides], 0)
    margin = 0.12 * (high - low)
    return np.stack([low - margin, high + margin], 1)


def _levels(log_density: np.ndarray) -> list[float]:
    """Log densities, increasing, above which lie 99, 90 and 50 % of the mass."""
    ordered = np.sort(log_density.ravel())[::-1]
    mass = np.cumsum(np.exp(ordered - ordered[0]))
    found = [ordered[np.searchsorted(mass, m * mass[-1])] for m in sorted(_MASSES, reverse=True)]
    for i in (1, 2):  # a density of one node has one level; contours need three
        found[i] = max(found[i], np.nextafter(found[i - 1], np.inf))
    return [float(level) for level in found]
