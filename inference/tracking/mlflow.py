"""MLflow: runs of a tracking server, a database or a folder."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor

from inference.tracking.tracker import Ending, Log, TrackedRun, Tracker, check_installed

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MLflow"]

_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
"""What a server is waited for, where nobody has said otherwise: a training is not to wait."""

_LONGEST = 500
_AT_ONCE = 100
"""Characters of a parameter, and parameters of one request, that every server takes."""


class MLflow(Tracker):
    """Tells MLflow of a training: metrics, parameters, figures as artifacts.

    MLflow has no histograms: mean and standard deviation of each are told in their place.

    Parameters
    ----------
    uri
        The tracking server, such as ``"http://localhost:5000"`` or ``"sqlite:///mlflow.db"``; what
        MLflow itself takes, ``$MLFLOW_TRACKING_URI``, unless given.
    experiment
        The experiment of MLflow that runs are put into; it is made if there is none.
    figures, at, histograms
        As for :class:`inference.tracking.Tracker`.

    Raises
    ------
    UsageError
        If mlflow is not installed.
    """

    def __init__(
        self,
        uri: str | None = None,
        experiment: str = "pyro-models",
        *,
        figures: Sequence[str] | None = None,
        at: Sequence[int | str] = ("start", "half", "end"),
        histograms: bool = True,
    ) -> None:
        super().__init__(figures=figures, at=at, histograms=histograms)
        check_installed("mlflow")
        self.uri, self.experiment = uri, experiment

    @property
    def key(self) -> str:
        """Its class, server and experiment."""
        return f"MLflow {self.uri or ''} {self.experiment}"

    def open(self, run: TrackedRun) -> Log:
        """A run of MLflow, or the one that this training has had there."""
        from mlflow import MlflowClient

        with _impatient():
            client = MlflowClient(tracking_uri=self.uri)
            if "run_id" in run.memory:
                client.update_run(run.memory["run_id"], status="RUNNING")
            else:
                known = client.get_experiment_by_name(self.experiment)
                place = known.experiment_id if known else client.create_experiment(self.experiment)
                made = client.create_run(place, run_name=run.name)
                run.memory["run_id"] = made.info.run_id
                _write_settings(client, made.info.run_id, run.settings)
            return _Run(client, run.memory["run_id"])


def _write_settings(client: Any, run_id: str, settings: Mapping[str, Any]) -> None:
    from mlflow.entities import Param

    params = [Param(name, str(value)[:_LONGEST]) for name, value in settings.items()]
    for begin in range(0, len(params), _AT_ONCE):
        client.log_batch(run_id, params=params[begin : begin + _AT_ONCE])


class _Run:
    """One run of MLflow."""

    def __init__(self, client: Any, run_id: str) -> None:
        self.client, self.run_id = client, run_id
        told = client.get_metric_history(run_id, "training/learning_rate")
        self.last_epoch = max((each.step for each in told), default=-1)

    def numbers(self, values: Mapping[str, float], epoch: int) -> None:
        """Metrics, the epoch as their step."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, epoch) for name, value in values.items()]
        with _impatient():
            for begin in range(0, len(metrics), _AT_ONCE):
                self.client.log_batch(self.run_id, metrics=metrics[begin : begin + _AT_ONCE])
        if "training/learning_rate" in values:
            self.last_epoch = max(self.last_epoch, epoch)

    def figure(self, name: str, figure: Figure, epoch: int) -> None:
        """An artifact, a PNG file."""
        with _impatient():
            self.client.log_figure(self.run_id, figure, f"{name}/epoch-{epoch:04d}.png")

    def histogram(self, name: str, values: Tensor, epoch: int) -> None:
        """Mean and standard deviation, which stand for it."""
        flat = values.double().flatten()
        spread = float(flat.std(correction=0))
        self.numbers({f"{name}/mean": float(flat.mean()), f"{name}/sd": spread}, epoch)

    def close(self, ending: Ending) -> None:
        """Say how it ended."""
        status = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}[ending]
        with _impatient():
            self.client.set_terminated(self.run_id, status)


@contextmanager
def _impatient() -> Iterator[None]:
    """MLflow waits minutes for a server that is away; inside, seconds, unless told otherwise."""
    own = {name: value for name, value in _PATIENCE.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)
