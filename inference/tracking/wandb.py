"""Weights & Biases: runs of a project there, or offline in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from torch import Tensor

from inference.tracking.contents import pixels_of
from inference.tracking.tracker import Ending, Log, TrackedRun, Tracker, check_installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["WandB"]

_BINS = 64


class WandB(Tracker):
    """Tells Weights & Biases of a training: its history, configuration, figures and histograms.

    Parameters
    ----------
    project, entity
        The project, and whose it is; the user's own unless given.
    mode
        ``"online"``, or ``"offline"``: files that ``wandb sync`` sends later; what
        ``$WANDB_MODE`` says unless given.
    folder
        Where it keeps its files, in a folder ``wandb``; the run folder unless given.
    figures, at, histograms
        As for :class:`inference.tracking.Tracker`.

    Raises
    ------
    UsageError
        If wandb is not installed.
    """

    def __init__(
        self,
        project: str = "pyro-models",
        entity: str | None = None,
        *,
        mode: Literal["online", "offline"] | None = None,
        folder: str | Path | None = None,
        figures: Sequence[str] | None = None,
        at: Sequence[int | str] = ("start", "half", "end"),
        histograms: bool = True,
    ) -> None:
        super().__init__(figures=figures, at=at, histograms=histograms)
        check_installed("wandb")
        self.project, self.entity, self.mode = project, entity, mode
        self.folder = None if folder is None else Path(folder)

    @property
    def key(self) -> str:
        """Its class, and whose project."""
        return f"WandB {self.entity or ''}/{self.project}"

    def open(self, run: TrackedRun) -> Log:
        """A run of the project, or the one that this training has had there."""
        import wandb

        folder = self.folder or run.folder or Path()
        folder.mkdir(parents=True, exist_ok=True)
        found = wandb.init(
            project=self.project,
            entity=self.entity,
            name=run.name,
            id=run.memory.get("id"),
            dir=str(folder),
            config=dict(run.settings),
            mode=self.mode,
            resume="allow",
            reinit="create_new",  # several seeds are told of at once
            settings=wandb.Settings(silent=True, init_timeout=20),
        )
        run.memory["id"] = found.id
        return _History(found, run)


class _History:
    """The history of one run; what is told of one epoch is one row."""

    def __init__(self, run: Any, tracked: TrackedRun) -> None:
        self.run = run
        # offline nobody can be asked
        self.last_epoch = run.starting_step - 1 if run.resumed else tracked.memory.get("epoch", -1)

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Numbers of the row of this epoch."""
        self.run.log(dict(values), step=epoch)
        self.last_epoch = max(self.last_epoch, epoch)

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        """An image."""
        import wandb

        self.run.log({f"figures/{name}": wandb.Image(pixels_of(figure))}, step=epoch)

    def histogram(self, name: str, values: Tensor, epoch: int) -> None:
        """A histogram."""
        import wandb

        counted = np.histogram(values.double().numpy(), bins=_BINS)
        self.run.log({name: wandb.Histogram(np_histogram=counted)}, step=epoch)

    def close(self, ending: Ending) -> None:
        """Say how it ended."""
        self.run.finish(exit_code=0 if ending == "finished" else 1)
