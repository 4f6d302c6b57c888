"""Figures of latent space: where data are inferred to lie, and what is decoded where."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from contourpy import contour_generator
from pyro import poutine
from torch import Tensor
from torch.distributions import Independent, Normal

from inference.figures.canvas import figure_of, one_panel
from inference.figures.grid import check_images, condition, decoded_means, mosaic_figure
from inference.figures.heading import heading, subject
from inference.figures.palette import INK, PETROFF, class_color, class_marker, marker_area, plain
from inference.figures.registry import Shown, register_figure
from inference.isolated import isolated
from inference.posterior.reconstruction import latent_means
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills
from pyro_models.counts import check_counts, is_count
from pyro_models.data.observed import labels_for
from pyro_models.data.reading import read
from pyro_models.observed import Data, Labels, observed
from pyro_models.pair import Classifies, ConditionsOnPixels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from inference.figures.canvas import Place

__all__ = ["latent_grid", "latent_scatter"]

_MAX_TICKS = 10
_GRID_GAP, _GAPS_UP_TO = 0.06, 25
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_DRAWS = 1024  # of a prior, to see where it is
_EDGE: dict[str, Any] = {"edgecolors": INK, "linewidths": 0.25, "alpha": 0.75}


@register_figure(needs="a continuous latent")
def latent_scatter(
    pair: Pair,
    x: Data,
    y: Labels | None = None,
    *,
    class_names: Sequence[object] | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Posterior means E[z | x] of data, by class.

    One latent: a strip per class (a histogram without labels). Two: a scatter plot. Three: the same
    in 3-D. More: their first two principal components, with the share of variance in the labels.
    Around two latents of one site lie contours of p(z), of the smallest regions of 50 and 90 %: the
    posteriors together should fill them. A prior that is one of labels or pixels is left out.

    Parameters
    ----------
    pair, x, y
        Whose guide infers, prepared data (B, \\*data_shape), of any kind that
        :func:`pyro_models.observed.observed` takes, and labels (B,), −1 where missing. Labels
        colour the points, and go to the guide; classes are told apart by colour, by marker and by a
        numeral at the class median.
    class_names
        What class 0, 1, … is called, such as ``data.table.label.values``; its number unless given.
    title
        Drawn above; by default the model and the number of data.
    ax
        Axes, or a figure or a part of one, to draw in; a new figure unless given.

    Raises
    ------
    UsageError
        If the pair has no continuous latent, or the data do not fit it.
    """
    check_pair(pair)
    data = observed(pair, read(x), y=y)
    with isolated(pair):
        means = latent_means(pair, data).cpu().double().numpy()
    names = [f"E[{name} | x{condition(pair, data.y)}]" for name in _latent_names(pair)]
    if means.shape[1] > 3:
        means, names = _principal(means, names)
    classes = None if data.y is None else data.y.cpu().numpy()
    axes: Any = one_panel(ax, (6.2, 5.2), projection="3d" if means.shape[1] == 3 else None)
    if means.shape[1] == 1:
        _strips(axes, means[:, 0], names[0], classes, class_names)
    else:
        _points(axes, means, names, classes, class_names)
    if list(_shapes(pair).values()) == [(2,)]:
        _prior_contours(axes, pair)
    if means.shape[1] == 2:
        axes.set_aspect("equal", adjustable="datalim")
    if means.shape[1] < 3:
        plain(axes)
    else:
        axes.set_zlabel(names[2])
        axes.locator_params(nbins=5)
        axes.set_box_aspect(None, zoom=0.9)
    above = f"{subject(pair)}: {len(data):,} posterior means" if title is None else title
    axes.set_title(above, fontsize=10)
    figure = figure_of(axes)
    figure.draw_without_rendering()  # equal scales change the ticks, for which there is room then
    return figure


def _latent_names(pair: Pair) -> list[str]:
    """A name for each column of ``latent_means``, counted from 1 as in every figure.

    That is z, or z₁, z₂, …, or z1[1], z1[2], … where a site itself is called z1.
    """
    names = []
    for name, site in pair.latent_sites.items():
        if site.discrete:
            continue
        size = math.prod(site.event_shape)
        for i in range(1, size + 1):
            index = str(i).translate(_SUBSCRIPTS) if len(name) == 1 else f"[{i}]"
            names.append(name if size == 1 else name + index)
    return names


def _prior(pair: Pair, name: str, y: int | None, *, n: int) -> tuple[Any, Tensor]:
    """The prior of one site, of n data, and a draw for each, (n, \\*event_shape)."""
    with isolated(pair) as device:
        site = poutine.trace(pair.model).get_trace(n=n, y=labels_for(y, n, device)).nodes[name]
        return site["fn"], site["value"]


def _prior_contours(axes: Axes, pair: Pair) -> None:
    """Contours of a prior of two latents that is the same for all data."""
    of_labels = pair.num_classes is not None and not fulfills(pair, Classifies)
    if of_labels or fulfills(pair, ConditionsOnPixels):
        return
    (name,) = _shapes(pair)
    z = _prior(pair, name, None, n=_DRAWS)[1]
    p_z, _ = _prior(pair, name, None, n=1)
    low, high = z.quantile(0.001, dim=0), z.quantile(0.999, dim=0)
    ends = zip(low.tolist(), high.tolist(), strict=True)
    sides = [torch.linspace(a, b, 121, device="cpu") for a, b in ends]
    with isolated(pair):
        inside = torch.quantile(p_z.log_prob(z), z.new_tensor([0.1, 0.5])).cpu()
        height = p_z.log_prob(torch.cartesian_prod(*sides).to(z)).reshape(121, 121).cpu()
    across, up = (side.numpy() for side in sides)
    lines: Any = contour_generator(across, up, height.T.numpy()).lines
    for level, dashes in zip(inside.tolist(), ("--", "-"), strict=True):
        for line in lines(level):
            axes.plot(*line.T, color=INK, linestyle=dashes, linewidth=0.7, alpha=0.6, zorder=0)


def _principal(means: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
    """First two principal components, (B, 2), and their names with the share of variance."""
    from sklearn.decomposition import PCA

    if len(means) < 2:
        raise UsageError(f"principal components need at least 2 data; got {len(means)}")
    with np.errstate(invalid="ignore", divide="ignore"):
        pca = PCA(2, svd_solver="full").fit(means)
    shares = np.nan_to_num(pca.explained_variance_ratio_)
    titles = [
        f"PC {i} of the {means.shape[1]} latents' posterior means ({share:.0%} of variance)"
        for i, share in enumerate(shares, start=1)
    ]
    return pca.transform(means), titles


def _class_name(label: int, names: Sequence[object] | None) -> str:
    """What a class is called beside its number, if anything."""
    if label < 0:
        return "missing"
    return str(label) if names is None or label >= len(names) else f"{label}: {names[label]}"


def _points(
    axes: Any,
    means: np.ndarray,
    names: list[str],
    classes: np.ndarray | None,
    class_names: Sequence[object] | None,
) -> None:
    """Points in 2-D or 3-D with a legend, and a numeral at the median of each class."""
    from matplotlib import patheffects

    axes.set(xlabel=names[0], ylabel=names[1])
    crowd = min(1.0, math.sqrt(1500 / max(len(means), 1)))
    if classes is None:
        axes.scatter(*means.T, color=PETROFF[0], s=16 * crowd, **_EDGE)
        return
    present = np.unique(classes)
    for label in present:
        name, below = _class_name(label, class_names), 1 if label < 0 else 2
        _scatter(axes, means[classes == label].T, label, crowd, label=name, zorder=below)
    known = present[present >= 0]
    if len(known):
        medians = np.stack([np.median(means[classes == label], axis=0) for label in known])
        if means.shape[1] == 2:
            medians = _apart(medians, 0.05 * float(np.ptp(means, axis=0).max()))
        halo = [patheffects.withStroke(linewidth=3, foreground="white")]  # on any colour
        style: dict[str, Any] = {"ha": "center", "va": "center", "color": INK, "zorder": 10}
        style |= {"fontsize": 13, "fontweight": "bold", "path_effects": halo}
        for label, position in zip(known, medians, strict=True):
            axes.text(*position, str(label), **style)
    beside = 1.08 if means.shape[1] == 3 else 1.01  # the axis upwards is named there
    place: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (beside, 0.5)}
    axes.legend(title="class", frameon=False, fontsize=9, borderaxespad=0.2, **place)


def _scatter(axes: Any, at: Any, of_class: int, crowd: float = 1.0, **style: Any) -> None:
    """The data of one class, in its color and marker."""
    style |= {"color": class_color(of_class), "marker": class_marker(of_class)}
    axes.scatter(*at, s=marker_area(of_class) * crowd, **style, **_EDGE)


def _apart(positions: np.ndarray, distance: float) -> np.ndarray:
    """Positions (N, 2) pushed apart, pair by pair, until all are about ``distance`` apart."""
    places = positions.copy()
    for _ in range(100):
        for i in range(len(places)):
            for j in range(i):
                between = places[i] - places[j]
                length = float(np.hypot(*between))
                if length < distance:
                    direction = between / length if length > 0 else np.array([1.0, 0.0])
                    places[i] += direction * (distance - length) / 2
                    places[j] -= direction * (distance - length) / 2
    return places


def _strips(
    axes: Axes,
    means: np.ndarray,
    name: str,
    classes: np.ndarray | None,
    class_names: Sequence[object] | None,
) -> None:
    """One latent: a jittered strip per class, or a histogram."""
    axes.set(xlabel=name, ylabel="number of data" if classes is None else "class (bar: median)")
    if classes is None:
        axes.hist(means, bins=max(5, min(40, math.isqrt(len(means)))), color=PETROFF[0])
        return
    present = np.unique(classes)
    jitter = np.random.default_rng(0).uniform(-0.3, 0.3, len(means))
    for row, label in enumerate(present):
        inside = classes == label
        _scatter(axes, (means[inside], row + jitter[inside]), label)
        axes.plot([np.median(means[inside])] * 2, [row - 0.38, row + 0.38], color=INK, lw=2)
    axes.set_yticks(range(len(present)), [_class_name(c, class_names) for c in present])


def _of_shown(shown: Shown) -> Figure:
    y = None if shown.pair.num_classes is None else shown.label or 0
    own: dict[str, Any] = {"title": shown.title, "ax": shown.ax}
    return latent_grid(shown.pair, size=shown.size, span=shown.span, y=y, **own)


@register_figure(needs="two latents", of_shown=_of_shown)
def latent_grid(
    pair: Pair,
    *,
    size: int = 20,
    span: tuple[float, float] | None = None,
    y: int | None = None,
    title: str | None = None,
    ax: Place | None = None,
) -> Figure:
    """Decoded means E[x | z] on a regular grid of two latents, z₁ to the right, z₂ upwards.

    Parameters
    ----------
    pair, y
        A pair whose only continuous site is of two latents, and the label to decode with, for pairs
        that need one.
    size
        Values per latent, n.
    span
        None: the standard normal's quantiles Φ⁻¹((i + ½) / n), i = 0 … n − 1, so that every image
        stands for the same prior probability; under another prior those of draws of either latent.
        (low, high): n evenly spaced values from low to high.
    title, ax
        Drawn above, by default what is shown of which model; and axes, or a figure or a part of
        one, to draw in, a new figure unless given.

    Raises
    ------
    UsageError
        If there are not exactly two latents, data are no images, or the span is empty.
    """
    check_pair(pair)
    name = _two_latents(pair)
    check_images(pair)
    check_counts(size=size)
    p_z, drawn = _prior(pair, name, y, n=_DRAWS)
    standard = span is not None or _is_standard(p_z)
    values = _grid_values(size, span).expand(2, -1) if standard else _quantiles(drawn, size)
    with isolated(pair) as device:
        axis = values.to(next(iter(pair.parameters())))
        down, across = torch.meshgrid(axis[1].flip(0), axis[0], indexing="ij")
        z = torch.stack([across, down], dim=-1).flatten(0, 1)
        images = decoded_means(pair, {name: z}, labels_for(y, len(z), device))
    gap = _GRID_GAP if size <= _GAPS_UP_TO else 0.0
    under = f", y = {y}" if condition(pair, y) else ""
    spacing = "quantiles of N(0, 1)" if standard else f"quantiles of draws of p({name}{under})"
    spacing = spacing if span is None else "evenly spaced"
    what = f"Decoded means E[x | {name}{under}]"
    title = heading(what, pair, title=title, how=f"{name} {spacing}")
    figure, axes, tiles = mosaic_figure(
        images, columns=size, gaps=(gap, gap), title=title, tile_inches=0.5, ax=ax
    )
    sides = ((axes.set_xticks, tiles.across), (axes.set_yticks, tiles.down[::-1]))
    for of_axis, (set_ticks, tile) in zip(values, sides, strict=True):
        ticks = _tick_values(of_axis, span)
        text = [f"{tick:{'.2f' if span is None else 'g'}}".replace("-", "−") for tick in ticks]
        set_ticks(np.interp(ticks, of_axis, tile), text)
    axes.tick_params(length=3)
    horizontal, vertical = _latent_names(pair)
    axes.set(xlabel=horizontal, ylabel=vertical)
    return figure


def _is_standard(p: Any) -> bool:
    """Whether it is N(0, I)."""
    normal = p.base_dist if isinstance(p, Independent) else p
    return isinstance(normal, Normal) and not normal.loc.any() and bool((normal.scale == 1).all())


def _quantiles(z: Tensor, size: int) -> Tensor:
    """Quantiles of two latents, each by itself, (2, size), of draws (n, 2)."""
    at = (torch.arange(size, dtype=torch.float64, device="cpu") + 0.5) / size
    return z.cpu().double().quantile(at, dim=0).T


def _tick_values(values: Tensor, span: tuple[float, float] | None) -> np.ndarray:
    """At most ten values of z to write at the axes: round ones where the axis is linear."""
    from matplotlib.ticker import MaxNLocator

    if span is not None:
        ticks = np.asarray(MaxNLocator(_MAX_TICKS - 2).tick_values(*span))
        return ticks[(ticks >= span[0]) & (ticks <= span[1])]
    size = len(values)
    return values.numpy()[np.linspace(0, size - 1, min(size, _MAX_TICKS)).round().astype(int)]


def _shapes(pair: Pair) -> dict[str, tuple[int, ...]]:
    """Event shapes of the continuous sites."""
    return {name: s.event_shape for name, s in pair.latent_sites.items() if not s.discrete}


def _two_latents(pair: Pair) -> str:
    """Name of the one continuous site of two latents."""
    sizes = _shapes(pair)
    if list(sizes.values()) != [(2,)]:
        found = ", ".join(f"{name} of shape {shape}" for name, shape in sizes.items()) or "none"
        raise UsageError(
            f"latent_grid needs one site of exactly 2 latents; this {type(pair).__name__} has "
            f"{found}{': build it with latent_dim=2' if 'latent_dim' in pair.config() else ''}"
        )
    return next(iter(sizes))


def _grid_values(size: int, span: tuple[float, float] | None) -> Tensor:
    """Increasing values of one latent, (size,)."""
    check_counts(size=size)
    if span is None:
        return torch.special.ndtri((torch.arange(size, dtype=torch.float64) + 0.5) / size)
    low, high = span
    if not low < high or not is_count(size, least=2):
        raise UsageError(
            f"a span goes from low to high, e.g. (-4, 4), in at least 2 values; got {span}, {size}"
        )
    return torch.linspace(low, high, size, dtype=torch.float64)
