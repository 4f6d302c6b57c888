"""``pyro-models sample`` and ``plot``: what a trained pair makes and looks like."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure

from inference import figures
from inference.commands.files import free_path, open_run, save_figure
from inference.learning import Run
from inference.learning.files import write_atomically
from inference.learning.history import Epoch, History
from inference.posterior import generate
from inference.undisturbed import seeded
from pyro_models import Pair, UsageError
from pyro_models.data import Split

__all__ = ["FIGURES", "plot", "sample"]


def sample(
    run: str,
    n: int = 64,
    label: int | None = None,
    pixels: Literal["sample", "mean"] = "sample",
    seed: int = 0,
    out: str = "samples.npy",
    force: bool = False,
) -> None:
    """Generate data from a trained pair.

    Args:
        run: Run folder.
        n: How many.
        label: Their label, for a pair that needs labels; all labels in turn unless given.
        pixels: Draw pixels, or give their means.
        seed: Of the draws.
        out: .npy file for the array, or .png for a figure.
        force: Replace that file.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1; got {n}")
    target = free_path(out, force=force)
    assert target is not None
    if target.suffix not in (".npy", ".png"):
        raise UsageError(f"out must end in .npy or .png; got {out}")
    pair = Run(run).load_pair()
    y = _labels(pair, n, label)
    if target.suffix == ".png":
        save_figure(figures.prior_samples(pair, n=n, y=y, pixels=pixels, seed=seed), target)
    else:
        x = generate(pair, n=n, y=y, pixels=pixels, seed=seed)
        write_atomically(target, lambda file: np.save(file, x.numpy()))
    print(f"{n} samples of {Path(run).name} in {target}")


def _labels(pair: Pair, n: int, label: int | None) -> torch.Tensor | None:
    if pair.num_classes is None:
        if label is not None:
            raise UsageError(f"{type(pair).__name__} does not use labels: leave label out")
        return None
    return torch.arange(n) % pair.num_classes if label is None else torch.full((n,), label)


def plot(
    run: str,
    figure: str = "samples",
    n: int = 1000,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
) -> None:
    """Draw a figure of a trained pair.

    Args:
        run: Run folder.
        figure: latent-scatter, latent-grid, reconstructions, samples, class-grid, interpolation,
            components or curves.
        n: Test data shown, where a figure shows as many as one likes.
        seed: Of samples.
        out: PNG, PDF or SVG file; FIGURE.png in the run folder's figures unless given.
        force: Replace that file.
    """
    if figure not in FIGURES:
        raise UsageError(f"unknown figure {figure!r}: choose from {', '.join(FIGURES)}")
    target = free_path(out or f"{run}/figures/{figure}.png", force=force)
    assert target is not None
    if target.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"out must end in .png, .pdf or .svg; got {target}")
    pair, images, record = open_run(run)
    if figure == "curves":
        drawn = figures.learning_curves(_read_history(Path(run), record))
    else:
        test = images.prepared("test", seed=seed, limit=n)
        with seeded(seed, torch.device("cpu")):
            drawn = FIGURES[figure](pair, test, seed)
    save_figure(drawn, target)
    print(f"{figure} of {Path(run).name} in {target}")


def _interpolation(pair: Pair, test: Split, seed: int) -> Figure:
    """Rows between the first test images of the classes 0–1, 2–3, …, or, given labels, of one."""
    if test.y is None:
        starts, ends = test.x[0:10:2], test.x[1:10:2]
        return figures.interpolation(pair, starts, ends)
    of_class = [(test.y == c).nonzero().flatten() for c in range(int(test.y.max()) + 1)]
    if pair.num_classes is not None:
        pairs = [(int(rows[0]), int(rows[1])) for rows in of_class if len(rows) > 1][:5]
    else:
        firsts = [int(rows[0]) for rows in of_class if len(rows)]
        pairs = list(zip(firsts[0::2], firsts[1::2], strict=False))
    if not pairs:
        raise UsageError("an interpolation needs two test images; give more data")
    a, b = (torch.tensor(side) for side in zip(*pairs, strict=True))
    y = None if pair.num_classes is None else test.y
    y_starts, y_ends = (None, None) if y is None else (y[a], y[b])
    return figures.interpolation(pair, test.x[a], test.x[b], y_starts=y_starts, y_ends=y_ends)


FIGURES: dict[str, Callable[[Pair, Split, int], Figure]] = {
    "latent-scatter": lambda pair, test, seed: figures.latent_scatter(pair, test.x, test.y),
    "latent-grid": lambda pair, test, seed: figures.latent_grid(pair),
    "reconstructions": lambda pair, test, seed: figures.reconstructions(pair, test.x, y=test.y),
    "samples": lambda pair, test, seed: figures.prior_samples(
        pair, n=64, y=_labels(pair, 64, None), seed=seed
    ),
    "class-grid": lambda pair, test, seed: figures.class_grid(pair, seed=seed),
    "interpolation": _interpolation,
    "components": lambda pair, test, seed: figures.mixture_means(pair),
    "curves": lambda pair, test, seed: Figure(),
}


def _read_history(run: Path, record: dict[str, Any]) -> History:
    """The history of a run from its files."""
    training = record.get("training", {})
    state = Run(run).load_checkpoint()
    epochs = [Epoch(**values) for values in state["history"]] if state else []
    if not epochs:
        raise UsageError(f"{run} has no finished epoch to plot")
    return History(
        tuple(epochs),
        objective=training.get("objective", record["settings"]["objective"]),
        best_epoch=training.get("best_epoch"),
        stopped=training.get("stopped", ""),
    )
