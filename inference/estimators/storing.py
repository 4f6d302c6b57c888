"""A fitted estimator as a run folder, and back; no pickled code."""

from __future__ import annotations

import csv
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from inference.learning import Fit, History, Run, Settings
from inference.learning.history import Epoch
from pyro_models import UsageError
from pyro_models.files import write_atomically

__all__ = ["load_estimator", "save_estimator"]

RECORD = "estimator"
_UNWRITTEN = ("model", "callbacks", "random_state")


def save_estimator(estimator: Any, folder: str | Path, *, force: bool) -> None:
    """Write ``run.json``, ``weights.safetensors`` and ``history.csv``.

    Raises
    ------
    UsageError
        If a parameter is an object that no file can hold, or something is in the folder already.
    """
    given = {n: v for n, v in estimator.get_params(deep=False).items() if n not in _UNWRITTEN}
    for name, value in given.items():
        try:
            json.dumps(value)
        except TypeError:
            raise UsageError(
                f"{name} of this estimator is an object that no file can hold: give its name, or "
                "pickle the estimator"
            ) from None
    record = {
        "class": type(estimator).__name__,
        "parameters": {**given, "random_state": estimator.seed_},
        "solver": estimator.solver_,
        "n_features_in": estimator.n_features_in_,
        "feature_names_in": _listed(getattr(estimator, "feature_names_in_", None)),
        "classes": _listed(getattr(estimator, "classes_", None)),
        "class_log_prior": _listed(estimator.class_log_prior_),
    }
    settings = Settings(seed=estimator.seed_, **{n: given[n] for n in _of_settings()})
    run, history = Run(folder), estimator.result_.history
    with run.held():
        run.refuse_to_overwrite(force=force)
        run.clear()
        run.create(estimator.pair_, {"data": {}, "settings": settings.plain(), RECORD: record})
        run.save_weights(estimator.pair_)
        write_atomically(run.folder / "history.csv", history.to_csv())
        run.record_end(history)


def load_estimator(
    cls: Any, folder: str | Path, *, device: str, model: type[nn.Module] | None
) -> Any:
    """The estimator that :func:`save_estimator` wrote, of the class that it was."""
    run = Run(folder)
    description = run.describe()
    record = description.get(RECORD)
    if not isinstance(record, dict):
        raise UsageError(
            f"{run.folder} holds a run of no estimator: PairEstimator.of_pair(Run(folder)."
            "load_pair()) makes one of its pair"
        )
    if record["class"] != cls.__name__:
        raise UsageError(f"{run.folder} holds a {record['class']}: load it by that class")
    pair = run.load_pair(device=device, model=model)
    made: Any = cls(description["model"] or pair, **record["parameters"])
    made.n_features_in_, made.solver_ = record["n_features_in"], record["solver"]
    names, classes, prior = (
        record[name] for name in ("feature_names_in", "classes", "class_log_prior")
    )
    if names is not None:
        made.feature_names_in_ = np.array(names["values"], dtype=object)
    labels = None if classes is None else np.array(classes["values"], dtype=classes["dtype"])
    made.remember(pair, made.random_state, labels, None)
    if prior is not None:
        made.class_log_prior_ = np.array(prior["values"])
    made.result_ = Fit(pair, _history(run, description.get("training", {})), run.folder)
    return made


def _of_settings() -> list[str]:
    return [field.name for field in fields(Settings) if field.name != "seed"]


def _listed(values: np.ndarray | None) -> Any:
    """An array as a list with its type; names of columns as they are."""
    if values is None:
        return None
    if values.dtype.kind == "O" and all(isinstance(value, str) for value in values):
        return {"values": values.tolist(), "dtype": "object"}
    return {"values": values.tolist(), "dtype": str(values.dtype)}


def _history(run: Run, ended: dict[str, Any]) -> History:
    known = {field.name for field in fields(History)} - {"epochs"}
    history = History((), **{"objective": "", **{k: v for k, v in ended.items() if k in known}})
    rows = csv.DictReader((run.folder / "history.csv").read_text(encoding="utf-8").splitlines())
    return replace(history, epochs=tuple(map(_epoch, rows)))


def _epoch(row: dict[str, str]) -> Epoch:
    own = [field.name for field in fields(Epoch) if field.name not in ("epoch", "measures")]
    values: dict[str, Any] = {name: float(row[name]) if row[name] else None for name in own}
    measures = {n: float(v) for n, v in row.items() if n not in (*own, "epoch") and v}
    return Epoch(int(row["epoch"]), **values, measures=measures)
