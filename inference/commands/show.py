"""``pyro-models sample`` and ``plot``: what a trained pair makes and looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from matplotlib.figure import Figure

from inference import figures
from inference.commands.files import free_figure_path, free_path, open_run, save_figure
from inference.learning import Run
from inference.learning.history import Epoch, History
from inference.posterior import generate
from inference.posterior.reconstruction import Draw
from pyro_models import Pair, UsageError
from pyro_models.data import Split
from pyro_models.files import write_atomically
from pyro_models.seeds import check_seed

__all__ = ["FIGURES", "plot", "sample"]


def sample(
    run: str,
    n: int = 64,
    label: int | None = None,
    pixels: Literal["sample", "mean"] = "sample",
    seed: int = 0,
    out: str = "samples.npy",
    force: bool = False,
    device: str = "cpu",
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
        device: Where to compute: cpu, cuda, cuda:1 or mps.
    """
    if n < 1:
        raise UsageError(f"n must be at least 1; got {n}")
    check_seed(seed)
    target = free_path(out, force=force)
    if target.suffix not in (".npy", ".png"):
        raise UsageError(f"out must end in .npy or .png; got {out}")
    pair = Run(run).load_pair(device=device)
    y = _labels(pair, n, label)
    if target.suffix == ".png":
        save_figure(figures.prior_samples(pair, n=n, y=y, pixels=pixels, seed=seed), target)
    else:
        x = generate(pair, n=n, y=y, pixels=pixels, seed=seed)
        write_atomically(target, lambda file: np.save(file, x.cpu().numpy()))
    print(f"{n} samples of {Path(run).name} in {target}")


def _labels(pair: Pair, n: int, label: int | None) -> torch.Tensor | None:
    _check_label(pair, label)
    if pair.num_classes is None:
        return None
    return torch.arange(n) % pair.num_classes if label is None else torch.full((n,), label)


def _check_label(pair: Pair, label: int | None) -> None:
    if label is not None and pair.num_classes is None:
        raise UsageError(f"{type(pair).__name__} does not use labels: leave label out")


@dataclass(frozen=True)
class _Request:
    """What a figure is to show."""

    run: str
    pair: Pair
    n: int
    label: int | None
    latents: Draw
    pixels: Draw
    size: int
    span: tuple[float, float] | None
    seed: int

    def test(self) -> Split:
        """The first n test data, prepared as in training."""
        _, images, _ = open_run(self.run)
        return images.prepared("test", seed=self.seed, limit=self.n)


def plot(
    run: str,
    figure: str = "samples",
    n: int = 1000,
    label: int | None = None,
    latents: Literal["mean", "sample"] = "sample",
    pixels: Literal["mean", "sample"] = "mean",
    size: int = 20,
    span: tuple[float, float] | None = None,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
    device: str = "cpu",
) -> None:
    """Draw a figure of a trained pair.

    Args:
        run: Run folder.
        figure: latent-scatter, latent-grid, reconstructions, samples, class-grid, interpolation,
            components or curves.
        n: Test data shown, where a figure shows as many as one likes.
        label: Label of samples and of the latent grid, for a pair that needs labels.
        latents: Reconstructions from sampled or from mean z.
        pixels: Means of pixels, or draws of them (reconstructions, samples, class-grid).
        size: Images along a side of the latent grid.
        span: Even latent grid from this z to that, e.g. "[-4, 4]"; normal quantiles unless given.
        seed: Of samples.
        out: PNG, PDF or SVG file; FIGURE.png in the run folder's figures unless given.
        force: Replace that file.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
    """
    if figure not in FIGURES:
        raise UsageError(f"unknown figure {figure!r}: choose from {', '.join(FIGURES)}")
    target = free_figure_path(out or f"{run}/figures/{figure}.png", option="out", force=force)
    check_seed(seed)
    if n < 1:
        raise UsageError(f"n must be at least 1; got {n}")
    pair = Run(run).load_pair(device=device)
    _check_label(pair, label)
    request = _Request(run, pair, n, label, latents, pixels, size, span, seed)
    save_figure(FIGURES[figure](request), target)
    print(f"{figure} of {Path(run).name} in {target}")


def _scatter(request: _Request) -> Figure:
    test = request.test()
    return figures.latent_scatter(request.pair, test.x, test.y)


def _grid(request: _Request) -> Figure:
    y = None if request.pair.num_classes is None else request.label or 0
    return figures.latent_grid(request.pair, size=request.size, span=request.span, y=y)


def _reconstructions(request: _Request) -> Figure:
    test = request.test()
    return figures.reconstructions(
        request.pair,
        test.x,
        y=test.y,
        latents=request.latents,
        pixels=request.pixels,
        seed=request.seed,
    )


def _samples(request: _Request) -> Figure:
    y = _labels(request.pair, 64, request.label)
    return figures.prior_samples(request.pair, n=64, y=y, pixels=request.pixels, seed=request.seed)


def _interpolation(request: _Request) -> Figure:
    """Rows between the first test images of the classes 0–1, 2–3, …, or, given labels, of one."""
    pair, test = request.pair, request.test()
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


def _curves(request: _Request) -> Figure:
    return figures.learning_curves(_read_history(Path(request.run)))


FIGURES: dict[str, Callable[[_Request], Figure]] = {
    "latent-scatter": _scatter,
    "latent-grid": _grid,
    "reconstructions": _reconstructions,
    "samples": _samples,
    "class-grid": lambda request: figures.class_grid(
        request.pair, pixels=request.pixels, seed=request.seed
    ),
    "interpolation": _interpolation,
    "components": lambda request: figures.mixture_means(request.pair),
    "curves": _curves,
}


def _read_history(run: Path) -> History:
    """The history of a run from its files."""
    record = Run(run).describe()
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
        remark=training.get("remark", ""),  # runs of earlier versions have none
    )
