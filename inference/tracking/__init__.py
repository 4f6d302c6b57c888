"""Trackers: callbacks that tell TensorBoard, MLflow or Weights & Biases of a training.

``fit(..., callbacks=[TensorBoard()])``, or ``pyro-models train --track tensorboard``. All of them
are one class, :class:`Tracker`, over one protocol, :class:`Log`; ``TRACKERS`` has them by name, and
a class of your own is registered there, or named by its file, ``mine.py:MyTracker``.
"""

from inference.tracking.mlflow import MLflow
from inference.tracking.named import TRACKERS, make_trackers
from inference.tracking.tensorboard import TensorBoard
from inference.tracking.tracker import Ending, Log, TrackedRun, Tracker
from inference.tracking.wandb import WandB

__all__ = [
    "TRACKERS",
    "Ending",
    "Log",
    "MLflow",
    "TensorBoard",
    "TrackedRun",
    "Tracker",
    "WandB",
    "make_trackers",
]
