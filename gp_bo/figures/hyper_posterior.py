"""Draws of the hyper-parameters: two against each other, and chain by chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from gp_bo.fitted import FittedGP
from inference.figures.palette import INK, PETROFF, plain
from pyro_models import UsageError

__all__ = ["hyper_scatter", "traces"]

_LEVELS = (0.5, 0.8, 0.95)


def hyper_scatter(
    fitted: FittedGP,
    names: Sequence[str] | None = None,
    *,
    reference: FittedGP | None = None,
    title: str | None = None,
) -> Figure:
    """Draws of two positive hyper-parameters on logarithmic axes, in original units.

    Parameters
    ----------
    fitted
        A Gaussian process whose hyper-parameters were drawn.
    names
        Two columns, ``"lengthscale[0]"`` for the first of several; by default the first two.
    reference
        The same model by quadrature: its 50, 80 and 95 % regions of highest density are outlined.
    title
        Drawn above.
    """
    columns = _columns(fitted)
    chosen = list(names or list(columns)[:2])
    unknown = [name for name in chosen if name not in columns]
    if unknown or len(chosen) != 2:
        raise UsageError(f"give two of {', '.join(columns)}; got {', '.join(chosen)}")
    x, y = (columns[name] for name in chosen)
    if not ((x > 0).all() and (y > 0).all()):
        raise UsageError("logarithmic axes are for positive hyper-parameters")
    figure = Figure(figsize=(5.2, 4.6), layout="constrained")
    axes = figure.add_subplot()
    weights = fitted.weights.cpu().numpy()
    area = 4 + 40 * weights / weights.max() if _weighted(fitted) else 9
    axes.scatter(x, y, s=area, color=PETROFF[0], alpha=0.5, lw=0, label=f"{len(x)} draws")
    axes.set(xscale="log", yscale="log", xlabel=chosen[0], ylabel=chosen[1])
    if reference is not None:
        _outline(figure, reference, chosen)
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        few = high < 300 * low  # decades alone would be too few labels
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if few else (1,), numticks=12))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    plain(axes)
    # outside the axes: draws may lie anywhere in them
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    if title:
        axes.set_title(title, fontsize=10, loc="left")
    if fitted.draws.num_chains:
        found = fitted.diagnostics
        each = (f"{n}: R̂ {found['rhat'][n]:.3f}, ESS {found['bulk_ess'][n]:.0f}" for n in chosen)
        place: dict[str, Any] = {"xycoords": "axes fraction", "ha": "right", "va": "bottom"}
        axes.annotate("; ".join(each), (1, 1.01), fontsize=8, **place)
    return figure


def traces(fitted: FittedGP, *, title: str | None = None) -> Figure:
    """Each hyper-parameter draw by draw, one line per chain, with R̂ and effective draws."""
    chains = fitted.draws.num_chains
    if not chains:
        raise UsageError(f"{fitted.inference} has no chains: traces are for nuts")
    columns = {n: v for n, v in _columns(fitted).items() if n in fitted.diagnostics["rhat"]}
    figure = Figure(figsize=(6.8, 1.6 * len(columns) + 0.6), layout="constrained")
    every = figure.subplots(len(columns), 1, sharex=True, squeeze=False)[:, 0]
    found = fitted.diagnostics
    for axes, (name, values) in zip(every, columns.items(), strict=True):
        for i, chain in enumerate(values.reshape(chains, -1)):
            axes.plot(np.arange(1, len(chain) + 1), chain, lw=0.7, color=PETROFF[i % len(PETROFF)])
        if (values > 0).all():
            axes.set_yscale("log")
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylabel(name)
        axes.set_title(
            f"R̂ {found['rhat'][name]:.3f}, effective draws: bulk {found['bulk_ess'][name]:.0f}, "
            f"tail {found['tail_ess'][name]:.0f} of {values.size}",
            fontsize=8,
            loc="right",
        )
        plain(axes)
        axes.margins(x=0.01)
    every[-1].set_xlabel(f"draw of each of {chains} chains")
    if title:
        figure.suptitle(title, fontsize=10)
    return figure


def _columns(fitted: FittedGP) -> dict[str, np.ndarray]:
    """Draws by column name, (S,), in original units."""
    hyper = fitted.gp.hyperparameters
    draws = [fitted.hyperparameters[site.parameter.name] for site in hyper.sites]
    values = np.concatenate([each.reshape(fitted.num_draws, -1).cpu().numpy() for each in draws], 1)
    return dict(zip(hyper.column_names(), values.T, strict=True))


def _weighted(fitted: FittedGP) -> bool:
    return bool((fitted.weights != fitted.weights[0]).any())


def _outline(figure: Figure, reference: FittedGP, names: Sequence[str]) -> None:
    """Regions of highest density of a quadrature over exactly these two."""
    columns = _columns(reference)
    if sorted(columns) != sorted(names) or not _weighted(reference):
        raise UsageError("the reference must be a quadrature over the same two hyper-parameters")
    weights = reference.weights.cpu().numpy()
    mass = np.sort(weights)[::-1]
    above = mass.cumsum()
    levels = sorted({float(mass[np.searchsorted(above, level)]) for level in _LEVELS})
    axes = figure.axes[0]
    inside = weights >= levels[0]
    axes.autoscale_view()
    x, y = (columns[name] for name in names)
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    axes.set_xlim(min(left, x[inside].min() / 1.3), max(right, x[inside].max() * 1.3))
    axes.set_ylim(min(bottom, y[inside].min() / 1.3), max(top, y[inside].max() * 1.3))
    axes.tricontour(x, y, weights, levels=levels, colors=INK, linewidths=0.9)
    axes.set_autoscale_on(False)
    axes.plot([], [], color=INK, lw=0.9, label="50, 80, 95 % by quadrature")
