"""``pyro-models sample`` and ``plot``: what a trained pair makes and looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch

from inference import figures
from inference.commands.files import free_figure_path, free_path, open_run, save_figure
from inference.figures.registry import Shown, figure_named, figures_of_pairs
from inference.learning import Run
from inference.learning.history import Epoch, History
from inference.posterior import generate
from pyro_models import Pair, UsageError
from pyro_models.files import write_atomically
from pyro_models.seeds import check_seed

__all__ = ["plot", "sample"]


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
        n: Number of data.
        label: Their label, for a pair that needs labels; all labels in turn unless given.
        pixels: Draw pixels, or give their means.
        seed: Random seed of the draws.
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


def plot(
    run: str,
    figure: str = "prior_samples",
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
        figure: Name of the figure, with what it needs: FIGURES; or mine.py:FUNCTION, which returns
            a figure, and whose arguments are named as in Shown.
        n: Number of test data shown, where a figure shows as many as one likes.
        label: Label of samples and of the latent grid, for a pair that needs labels.
        latents: Reconstructions from sampled or from mean z.
        pixels: Means of pixels, or draws of them (reconstructions, prior_samples, class_grid).
        size: Images along a side of the latent grid.
        span: Even latent grid from this z to that, e.g. "[-4, 4]"; normal quantiles unless given.
        seed: Random seed of the samples.
        out: PNG, PDF or SVG file; FIGURE.png in the run folder's figures unless given.
        force: Replace that file.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
    """
    drawn = figure_named(figure)
    name = drawn.name if ".py:" in figure else figure
    target = free_figure_path(out or f"{run}/figures/{name}.png", option="out", force=force)
    check_seed(seed)
    if n < 1:
        raise UsageError(f"n must be at least 1; got {n}")
    pair = Run(run).load_pair(device=device)
    _check_label(pair, label)
    shown = Shown(
        pair=pair,
        load_test=lambda: open_run(run)[1].prepared("test", seed=seed, limit=n),
        load_history=lambda: _read_history(Path(run)),
        n=n,
        label=label,
        latents=latents,
        pixels=pixels,
        size=size,
        span=span,
        seed=seed,
    )
    save_figure(drawn.draw(shown), target)
    print(f"{name} of {Path(run).name} in {target}")


plot.__doc__ = (plot.__doc__ or "").replace(
    "FIGURES",
    ", ".join(f"{n} ({f.needs})" if f.needs else n for n, f in figures_of_pairs().items()),
)


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
