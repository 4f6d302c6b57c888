"""What happened in each epoch, and how it ended."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass, field, fields

__all__ = ["Epoch", "History"]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training data; bounds in nats per datum, higher is better.

    Attributes
    ----------
    epoch
        1, 2, …
    running
        Mean of the objective over the epoch's steps, while the parameters moved (and at its β).
    train, validation
        The bound after the epoch, at fixed parameters, β = 1 and the same draws every epoch;
        ``None`` where it was not computed.
    learning_rate, beta
        At the end of the epoch.
    seconds
        Wall time of the epoch's training steps.
    measures
        What else the objective measures of its steps, by name, on average over the epoch.
    """

    epoch: int
    running: float
    train: float | None
    validation: float | None
    learning_rate: float
    beta: float
    seconds: float
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class History:
    """All epochs of a run.

    Attributes
    ----------
    epochs
        The records.
    objective
        What was maximised.
    start
        How parameters were started from data, if they were.
    best_epoch
        Epoch of the best validation bound, if there is one.
    stopped
        Why training ended.
    remark
        What must be said beside the values, where they bound no evidence; else empty.
    recorded
        Whether steps were recorded once and run again, to the end.
    not_recorded
        Why they were not; else empty.
    at_once
        Number of seeds whose copies of the pair were trained as one; 1 where it was trained alone.
    not_at_once
        Why several seeds were trained one after the other; else empty.
    beta
        Weight of the latent terms at the end: the objective's own, times that of the warm-up.
    warnings
        What :data:`inference.learning.CHECKS` warned of, in lines.
    diverged
        What the last check of divergence said; empty if the training ended well.
    """

    epochs: tuple[Epoch, ...]
    objective: str
    start: str | None = None
    best_epoch: int | None = None
    stopped: str = ""
    unit: str = "nats per datum"
    remark: str = ""
    recorded: bool = False
    not_recorded: str = ""
    at_once: int = 1
    not_at_once: str = ""
    beta: float = 1.0
    warnings: tuple[str, ...] = ()
    diverged: str = ""

    def to_csv(self) -> str:
        """The records as CSV text with a header."""
        out = io.StringIO()
        names = [f.name for f in fields(Epoch) if f.name != "measures"]
        names += dict.fromkeys(name for record in self.epochs for name in record.measures)
        writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**asdict(record), **record.measures} for record in self.epochs)
        return out.getvalue()
