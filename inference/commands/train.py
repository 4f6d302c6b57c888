"""``pyro-models train``: learn a pair and keep it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.command import command
from inference.commands.files import printed_after, save_figure
from inference.declared import takes
from inference.experiment import Experiment
from inference.learning import Fit, Run, Settings
from inference.learning.data_parallel import is_first
from inference.learning.recorded_data import recall
from pyro_models import UsageError

__all__ = ["folder_name", "recorded_options", "train"]


@command
@takes(Experiment, Settings, plain=True)
def train(
    init_from: str | None = None,
    out: str | None = None,
    resume: bool = False,
    force: bool = False,
    progress: bool = True,
    **options: Any,
) -> Fit:
    """Train a model/guide pair and keep it in a run folder.

    Args:
        options: One of :class:`inference.Experiment` and its settings.
        init_from: Run folder of the same model whose weights training begins with.
        out: Run folder; runs/PRESET, or runs/MODEL-DATA, unless given.
        resume: Go on from the last checkpoint in the run folder.
        force: Replace a run that is in the folder.
        progress: Show a progress bar.
    """
    experiment = Experiment.from_dict(options)
    pair, images = experiment.make()
    folder = Path(out or f"runs/{folder_name(experiment)}")
    sizes = ", ".join(f"{name} {len(split):,}" for name, split in images.splits.items())
    scaling = f", {images.scaling}" if images.scaling else ""
    print(
        f"{experiment.model} of {images.name}: {sizes}; {images.preparation} pixels{scaling}",
        flush=True,
    )
    with Run(folder).held():  # its figure, too, is of this training
        result = experiment.run(
            made=(pair, images),
            init_from=init_from,
            out=folder,
            resume=resume,
            force=force,
            progress=progress,
        )
        with printed_after(lambda: _summary(result)):
            if result.history.epochs and is_first():
                save_figure(figures.learning_curves(result.history), folder / "history.png")
    return result


def folder_name(experiment: Experiment) -> str:
    """MODEL-DATA, for a folder."""
    name = str(experiment.model).rpartition(":")[2]  # of a class of a file, the class
    return f"{name}-{Path(str(experiment.data)).stem}"


def recorded_options(out: str, *, elsewhere: bool = False) -> dict[str, Any]:
    """The options that the run in ``out`` was begun with, so that resuming need not repeat them.

    Its data are looked for, unless they are named anew (``elsewhere``).
    """
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
    if history.remark:
        lines.append(f"{history.objective}: {history.remark}")
    lines.append(f"stopped: {history.stopped}")
    lines.append(f"kept in {result.out}; judge it with: pyro-models evaluate {result.out}")
    return "\n".join(lines)
