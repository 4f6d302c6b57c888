"""What trackers are told of a training: numbers, hyper-parameters, figures, histograms."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from inference.figures.registry import Shown, figure_named
from inference.learning.callbacks import CallbackState
from inference.learning.history import Epoch, History
from inference.posterior import latent_means
from pyro_models import Pair, UsageError
from pyro_models.contract import module_of
from pyro_models.data import Split

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "figures_of",
    "histograms_of",
    "hyper_parameters",
    "numbers_of",
    "pixels_of",
    "usual_figures",
]

_FEW = 1000
"""Number of data whose latents are shown."""

_OF_EACH = 10
"""Largest number of latent dimensions that have a histogram each."""


def numbers_of(epoch: Epoch, state: CallbackState) -> dict[str, float]:
    """The numbers of an epoch by name; those that were not computed are left out.

    Bounds stand under ``bound``, and under ``objective`` where they bound no evidence.
    """
    what = "objective" if state.remark else "bound"
    bounds = {"running": epoch.running, "train": epoch.train, "validation": epoch.validation}
    found = {f"{what}/{name}": value for name, value in bounds.items() if value is not None}
    steps = {"learning_rate": epoch.learning_rate, "beta": epoch.beta, "seconds": epoch.seconds}
    found |= {f"training/{name}": value for name, value in steps.items()}
    return found | {f"measures/{name}": value for name, value in epoch.measures.items()}


def hyper_parameters(state: CallbackState) -> dict[str, bool | int | float | str]:
    """Pair, its options, data and settings by name, each a plain value; what is unset is left out.

    A list or mapping is written as JSON.
    """
    found: dict[str, Any] = {"model": type(state.pair).__name__, **state.pair.config()}
    if state.settings is not None:
        found |= state.settings.plain()
    found |= {"objective": state.objective, "unit": state.unit, "remark": state.remark or None}
    if state.data is not None:
        found |= {"data": state.data.name, "preparation": state.data.preparation}
        found |= {f"{name}_size": len(split) for name, split in state.data.splits.items()}
    found["parameters"] = sum(p.numel() for p in state.pair.parameters())
    unset: tuple[Any, ...] = (None, {}, [], ())
    return {name: _plain(value) for name, value in found.items() if value not in unset}


def _plain(value: Any) -> bool | int | float | str:
    if isinstance(value, bool | int | float | str):
        return value
    try:
        return json.dumps(value)
    except TypeError:  # an object that a pair was given
        return type(value).__name__


def usual_figures(pair: Pair) -> tuple[str, ...]:
    """Figures that are drawn where none are named: samples, by class of a pair with labels."""
    return ("class_grid",) if pair.num_classes else ("prior_samples", "reconstructions")


def figures_of(
    state: CallbackState, names: Sequence[str]
) -> Iterator[tuple[str, Figure | UsageError]]:
    """Each figure with its name, or why it cannot be drawn of this pair; test data stay unseen."""
    shown = Shown(
        pair=state.pair,
        load_test=lambda: _looked_at(state),
        load_history=lambda: History(
            state.history, objective=state.objective, unit=state.unit, remark=state.remark
        ),
        load_train=lambda: _prepared(state, "train"),
        seed=0 if state.settings is None else state.settings.seed,
    )
    for name in names:
        try:
            figure = figure_named(name)
            yield figure.name, figure.draw(shown)
        except UsageError as error:
            yield name, error


def histograms_of(state: CallbackState) -> Iterator[tuple[str, Tensor]]:
    """The values of each learned tensor, and of each latent's means over a thousand data."""
    for name, parameter in module_of(state.pair).named_parameters():
        yield f"weights/{name.replace('.', '/')}", parameter.detach().cpu()
    try:
        shown = _looked_at(state)
        means = latent_means(state.pair, shown.x, y=shown.y, mask=shown.mask).cpu()
    except UsageError:  # no continuous latent, or a guide that has no say in it
        return
    yield "latents/means", means
    if means.shape[1] <= _OF_EACH:
        for d, mean in enumerate(means.T, 1):
            yield f"latents/z{d}", mean


def pixels_of(figure: Figure) -> Any:
    """A figure as an array of bytes (H, W, 3), drawn without pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]


def _looked_at(state: CallbackState) -> Split:
    """The first validation data, or training data where there are none."""
    splits = {} if state.data is None else state.data.splits
    return _prepared(state, "validation" if "validation" in splits else "train")


def _prepared(state: CallbackState, split: str) -> Split:
    if state.data is None:
        raise UsageError("no data are at hand")
    seed = 0 if state.settings is None else state.settings.seed
    return state.data.prepared(split, seed=seed, limit=_FEW)
