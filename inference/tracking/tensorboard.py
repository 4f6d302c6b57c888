"""TensorBoard: event files, in the run folder unless another is named."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inference.tracking.contents import pixels_of
from inference.tracking.tracker import Ending, Log, TrackedRun, Tracker, check_installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["TensorBoard"]


class TensorBoard(Tracker):
    """Tells TensorBoard of a training: scalars, images, histograms, and a table of runs (HPARAMS).

    ``tensorboard --logdir runs`` shows all runs below a folder, each under the name of its own.

    Parameters
    ----------
    folder
        Where event files go, each run in a folder of its name; ``tensorboard`` in the run folder
        unless given, and ``runs`` without a run folder.
    figures, at, histograms
        As for :class:`inference.tracking.Tracker`.

    Raises
    ------
    UsageError
        If tensorboard is not installed.
    """

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        figures: Sequence[str] | None = None,
        at: Sequence[int | str] = ("start", "half", "end"),
        histograms: bool = True,
    ) -> None:
        super().__init__(figures=figures, at=at, histograms=histograms)
        check_installed("tensorboard")
        self.folder = None if folder is None else Path(folder)

    @property
    def key(self) -> str:
        """Its class and folder."""
        return f"TensorBoard {self.folder or ''}".strip()

    def place(self, run: TrackedRun) -> Path:
        """The folder of the event files of a run."""
        if self.folder is None and run.folder is not None:
            return run.folder / "tensorboard"
        return (self.folder or Path("runs")) / run.name

    def open(self, run: TrackedRun) -> Log:
        """Event files of a run; those of epochs that were lost are hidden."""
        return _Events(self.place(run), run)


class _Events:
    """The event files of one run."""

    def __init__(self, folder: Path, run: TrackedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        told = _last_epoch(folder) if any(folder.glob("events.out.tfevents.*")) else -1
        begun = bool(run.memory)  # else what lies there is of another training
        self.last_epoch = min(told, run.epoch) if begun else -1
        hide = {"purge_step": self.last_epoch + 1} if told >= 0 else {}
        self.writer = SummaryWriter(str(folder), **hide)
        run.memory["folder"] = str(folder)
        if not begun:
            self._table_of_runs(run)

    def _table_of_runs(self, run: TrackedRun) -> None:
        from torch.utils.tensorboard.summary import hparams

        names = dict.fromkeys(run.numbers, 0.0)
        for summary in hparams(dict(run.settings), names)[:2]:
            self._write(summary)
        rows = "\n".join(f"| {name} | {value} |" for name, value in run.settings.items())
        self.writer.add_text("settings", f"| setting | value |\n|---|---|\n{rows}", 0)

    def _write(self, summary: Any) -> None:
        writer: Any = self.writer._get_file_writer()  # where Python has no method for a summary
        writer.add_summary(summary)

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Scalars, written to disk at once: a training that is killed has told of its epochs."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.last_epoch = max(self.last_epoch, epoch)
        self.writer.flush()

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        """An image."""
        self.writer.add_image(name, pixels_of(figure), epoch, dataformats="HWC")
        self.writer.flush()

    def histogram(self, name: str, values: Tensor, epoch: int) -> None:
        """A histogram."""
        self.writer.add_histogram(name, values.float(), epoch)

    def close(self, ending: Ending) -> None:
        """Say how it ended, in the table of runs."""
        from torch.utils.tensorboard.summary import hparams

        status = {"finished": "SUCCESS"}.get(ending, "FAILURE")
        ended = hparams({}, {})[2]
        ended.value[0].metadata.plugin_data.content = _with_status(ended, status)
        self._write(ended)
        self.writer.close()


def _with_status(summary: Any, status: str) -> bytes:
    from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2

    content = plugin_data_pb2.HParamsPluginData.FromString(
        summary.value[0].metadata.plugin_data.content
    )
    content.session_end_info.status = api_pb2.Status.Value(f"STATUS_{status}")
    return bytes(content.SerializeToString())


def _last_epoch(folder: Path) -> int:
    """The last epoch that event files have numbers of, −1 if none."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder), size_guidance={"scalars": 1, "images": 1}).Reload()
    names = read.Tags()["scalars"]
    return max((read.Scalars(name)[-1].step for name in names), default=-1)
