"""``pyro-models train``: learn a pair and keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from matplotlib.figure import Figure

from inference import figures
from inference.commands.files import printed_after, save_figure
from inference.learning import Fit, Run, Snapshots, fit
from inference.learning.callbacks import Callback
from inference.learning.preparation import prepared_for
from inference.learning.recorded_data import is_labelled_only, recall
from pyro_models import Pair, UsageError, build, load_data
from pyro_models.data import DATA_SETS
from pyro_models.seeds import check_seed, seeded

__all__ = ["recorded_options", "train"]


def train(
    model: str = "vae",
    options: dict[str, Any] | None = None,
    data: str = "digits",
    preparation: str | None = None,
    all_training: bool = False,
    split_seed: int = 0,
    levels: int | None = None,
    labels: int | float | None = None,
    labels_seed: int = 0,
    labelled_only: bool = False,
    objective: str = "elbo",
    objective_options: dict[str, Any] | None = None,
    optimizer: str = "Adam",
    optimizer_options: dict[str, Any] | None = None,
    lr: float = 1e-3,
    schedule: str | None = None,
    schedule_options: dict[str, Any] | None = None,
    epochs: int = 25,
    batch_size: int = 128,
    labelled_per_batch: int = 0,
    clip_norm: float | None = None,
    beta_warmup: int = 0,
    patience: int | None = None,
    min_improvement: float = 0.0,
    noise_multiple: float = 0.0,
    restore_best: bool = False,
    curve_size: int = 10_000,
    snapshots: list[int | Literal["start", "half", "end"]] | None = None,
    start: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    precision: str = "float32",
    capture: bool = False,
    out: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
) -> Fit:
    """Train a model/guide pair and keep it in a run folder.

    Args:
        model: vae, cvae, m2, two_layer_vae, completion_cvae, ppca, gmm or bernoulli_mixture.
        options: Options of the model, e.g. --options.latent_dim 2 --options.hidden "[400, 100]".
        data: digits (bundled), mnist, fashion-mnist, or a .npy or .npz file.
        preparation: grey, threshold, dynamic, static or dequantised; what suits the likelihood
            unless given.
        all_training: Use all training data; no validation split is left.
        split_seed: Random seed of the split of a file that holds one array.
        levels: Number of grey levels of a file's images, where it cannot be told (16 of 4 bits).
        labels: How many training labels are kept, equally many of each class: a number, or a
            fraction such as 0.5; the others are missing (-1). All of them unless given.
        labels_seed: Random seed of the draw of these labels.
        labelled_only: Train on the data with a label alone.
        objective: elbo (the right one for the pair); mean_field, monte_carlo, stl, iwae, dreg,
            renyi, rws, js, geometric_js; or Pyro's trace, trace_mean_field, trace_graph,
            trace_enum.
        objective_options: Options of the objective, e.g. --objective_options.num_particles 5.
        optimizer: Name from torch.optim; fused where it can be.
        optimizer_options: Further options of the optimiser.
        lr: Learning rate, for the bound per datum.
        schedule: Name from torch.optim.lr_scheduler, stepped once per batch.
        schedule_options: Options of the schedule.
        epochs: Passes over the training data.
        batch_size: Data per step.
        labelled_per_batch: Data with a label beside them in each step, where labels are few.
        clip_norm: Largest norm of the gradient of the bound per datum.
        beta_warmup: Epochs over which the weight of the latent terms rises to 1.
        patience: Stop after this many epochs without a better validation bound.
        min_improvement: What counts as better, in nats per datum.
        noise_multiple: What counts as better, in standard errors of the paired difference between
            two epochs' validation bounds.
        restore_best: End with the parameters of the best validation epoch.
        curve_size: Training data on which the training curve is computed; 0 for no curves.
        snapshots: Epochs at which samples are drawn into the run folder: numbers, start, half, end.
        start: A run folder of the same model: begin with its weights.
        seed: Of weights, shuffling, preparation and sampling.
        device: cpu, cuda, cuda:1 or mps.
        precision: float32, or bfloat16 for the networks.
        capture: Record one step and run the record: faster for small networks, the same numbers.
        out: Run folder; runs/PRESET, or runs/MODEL-DATA, unless given.
        resume: Go on from the last checkpoint in the run folder.
        force: Replace a run that is in the folder.
        progress: Show a progress bar.
    """
    images = load_data(data, all_training=all_training, seed=split_seed, levels=levels)
    if labels is not None:
        images = images.with_labels(labels, seed=labels_seed)
    if labelled_only:
        images = images.labelled()
    if "num_classes" in (options or {}):
        raise UsageError("the number of classes comes from the data: leave num_classes out")
    check_seed(seed)
    with seeded(seed, torch.device("cpu")):
        pair = build(model, images.data_shape, num_classes=images.num_classes, **(options or {}))
    images = prepared_for(pair, images, preparation=preparation)
    folder = Path(out or f"runs/{model}-{Path(data).stem}")
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in images.splits.items())
    scaling = f", {images.scaling}" if images.scaling else ""
    print(f"{model} of {images.name}: {sizes}; {images.preparation} pixels{scaling}", flush=True)
    callbacks: list[Callback] = [Snapshots(_samples_of, at=snapshots)] if snapshots else []
    with Run(folder).held():  # its figure, too, is of this training
        result = fit(
            pair,
            images,
            objective=objective,
            objective_options=objective_options,
            optimizer=optimizer,
            optimizer_options=optimizer_options,
            lr=lr,
            schedule=schedule,
            schedule_options=schedule_options,
            epochs=epochs,
            batch_size=batch_size,
            labelled_per_batch=labelled_per_batch,
            clip_norm=clip_norm,
            beta_warmup=beta_warmup,
            patience=patience,
            min_improvement=min_improvement,
            noise_multiple=noise_multiple,
            restore_best=restore_best,
            curve_size=curve_size,
            callbacks=callbacks,
            start=start,
            seed=seed,
            device=device,
            precision=precision,
            capture=capture,
            out=folder,
            resume=resume,
            force=force,
            progress=progress,
        )
        with printed_after(lambda: _summary(result)):
            if result.history.epochs:
                save_figure(figures.learning_curves(result.history), folder / "history.png")
    return result


def recorded_options(out: str, *, elsewhere: bool = False) -> dict[str, Any]:
    """The options that the run in ``out`` was begun with, so that resuming need not repeat them.

    Its data are looked for, unless they are named anew (``elsewhere``).

    Raises
    ------
    UsageError
        If there is no run, or its data are not there or have changed.
    """
    run = Run(out)
    if not run.exists:
        raise UsageError(f"there is no run to resume in {out}")
    record = run.describe()
    made_by_data = ("data_shape", "num_classes")
    labels, labels_seed = record["data"].get("labels_kept") or (None, 0)
    sizes = record["data"].get("splits", {})
    return {
        "model": record["model"],
        "options": {k: v for k, v in record["config"].items() if k not in made_by_data},
        "data": record["data"].get("name") if elsewhere else recall(record["data"], run=out).place,
        "preparation": record["data"].get("preparation"),
        "all_training": "validation" not in sizes,
        "split_seed": record["data"].get("split_seed") or 0,
        "levels": None if record["data"].get("name") in DATA_SETS else record["data"].get("levels"),
        "labels": labels,
        "labels_seed": labels_seed,
        "labelled_only": is_labelled_only(record["data"]),
        **record["settings"],
    }


def _samples_of(pair: Pair) -> Figure:
    return figures.class_grid(pair) if pair.num_classes else figures.prior_samples(pair)


def _summary(result: Fit) -> str:
    history, lines = result.history, []
    if history.epochs:
        last = history.epochs[-1]
        curves = {"train": last.train, "validation": last.validation}
        bounds = [f"{name} {value:.2f}" for name, value in curves.items() if value is not None]
        lines.append(
            f"{'objective' if history.remark else 'bound'} after epoch {last.epoch}: "
            f"{', '.join(bounds) or f'running {last.running:.2f}'} "
            f"{history.unit} ({history.objective})"
        )
    if history.remark:
        lines.append(f"{history.objective}: {history.remark}")
    lines.append(f"stopped: {history.stopped}")
    lines.append(f"kept in {result.out}; judge it with: pyro-models evaluate {result.out}")
    return "\n".join(lines)
