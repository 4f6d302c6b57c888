"""What happened in each epoch, and how it ended."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pyro_models.brief import Brief

__all__ = ["Epoch", "History", "read_epochs"]


@dataclass(frozen=True)
class Epoch(Brief):
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
class History(Brief):
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
    curve_data
        On how many data of each split the bounds ``train`` and ``validation`` are.
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
    curve_data: dict[str, int] = field(default_factory=dict)

    def facts(self) -> Mapping[str, object]:
        """How many epochs, the last bound, and how it ended."""
        found: dict[str, object] = {"epochs": len(self.epochs), "objective": self.objective}
        last = self.epochs[-1] if self.epochs else None
        for name in ("validation", "train", "running"):
            value = getattr(last, name, None)
            if value is not None:
                found[f"last {name}"] = f"{value:.2f} {self.unit}"
                break
        return {**found, "best epoch": self.best_epoch, "stopped": self.stopped}

    def to_csv(self) -> str:
        """The records as CSV text with a header."""
        out = io.StringIO()
        names = [f.name for f in fields(Epoch) if f.name != "measures"]
        names += dict.fromkeys(name for record in self.epochs for name in record.measures)
        writer = csv.DictWriter(out, names, lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows({**asdict(record), **record.measures} for record in self.epochs)
        return out.getvalue()


def read_epochs(text: str) -> tuple[Epoch, ...]:
    """The records that :meth:`History.to_csv` wrote.

    >>> epoch = Epoch(1, -9.5, None, -9.0, 1e-3, 1.0, 0.5, {"accuracy": 0.5})
    >>> read_epochs(History((epoch,), objective="elbo").to_csv()) == (epoch,)
    True
    """
    own = {f.name for f in fields(Epoch)}
    found = []
    for row in csv.DictReader(io.StringIO(text)):
        values: dict[str, Any] = {n: float(v) if v else None for n, v in row.items()}
        measures = {n: v for n, v in values.items() if n not in own and v is not None}
        known = {n: v for n, v in values.items() if n in own}
        found.append(Epoch(**{**known, "epoch": int(values["epoch"])}, measures=measures))
    return tuple(found)
