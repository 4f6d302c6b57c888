"""The run folders below a folder, side by side: how far they are, and what differs between them."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from inference.evaluation.layout import width_of_tables
from inference.evaluation.quantity import NATS
from inference.evaluation.table import Table, Tabular
from inference.learning import Run
from pyro_models import UsageError
from pyro_models.files import LOCK, holding
from pyro_models.registry import check_choice

__all__ = ["SORTS", "RunList", "RunSummary", "list_runs"]

SORTS = ("name", "model", "data", "epochs", "bound", "when", "size")
"""What runs may be sorted by: names in their order, the most, the best and the latest first."""


@dataclass(frozen=True)
class RunSummary:
    """One run, as its folder tells without its weights.

    Attributes
    ----------
    name, model, data
        Its folder, seen from the one that was listed; the names of its model and data.
    epochs, asked
        Epochs that were trained, and that were asked for.
    state
        ``finished``, ``stopped early``, ``pruned``, ``interrupted`` or ``training``.
    bound, unit, best_epoch
        The best validation bound and its epoch, ``None`` where there is no such curve.
    when, size
        When its history was last written, in seconds since 1970; bytes of all its files.
    settings
        Its settings and the options of its model and data, by name.
    stopped
        Why its training ended.
    """

    name: str
    model: str
    data: str
    epochs: int
    asked: int
    state: str
    bound: float | None
    unit: str
    best_epoch: int | None
    when: float
    size: int
    settings: Mapping[str, Any]
    stopped: str = ""


@dataclass(frozen=True)
class RunList(Tabular):
    """Runs and what differs between them; printed, it is its table. ``damaged`` says what is."""

    runs: tuple[RunSummary, ...]
    folder: Path
    damaged: tuple[str, ...] = ()

    @property
    def differing(self) -> dict[str, list[str]]:
        """For each model the names of settings whose values differ between its runs."""
        found: dict[str, list[str]] = {}
        for model in dict.fromkeys(run.model for run in self.runs):
            own = [run.settings for run in self.runs if run.model == model]
            names = dict.fromkeys(name for settings in own for name in settings)
            found[model] = [n for n in names if len({_word(s.get(n)) for s in own}) > 1]
        return found

    @property
    def table(self) -> Table:
        """A row for each run."""
        names = ("run", "model", "data", "epochs", "state", "best validation bound", "when", "size")
        differing = self.differing
        rows = [
            [
                run.name,
                run.model,
                run.data,
                f"{run.epochs} of {run.asked}",
                run.state,
                None if run.bound is None else f"{run.bound:.2f} (epoch {run.best_epoch})",
                datetime.fromtimestamp(run.when).isoformat(" ", "minutes"),
                _bytes(run.size),
                ", ".join(f"{n} = {_word(run.settings.get(n))}" for n in differing[run.model]),
            ]
            for run in self.runs
        ]
        heads = [[name] for name in (*names, "what differs")]
        units = sorted({run.unit for run in self.runs if run.bound is not None})
        notes = [f"Bounds are in {' or '.join(units)}, each of its own objective and data."]
        notes = notes if units else []
        notes += [f"Damaged: {line}" for line in self.damaged]
        if not any(differing.values()):
            heads, rows = heads[:-1], [row[:-1] for row in rows]
        return Table(heads=heads, rows=rows, notes=notes, records=self._records())

    def to_text(self, width: int | None = None) -> str:
        """The table for a terminal; what differs stands below where a line has no room for it."""
        table, room = self.table, width_of_tables(width)
        if not any(self.differing.values()):
            return table.to_text(width)
        different = {str(row[0]): str(row[-1]) for row in table.rows if row[-1]}
        if all(len(f"{name}  {what}") <= room for name, what in different.items()):
            return table.to_text(width)
        lines = [f"{name}: {what}" for name, what in different.items()]
        rows = [row[:-1] for row in table.rows]
        notes = [*table.notes, "What differs between runs of a model:", *lines]
        return replace(table, heads=table.heads[:-1], rows=rows, notes=notes).to_text(width)

    def _records(self) -> list[list[object]]:
        """A line for each run, with a column for each setting that differs."""
        names = list(dict.fromkeys(n for names in self.differing.values() for n in names))
        own = ("name", "model", "data", "epochs", "asked", "state", "bound", "unit", "best_epoch")
        lines: list[list[object]] = [[*own, "when", "bytes", "stopped", *names]]
        for run in self.runs:
            when = datetime.fromtimestamp(run.when).isoformat(timespec="seconds")
            values = [_word(run.settings[n]) if n in run.settings else "" for n in names]
            lines.append([*(getattr(run, n) for n in own), when, run.size, run.stopped, *values])
        return lines


def list_runs(folder: str | Path = "runs", *, sort: str = "name") -> RunList:
    """All run folders in a folder and below, those of several seeds and of sweeps too.

    Parameters
    ----------
    folder
        Where to look.
    sort
        One of ``SORTS``.

    Raises
    ------
    UsageError
        If there is no such folder, or no run in it.

    Examples
    --------
    >>> import tempfile
    >>> from inference import Experiment, Settings
    >>> quick = Experiment("ppca", "digits", Settings(epochs=1, curve_size=100))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = quick.run(out=f"{folder}/mine", progress=False)
    ...     [run] = list_runs(folder).runs
    >>> run.name, run.model, run.epochs, run.state
    ('mine', 'ppca', 1, 'finished')
    """
    check_choice("order", sort, SORTS)
    place = Path(folder)
    if not place.is_dir():
        raise UsageError(f"there is no folder {place}: name the one that holds the runs")
    found, damaged = [], []
    for path in sorted(place.rglob("run.json")):
        try:
            found.append(_summary(path.parent, place))
        except UsageError as error:
            damaged.append(str(error))
    if not found and not damaged:
        raise UsageError(f"{place} holds no run: pyro-models train --out {place}/NAME makes one")
    return RunList(tuple(sorted(found, key=lambda run: _key(run, sort))), place, tuple(damaged))


def _key(run: RunSummary, sort: str) -> Any:
    if sort == "bound":
        return math.inf if run.bound is None else -run.bound
    value = getattr(run, sort)
    return value.lower() if isinstance(value, str) else -value


def _summary(run: Path, above: Path) -> RunSummary:
    """What the files of a run say."""
    record = Run(run).describe()
    settings, data = record["settings"], record["data"]
    curve = _validation(run / "history.csv")
    bounds = {epoch: bound for epoch, bound in curve.items() if bound is not None}
    best = max(bounds, key=lambda epoch: bounds[epoch], default=None)
    training = record.get("training") or {}
    files = [path for path in run.rglob("*") if path.is_file()]
    written = [p for p in (run / "history.csv", run / "run.json") if p.is_file()]
    relative = run.relative_to(above).as_posix()
    prepared = {k: data[k] for k in ("preparation", "labels_kept", "seen") if data.get(k)}
    made_by_data = ("data_shape", "num_classes")
    options = {k: v for k, v in record["config"].items() if k not in made_by_data}
    known = (*settings, "model", "options", "data")
    own = {k: v for k, v in record.get("experiment", {}).items() if k not in known}
    trained = {k: v for k, v in settings.items() if k != "epochs"}  # told apart from the rest
    return RunSummary(
        name=run.name if relative == "." else relative,
        model=record["model"] or record["class"],
        data=str(data.get("name") or "in memory"),
        epochs=len(curve),
        asked=int(settings.get("epochs", len(curve))),
        state=_state(run, training.get("epochs") == len(curve), training.get("stopped", "")),
        bound=None if best is None else bounds[best],
        unit=training.get("unit", NATS),
        best_epoch=best,
        when=max(path.stat().st_mtime for path in written),
        size=sum(path.stat().st_size for path in files),
        settings={**options, **trained, **prepared, **own},
        stopped=training.get("stopped", ""),
    )


def _validation(history: Path) -> dict[int, float | None]:
    """The validation bound by epoch, ``None`` where it was not computed."""
    try:
        with history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        return {int(r["epoch"]): float(r["validation"]) if r["validation"] else None for r in rows}
    except FileNotFoundError:
        return {}
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise UsageError(f"{history} is damaged ({error})") from error


def _state(run: Path, ended: bool, stopped: str) -> str:
    """Whether it has ended, and how, or is in training at this moment."""
    if ended:
        early = "pruned" if stopped.startswith("pruned") else "stopped early"
        return "finished" if stopped.startswith("all ") else early
    if not (run / LOCK).exists():
        return "interrupted"
    try:
        with holding(run / LOCK, refusal="it is held"):
            return "interrupted"
    except UsageError:
        return "training"


def _word(value: Any) -> str:
    """A value in a few characters."""
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _bytes(size: int) -> str:
    """A size as people say it.

    >>> _bytes(1234567)
    '1.2 MB'
    """
    number, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if number < 1000:
            break
        number, unit = number / 1000, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
