"""What the subcommands of ``pyro-models`` do; options are named as in the Python interface."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from matplotlib.figure import Figure

from inference import figures
from inference.evaluation import Comparison, Evaluation
from inference.evaluation import compare as compare_evaluations
from inference.evaluation import evaluate as evaluate_pair
from inference.learning import Fit, Run, Snapshots, fit
from inference.learning.callbacks import Callback
from inference.learning.files import write_atomically
from inference.learning.history import Epoch, History
from inference.posterior import generate
from inference.undisturbed import seeded
from pyro_models import ImageData, Pair, UsageError, build, load_data
from pyro_models.data import Split

__all__ = ["FIGURES", "compare", "evaluate", "plot", "sample", "train"]


def train(
    model: str = "vae",
    options: dict[str, Any] | None = None,
    data: str = "digits",
    preparation: str | None = None,
    all_training: bool = False,
    objective: str = "elbo",
    optimizer: str = "Adam",
    optimizer_options: dict[str, Any] | None = None,
    lr: float = 1e-3,
    schedule: str | None = None,
    schedule_options: dict[str, Any] | None = None,
    epochs: int = 25,
    batch_size: int = 128,
    clip_norm: float | None = None,
    beta_warmup: int = 0,
    patience: int | None = None,
    min_improvement: float = 0.0,
    restore_best: bool = False,
    curve_size: int = 10_000,
    snapshots: list[int | Literal["start", "half", "end"]] | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    out: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Fit:
    """Train a model/guide pair and keep it in a run folder.

    Args:
        model: vae, cvae, ppca or gmm.
        options: Options of the model, e.g. --options.latent_dim 2 --options.hidden "[400, 100]".
        data: digits (bundled), mnist, fashion-mnist, or a .npy or .npz file.
        preparation: grey, threshold, dynamic, static or dequantised; what suits the likelihood
            unless given.
        all_training: Use all training data; no validation split is left.
        objective: elbo (the right one for the pair), trace, mean_field, trace_graph or trace_enum.
        optimizer: Name from torch.optim; fused where it can be.
        optimizer_options: Further options of the optimiser.
        lr: Learning rate, for the bound per datum.
        schedule: Name from torch.optim.lr_scheduler, stepped once per batch.
        schedule_options: Options of the schedule.
        epochs: Passes over the training data.
        batch_size: Data per step.
        clip_norm: Largest norm of the gradient of the bound per datum.
        beta_warmup: Epochs over which the weight of the latent terms rises to 1.
        patience: Stop after this many epochs without a better validation bound.
        min_improvement: What counts as better, in nats per datum.
        restore_best: End with the parameters of the best validation epoch.
        curve_size: Training data on which the training curve is computed; 0 for no curves.
        snapshots: Epochs at which samples are drawn into the run folder: numbers, start, half, end.
        seed: Of weights, shuffling, preparation and sampling.
        device: cpu, cuda or mps.
        precision: float32, or bfloat16 for the networks.
        out: Run folder; runs/MODEL-DATA unless given.
        resume: Go on from the last checkpoint in the run folder.
        force: Replace a run that is in the folder.
        progress: Show a progress bar.
    """
    images = load_data(data, all_training=all_training)
    with seeded(seed, torch.device("cpu")):
        pair = build(model, images.data_shape, num_classes=images.num_classes, **(options or {}))
    if preparation is None:
        preparation = pair.likelihood.preparation if images.is_images else "grey"
    if preparation != "grey":
        images = images.with_preparation(preparation)
    folder = Path(out or f"runs/{model}-{Path(data).stem}")
    callbacks: list[Callback] = [Snapshots(_samples_of, at=snapshots)] if snapshots else []
    result = fit(
        pair,
        images,
        objective=objective,
        optimizer=optimizer,
        optimizer_options=optimizer_options,
        lr=lr,
        schedule=schedule,
        schedule_options=schedule_options,
        epochs=epochs,
        batch_size=batch_size,
        clip_norm=clip_norm,
        beta_warmup=beta_warmup,
        patience=patience,
        min_improvement=min_improvement,
        restore_best=restore_best,
        curve_size=curve_size,
        callbacks=callbacks,
        seed=seed,
        device=device,
        precision=precision,
        out=folder,
        resume=resume,
        force=force,
        progress=progress,
    )
    if result.history.epochs:
        _save_figure(figures.learning_curves(result.history), folder / "history.png")
    print(_summary(result))
    return result


def _samples_of(pair: Pair) -> Figure:
    return figures.class_grid(pair) if pair.num_classes else figures.prior_samples(pair)


def _summary(result: Fit) -> str:
    history, lines = result.history, []
    if history.epochs:
        last = history.epochs[-1]
        curves = {"train": last.train, "validation": last.validation}
        bounds = [f"{name} {value:.2f}" for name, value in curves.items() if value is not None]
        lines.append(
            f"bound after epoch {last.epoch}: {', '.join(bounds) or f'running {last.running:.2f}'} "
            f"{history.unit} ({history.objective})"
        )
    lines.append(f"stopped: {history.stopped}")
    lines.append(f"kept in {result.out}; judge it with: pyro-models evaluate {result.out}")
    return "\n".join(lines)


def _open(run: str, data: str | None = None) -> tuple[Pair, ImageData, dict[str, Any]]:
    """The pair of a run and the data it was trained on, prepared in the same way."""
    folder = Run(run)
    record = folder.describe()
    pair = folder.load_pair()
    used = record["data"]
    images = load_data(data or used["name"], all_training="validation" not in used["splits"])
    if used["preparation"] != "grey":
        images = images.with_preparation(used["preparation"])
    return pair, images, record


def evaluate(
    run: str,
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Evaluation:
    """Score a trained pair: bounds, exact evidence where it exists, reconstruction errors.

    Args:
        run: Run folder.
        data: Other data than those it was trained on.
        split: Which split.
        num_particles: K of the importance-sampled bound.
        limit: Only the first so many data.
        seed: Of preparation and particles.
        out: JSON file for the scores.
        force: Replace that file.
        progress: Show a progress bar.
    """
    target = _free(out, force=force)
    result = _evaluate(
        run, data, split=split, num_particles=num_particles, limit=limit, seed=seed, bar=progress
    )
    print(result)
    if target is not None:
        write_atomically(target, result.to_json())
    return result


def _evaluate(run: str, data: str | None, *, bar: bool, **options: Any) -> Evaluation:
    pair, images, _ = _open(run, data)
    return evaluate_pair(pair, images, name=Path(run).name, progress=bar, **options)


def compare(
    runs: list[str],
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_particles: int = 100,
    limit: int | None = None,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
    progress: bool = True,
) -> Comparison:
    """Score several runs and put into one column only what may be compared.

    Args:
        runs: Run folders.
        data: Other data than those they were trained on.
        split: Which split.
        num_particles: K of the importance-sampled bound.
        limit: Only the first so many data.
        seed: Of preparation and particles.
        out: Folder for comparison.csv, comparison.md and comparison.html.
        force: Replace those files.
        progress: Show progress bars.
    """
    names = ("comparison.csv", "comparison.md", "comparison.html")
    targets = [_free(f"{out}/{name}", force=force) for name in names] if out else []
    rows = [
        _evaluate(
            run,
            data,
            split=split,
            num_particles=num_particles,
            limit=limit,
            seed=seed,
            bar=progress,
        )
        for run in runs
    ]
    table = compare_evaluations(rows)
    print(table.to_text())
    for path, text in zip(
        targets, (table.to_csv(), table.to_markdown(), table.to_html()), strict=bool(targets)
    ):
        assert path is not None
        write_atomically(path, text)
    return table


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
    target = _free(out, force=force)
    assert target is not None
    if target.suffix not in (".npy", ".png"):
        raise UsageError(f"out must end in .npy or .png; got {out}")
    pair = Run(run).load_pair()
    y = _labels(pair, n, label)
    if target.suffix == ".png":
        _save_figure(figures.prior_samples(pair, n=n, y=y, pixels=pixels, seed=seed), target)
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
    target = _free(out or f"{run}/figures/{figure}.png", force=force)
    assert target is not None
    if target.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"out must end in .png, .pdf or .svg; got {target}")
    pair, images, record = _open(run)
    if figure == "curves":
        drawn = figures.learning_curves(_read_history(Path(run), record))
    else:
        test = images.prepared("test", seed=seed, limit=n)
        with seeded(seed, torch.device("cpu")):
            drawn = FIGURES[figure](pair, test, seed)
    _save_figure(drawn, target)
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


def _free(path: str | None, *, force: bool) -> Path | None:
    """A path that may be written to.

    Raises
    ------
    UsageError
        If something is there and ``force`` is not given.
    """
    if path is None:
        return None
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file")
    if target.exists() and not force:
        raise UsageError(f"{target} is already there: replace it with --force, or name another")
    return target


def _save_figure(figure: Figure, path: Path) -> None:
    kind = path.suffix.removeprefix(".")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150))
