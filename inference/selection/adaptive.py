"""A sweep whose settings a search chooses, one after the other, by all that was tried so far.

What was proposed stands in one file, ``search.json``, in order; what each gave is in the records of
its runs. Every worker takes the next: a setting that was proposed and that nobody trains, or else a
new one. So workers need no master, one that is killed leaves nothing behind that another does not
take up, and the same command elsewhere that sees the folder takes part.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import joblib

from inference.evaluation.quantity import QUANTITIES, Quantity
from inference.selection.checks import check_trials
from inference.selection.grid import folder_names, with_setting
from inference.selection.outcome import Outcome
from inference.selection.row import Row, choices
from inference.selection.runs import MARKER, Runs, computed, own_quantities, write_tables
from inference.selection.search import Search, Tried
from inference.selection.space import Range, corners_of, plain
from inference.selection.table import Sweep
from inference.selection.trial import Trial, outcomes_there, run_setting
from inference.workers import threads as threads_of_torch
from pyro_models import UsageError
from pyro_models.errors import in_one_line
from pyro_models.files import LOCK, holding, holding_folder, write_atomically
from pyro_models.registry import modules_of_files

__all__ = ["Plan", "run_search"]

FORMAT = "pyro-models search 1"


@dataclass(frozen=True, kw_only=True)
class Plan(Runs):
    """All that a worker needs to take part in a search, which has a name and a random seed."""

    space: Mapping[str, Range]
    search: Search
    name: str
    trials: int
    seed: int = 0

    @property
    def path(self) -> Path:
        """The file of what was proposed."""
        return self.folder / "search.json"

    def settings(self) -> list[dict[str, Any]]:
        """What was proposed so far, in order; what is another search's is refused."""
        if not self.path.is_file():
            return []
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if record["format"] != FORMAT:
                raise ValueError("another format")
            found = [dict(each) for each in record["settings"]]
            before = {name: record[name] for name in ("search", "seed", "space")}
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{self.path} is damaged: name another folder (out)") from error
        for name, value in self._described().items():
            if before[name] != value:
                raise UsageError(
                    f"{self.folder} holds another search: it was begun with {name} "
                    f"{before[name]!r}, not {value!r}; name another folder (out)"
                )
        return found

    def _described(self) -> dict[str, Any]:
        described = {"search": self.name, "seed": self.seed, "space": plain(self.space)}
        found: dict[str, Any] = json.loads(json.dumps(described, default=repr))
        return found

    def keep(self, settings: Sequence[Mapping[str, Any]]) -> None:
        """Write what was proposed, in one step."""
        content = {"format": FORMAT, **self._described(), "settings": [*settings]}
        text = json.dumps(content, indent=1, ensure_ascii=False, default=repr)
        write_atomically(self.path, f"{text}\n")

    def runs_of(self, setting: Mapping[str, Any]) -> list[Trial]:
        """The runs of a setting."""
        return self.trials_of(setting, others=Others(self, self.folders(setting)))

    def row(self, setting: Mapping[str, Any]) -> Row:
        """What is there of a setting."""
        return Row(setting, outcomes_there(self.runs_of(setting)), self.quantity)

    def result(self, trained: Mapping[Path, Outcome]) -> Sweep:
        """The table of what is there, and was just trained."""
        settings = self.settings()
        values = {name: _distinct(each[name] for each in settings) for name in self.space}
        found = [outcomes_there(self.runs_of(setting), trained) for setting in settings]
        pairs = zip(settings, found, strict=True)
        rows = tuple(Row(setting, outcomes, self.quantity) for setting, outcomes in pairs)
        return Sweep(rows, values, self.seeds, self.folder, search=self.name)

    def next(self, settings: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
        """What the search proposes after these; ``None`` if it has nothing new."""
        rows = [self.row(setting) for setting in settings]
        so_far = Sweep(tuple(rows), {}, self.seeds, self.folder)
        if any(row.scores for row in rows):
            _ = so_far.comparability  # refuses to learn from what may not be compared
        tried = [Tried(row.setting, *_value(row)) for row in rows]
        maximize = choices()[self.quantity or "elbo"].direction != "lower"
        with in_one_line(f"the next setting of the search {self.name}"):
            found = self.search(self.space, tried, seed=self.seed, maximize=maximize)
        if found is None:
            return None
        if not isinstance(found, Mapping) or set(found) != set(self.space):
            raise UsageError(
                f"the search {self.name} is to propose a value for each of "
                f"{', '.join(self.space)}; got {found!r}"
            )
        own = {name: found[name] for name in self.space}
        setting: dict[str, Any] = json.loads(json.dumps(own, default=_item))
        return None if setting in settings else setting


@dataclass(frozen=True)
class Others:
    """The run folders of the other settings of a search, as they are proposed by now."""

    plan: Plan
    own: Sequence[Path]

    def __call__(self) -> list[list[Path]]:
        """One list for each other setting."""
        each = [self.plan.folders(setting) for setting in self.plan.settings()]
        return [folders for folders in each if folders != self.own]


def _distinct(values: Any) -> list[Any]:
    """The values, each once; numbers in their order."""
    found: list[Any] = []
    for value in values:
        if value not in found:
            found.append(value)
    numeric = all(isinstance(v, int | float) and not isinstance(v, bool) for v in found)
    return sorted(found) if numeric else found


def _item(value: Any) -> Any:
    """A number of NumPy or torch as one of Python."""
    if not hasattr(value, "item"):
        raise UsageError(f"a search proposes numbers, words and lists of them; got {value!r}")
    return value.item()


def _value(row: Row) -> tuple[float | None, str]:
    """The mean score of a setting, or why it has none; neither while it is trained."""
    if row.pruned:
        return None, "pruned"
    if row.failures:
        return None, row.failures[0][1] or "failed"
    return (None, "") if row.pending or not row.scores else (row.mean, "")


def take_next(plan: Plan, *quantities: Quantity) -> list[Outcome]:
    """Train the next setting; no outcomes if nothing is left to be begun."""
    for each in quantities:
        QUANTITIES.setdefault(each.name, each)
    with ExitStack() as held:
        with holding(plan.folder / f"{LOCK}-search"):
            settings = plan.settings()
            setting = next((s for s in settings if _left(plan, s) and _take(plan, s, held)), None)
            if setting is None and len(settings) < plan.trials:
                with threads_of_torch(plan.threads):
                    setting = plan.next(settings)
                if setting is not None:
                    plan.keep([*settings, setting])
                    _take(plan, setting, held)
        if setting is None:
            return []
        return run_setting(plan.runs_of(setting), *quantities)


def _left(plan: Plan, setting: Mapping[str, Any]) -> bool:
    return bool(plan.row(setting).pending)


def _take(plan: Plan, setting: Mapping[str, Any], held: ExitStack) -> bool:
    """Hold a setting, unless another does."""
    [name] = folder_names([setting])
    try:
        held.enter_context(holding(plan.folder / f"{LOCK}-{name}", refusal="it is being trained"))
    except UsageError:
        return False
    return True


def run_search(plan: Plan, parallel: joblib.Parallel, *, progress: bool) -> Sweep:
    """Check a search, take part in it, and write its tables."""
    plan = _begun(plan)
    for module in modules_of_files():  # a search or rule of a file, that workers cannot import
        cloudpickle.register_pickle_by_value(module)
    rows, quantities = [plan.row(setting) for setting in plan.settings()], own_quantities()
    again = [plan.runs_of(row.setting) for row in rows if row.failures]  # which failed before
    left = sum(bool(row.pending) for row in rows) + max(0, plan.trials - len(rows))
    tasks = [joblib.delayed(run_setting)(trials, *quantities) for trials in again]
    tasks += [joblib.delayed(take_next)(plan, *quantities) for _ in range(left)]
    total = len(tasks)
    trained = computed(parallel, tasks, total=total, unit="setting", progress=progress)
    return write_tables(plan.folder, lambda: plan.result(trained))


def _begun(plan: Plan) -> Plan:
    """A search whose ends of ranges could be trained, with what its data are, and its file."""
    folder = plan.folder
    with holding_folder(folder):  # another call of the same search is waited for, and then shared
        nowhere = folder / "as-checked"
        corners = [
            Trial(with_setting(plan.experiment, each, seed=plan.seeds[0]), plan.evaluation, nowhere)
            for each in corners_of(plan.space)
        ]
        images = corners[0].load()
        plan = replace(plan, identity=images.identity.to_dict())
        check_trials(corners, images)
        (folder / MARKER).touch()
        settings = plan.settings()
        for trial in (trial for setting in settings for trial in plan.runs_of(setting)):
            trial.record()  # refuses other runs in their places
        if not settings:
            plan.keep([])
    return plan
