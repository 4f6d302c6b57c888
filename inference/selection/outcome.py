"""How one run of a sweep ended."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from inference.evaluation import Evaluation
from pyro_models.brief import Brief

__all__ = ["Outcome"]


@dataclass(frozen=True)
class Outcome(Brief):
    """How one run ended.

    Attributes
    ----------
    folder, seed
        The folder of the run, and the random seed of weights, shuffling, preparation and sampling.
    evaluation, failure
        Its scores on validation data, ``None`` if it failed; and why it failed, in one line, empty
        if it did not.
    epochs, seconds, stopped
        Epochs trained, wall time of their steps, and why training ended.
    threads
        Number of threads it was trained with; a run is the same bit for bit for the same number
        only.
    repeated
        Whether it was found finished, and not trained now.
    pending
        Whether it is another's to train, and not there yet.
    pruned
        At which epoch it was pruned, and why, or under which other seed; empty if it was not.
    """

    folder: Path
    seed: int
    evaluation: Evaluation | None
    failure: str = ""
    epochs: int = 0
    seconds: float = 0.0
    stopped: str = ""
    threads: int = 1
    repeated: bool = False
    pending: bool = False
    pruned: str = ""
