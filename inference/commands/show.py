"""``pyro-models sample`` and ``plot``: what a trained pair makes and looks like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from inference import figures
from inference.commands.command import OnRun, command
from inference.commands.files import free_figure_path, free_path, save_figure
from inference.declared import declared, takes
from inference.evaluation.quantity import NATS
from inference.figures.registry import Shown, figure_named, figures_of_pairs
from inference.learning import Run
from inference.learning.history import Epoch, History, read_epochs
from inference.posterior import generate
from pyro_models import Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.data import Split
from pyro_models.files import write_atomically

__all__ = ["plot", "sample"]

NOT_OF_DATA = ("data", "split", "limit", "precision", "progress")


@command
@takes(OnRun, without=NOT_OF_DATA)
def sample(
    run: str,
    n: int = 64,
    label: int | None = None,
    pixels: Literal["sample", "mean"] = "sample",
    out: str = "samples.npy",
    **options: Any,
) -> None:
    """Generate data from a trained pair.

    Args:
        run: Run folder.
        options: One of :class:`OnRun`.
        n: Number of data.
        label: Their label, for a pair that needs labels; all labels in turn unless given.
        pixels: Draw pixels, or give their means.
        out: .npy file for the array, .png for a figure, or .csv for a table in its own units.
    """
    on = OnRun(**options)
    check_counts(n=n)
    target = free_path(out, force=on.force, endings=".npy, .png or .csv")
    pair = Run(run).load_pair(device=on.device)
    y = _labels(pair, n, label)
    if target.suffix == ".png":
        save_figure(figures.prior_samples(pair, n=n, y=y, pixels=pixels, seed=on.seed), target)
    elif target.suffix == ".csv":
        table = Run(run).table
        if table is None:
            raise UsageError(f"{run} was not trained on a table: give --out samples.npy")
        x = generate(pair, n=n, y=y, pixels=pixels, seed=on.seed)
        rows = table.frame(x, rounded=pixels == "sample")
        write_atomically(target, rows.to_csv(index=False))
    else:
        x = generate(pair, n=n, y=y, pixels=pixels, seed=on.seed)
        write_atomically(target, lambda file: np.save(file, x.cpu().numpy()))
    print(f"{n} samples of {Path(run).name} in {target}")


def _labels(pair: Pair, n: int, label: int | None) -> torch.Tensor | None:
    if label is None:
        return None if pair.num_classes is None else torch.arange(n) % pair.num_classes
    if pair.num_classes is None:
        raise UsageError(f"{type(pair).__name__} does not use labels: leave label out")
    return torch.full((n,), label)


def _names_of_figures() -> str:
    known = figures_of_pairs().items()
    names = ", ".join(f"{name} ({f.needs})" if f.needs else name for name, f in known)
    rest = ", ".join(name for name in figures.FIGURES if name not in figures_of_pairs())
    return f"""Name of the figure, with what it needs: {names}; or mine.py:FUNCTION, which returns a
        figure, and whose arguments are named as in Shown. Figures that other commands and Python
        draw: {rest}."""


@dataclass(frozen=True)
class OfFigure(OnRun):
    """What a figure is drawn of, and which."""

    figure: str = declared("prior_samples", _names_of_figures)


@command
@takes(OfFigure, without=NOT_OF_DATA)
def plot(
    runs: list[str],
    n: int = 1000,
    label: int | None = None,
    latents: Literal["mean", "sample"] | None = None,
    pixels: Literal["mean", "sample"] | None = None,
    size: int = 20,
    span: tuple[float, float] | None = None,
    steps: int = 10,
    title: str | None = None,
    out: str | None = None,
    **options: Any,
) -> None:
    """Draw a figure of a trained pair, or of several: curves in one axis, models side by side.

    Args:
        runs: Run folders.
        options: One of :class:`OfFigure`.
        n: Number of test data shown, where a figure shows as many as one likes.
        label: Label of samples and of the latent grid, for a pair that needs labels.
        latents: Sampled or mean z of reconstructions and interpolations; as suits the figure unless
            given, which its title says.
        pixels: Means of pixels, or draws of them, of all figures that decode; means unless given.
        size: Images along a side of the latent grid.
        span: Even latent grid from this z to that, e.g. "[-4, 4]"; normal quantiles unless given.
        steps: Images of each row of an interpolation, both ends decoded among them.
        title: What stands above; figure, model, data and epoch unless given.
        out: PNG, PDF or SVG file. Unless given it is FIGURE.png in the run folder's figures, and of
            several runs FIGURE-RUN-RUN.png in the folder that the first run lies in.
    """
    on = OfFigure(**options)
    drawn = figure_named(on.figure)
    name = drawn.name if ".py:" in on.figure else on.figure
    names = _names_of(runs)
    beside = "-".join([name, *names.values()]).replace("/", "-")
    usual = f"{runs[0]}/figures/{name}" if len(runs) == 1 else str(Path(runs[0]).parent / beside)
    target = free_figure_path(out or f"{usual}.png", force=on.force)
    check_counts(n=n)
    shown = {}
    for run in runs:
        pair = Run(run).load_pair(device=on.device)
        _labels(pair, n, label)
        table = Run(run).table
        shown[names[run]] = Shown(
            pair=pair,
            load_test=partial(_test_data, run, seed=on.seed, n=n),
            load_history=partial(_read_history, Path(run)),
            load_train=partial(_training_data, run, on.seed),
            n=n,
            label=label,
            latents=latents,
            pixels=pixels,
            size=size,
            span=span,
            steps=steps,
            seed=on.seed,
            class_names=None if table is None or table.label is None else table.label.values,
            title=title,
        )
    save_figure(drawn.draw(shown), target)
    print(f"{name} of {', '.join(names.values())} in {target}")


def _names_of(runs: list[str]) -> dict[str, str]:
    """The last part of each path, or as much of it as tells them apart."""
    if len({Path(run).resolve() for run in runs}) < len(runs):
        raise UsageError("a run is named twice")
    paths = {run: Path(run).resolve().parts for run in runs}
    depth = 1
    while len({parts[-depth:] for parts in paths.values()}) < len(runs):
        depth += 1
    return {run: "/".join(parts[-depth:]) for run, parts in paths.items()}


def _test_data(run: str, *, seed: int, n: int) -> Split:
    return OnRun().open(run)[1].prepared("test", seed=seed, limit=n)


def _training_data(run: str, seed: int) -> Split:
    return OnRun().open(run)[1].sampled("train", torch.Generator().manual_seed(seed))


def _read_history(run: Path) -> History:
    """The history of a run from its files."""
    record = Run(run).describe()
    training = record.get("training", {})
    state = Run(run).load_checkpoint()
    file = run / "history.csv"  # all that an exported run has
    written = file.read_text(encoding="utf-8") if file.is_file() else ""
    epochs = [Epoch(**values) for values in state["history"]] if state else read_epochs(written)
    if not epochs:
        raise UsageError(f"{run} has no finished epoch to plot")
    return History(
        tuple(epochs),
        objective=training.get("objective", record["settings"]["objective"]),
        best_epoch=training.get("best_epoch"),
        stopped=training.get("stopped", ""),
        unit=training.get("unit", NATS),
        remark=training.get("remark", ""),  # runs of earlier versions have none
        curve_data=training.get("curve_data", {}),
    )
