"""``pyro-models find-lr``: a learning rate for a training, by a ramp."""

from __future__ import annotations

from typing import Any

from inference import figures
from inference.commands.command import command
from inference.commands.files import free_figure_path, free_path, printed_after, save_figure
from inference.declared import takes
from inference.experiment import Experiment
from inference.learning import FoundRate, Settings
from inference.learning import find_lr as find_rate
from pyro_models.files import write_atomically

__all__ = ["find_lr"]


@command
@takes(Experiment, Settings, plain=True)
def find_lr(
    lr_min: float = 1e-6,
    lr_max: float = 10.0,
    num_steps: int = 100,
    rule: str = "valley",
    init_from: str | None = None,
    out: str | None = None,
    figure: str | None = None,
    force: bool = False,
    progress: bool = True,
    **options: Any,
) -> FoundRate:
    """Look for a learning rate: the rate rises from step to step, and the loss is watched.

    Nothing is kept but the files that are named. ``train --lr find`` does it before it trains.

    Args:
        options: One of :class:`inference.Experiment` and its settings; those of a whole training,
            such as epochs, change nothing here.
        lr_min: Where the ramp begins.
        lr_max: Where it ends, unless the loss diverges before.
        num_steps: Steps of the ramp.
        rule: valley, a third of the way down the longest fall of the loss, or steepest, where it
            falls fastest with log lr.
        init_from: Run folder of the same model whose weights are begun with.
        out: JSON file for the rates and their losses.
        figure: PNG, PDF or SVG file for losses against rates.
        force: Replace files that are there.
        progress: Show a progress bar.
    """
    target = free_path(out, force=force)
    picture = free_figure_path(figure, option="figure", force=force)
    experiment = Experiment.from_dict(options)
    pair, images = experiment.make()
    found = find_rate(
        pair,
        images,
        settings=experiment.settings.replace(lr=1e-3),
        mask=experiment.mask,
        fraction=experiment.fraction,
        init_from=init_from,
        lr_min=lr_min,
        lr_max=lr_max,
        num_steps=num_steps,
        rule=rule,
        progress=progress,
    )
    with printed_after(lambda: found):
        if target is not None:
            write_atomically(target, found.to_json())
        if picture is not None:
            save_figure(figures.learning_rates(found), picture)
    return found
