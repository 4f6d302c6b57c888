"""``pyro-models train``: learn a pair and keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.command import command
from inference.commands.files import printed_after, save_figure, seed_folders
from inference.declared import takes
from inference.experiment import Experiment
from inference.learning import Fit, Fits, Run, Settings
from inference.learning.data_parallel import is_first
from inference.learning.recorded_data import recall
from inference.progress import announce
from pyro_models import UsageError
from pyro_models.contract import has_encoder

__all__ = ["folder_name", "recorded_options", "train"]


@command
@takes(Experiment, Settings, plain=True)
def train(
    init_from: str | None = None,
    out: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    seeds: list[int] | None = None,
    **options: Any,
) -> Fit | Fits:
    """Train a model/guide pair and keep it in a run folder.

    Args:
        options: One of :class:`inference.Experiment` and its settings.
        init_from: Run folder of the same model whose weights training begins with.
        out: Run folder; runs/PRESET, or runs/MODEL-DATA, unless given.
        resume: Go on from the last checkpoint in the run folder.
        force: Replace a run that is in the folder.
        progress: Show a progress bar.
        seeds: Train under each of these seeds, at once where that can be: --seeds 0 1 2. Each has
            a run folder of its own, OUT/seed-0 and so on.
    """
    if seeds is not None and options.get("seed"):
        raise UsageError("give --seeds, or one --seed")
    experiment = Experiment.from_dict(options)
    pair, images = experiment.make()
    folder = Path(out or f"runs/{folder_name(experiment)}")
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in images.splits.items())
    scaling = f", {images.scaling}" if images.scaling else ""
    how_read = images.scaling if images.table else f"{images.preparation_in_words}{scaling}"
    announce(f"{experiment.model} of {images.name}: {sizes}; {how_read}")
    how: dict[str, Any] = {"made": (pair, images), "init_from": init_from, "out": folder}
    how |= {"resume": resume, "force": force, "progress": progress, "summary": True}
    if seeds is not None:
        several = experiment.run(seeds=seeds, **how)
        with printed_after(lambda: _summary_of_seeds(several)):
            for each in several.fits:
                _save_curves(each)
        _refuse_diverged(*several.fits)
        return several
    with Run(folder).held():  # its figure, too, is of this training
        result = experiment.run(**how)
        with printed_after(lambda: _summary(result)):
            _save_curves(result)
    _refuse_diverged(result)
    return result


def _save_curves(result: Fit) -> None:
    if result.history.epochs and result.out is not None and is_first():
        save_figure(
            figures.learning_curves(result.history, pair=result.pair), result.out / "history.png"
        )


def _refuse_diverged(*results: Fit) -> None:
    """End with a line of complaint and code 2; the run folder is kept as it is."""
    for result in results:
        if result.history.diverged:
            raise UsageError(f"{result.out}: {result.history.diverged}")


def folder_name(experiment: Experiment) -> str:
    """MODEL-DATA, for a folder."""
    name = str(experiment.model).rpartition(":")[2]  # of a class of a file, the class
    return f"{name}-{Path(str(experiment.data)).stem}"


def recorded_options(out: str, *, elsewhere: bool = False) -> dict[str, Any]:
    """The options that the run in ``out`` was begun with, so that resuming need not repeat them.

    Its data are looked for, unless they are named anew (``elsewhere``). Of several seeds they are
    those of the first, and the seeds.
    """
    seeds = seed_folders(out)
    if seeds:
        options = recorded_options(str(seeds[0]), elsewhere=elsewhere)
        options.pop("seed", None)
        return {**options, "seeds": [int(Run(s).describe()["settings"]["seed"]) for s in seeds]}
    run = Run(out)
    if not run.exists:
        raise UsageError(f"there is no run to resume in {out}")
    options = Experiment.load(out).to_dict()
    if not elsewhere:
        options["data"] = recall(run.describe()["data"], run=out).place
    return options


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
    if history.epochs and history.epochs[-1].measures:
        found = history.epochs[-1].measures.items()
        lines.append(", ".join(f"{name.replace('_', ' ')} {value:.2f}" for name, value in found))
    if history.remark:
        lines.append(f"{history.objective}: {history.remark}")
    if history.epochs and history.not_recorded not in ("", "capture is off"):
        lines.append(f"steps were run, not recorded: {history.not_recorded}")
    lines.append(f"stopped: {history.stopped}")
    judge = "evaluate" if has_encoder(result.pair) else "evidence"  # bounds by the prior are loose
    lines.append(f"kept in {result.out}; judge it with: pyro-models {judge} {result.out}")
    return "\n".join(lines)


def _summary_of_seeds(result: Fits) -> str:
    lines = []
    for seed, fit, bound in zip(result.seeds, result.fits, result.bounds, strict=True):
        lines.append(f"seed {seed}: {bound:.2f} ({fit.history.objective}); {fit.history.stopped}")
    history = result.fits[0].history
    if history.remark:
        lines.append(f"{history.objective}: {history.remark}")
    if history.not_at_once:
        lines.append(f"the seeds were trained one after the other: {history.not_at_once}")
    lines.append(f"at the end: {result}")
    lines.append(f"kept in {result.out}; judge them with: pyro-models compare {result.out}")
    return "\n".join(lines)
