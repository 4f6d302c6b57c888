"""What the record of a run says of its experiment, whichever release began it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from inference.learning.recorded_data import columns_on, is_labelled_only
from inference.learning.settings import Settings
from inference.objectives import OBJECTIVES
from pyro_models import UsageError
from pyro_models.data.sources import LEVELS

__all__ = ["values_of_record"]

_MADE_BY_DATA = ("data_shape", "num_classes")


def values_of_record(record: Mapping[str, Any], run: str | Path) -> dict[str, Any]:
    """The arguments of :class:`inference.Experiment` that a run was learned with.

    Parameters
    ----------
    record
        What ``run.json`` holds, of a release that kept no experiment in it.
    run
        The run folder, for what is said of it.

    Raises
    ------
    UsageError
        If no file can hold them: a pair without a name, an objective that was an object, or a mask.
    """
    if record["model"] is None:
        raise UsageError(
            f"{run} holds a {record['class']}, which has no name: build it yourself, and load "
            "its weights"
        )
    data = record["data"]
    if data.get("seen"):
        raise UsageError(
            f"{run} learned from half-seen data, and its mask is not in its record: build the "
            "experiment yourself, with the mask"
        )
    _check_by_name(record["settings"], run)
    labels, labels_seed = data.get("labels_kept") or (None, 0)
    levels, own = data.get("levels"), LEVELS.get(str(data.get("name")))
    known = {f.name for f in fields(Settings)}
    return {
        "model": record["model"],
        "data": data.get("source") or data.get("name"),
        "settings": Settings().replace(
            **{k: v for k, v in record["settings"].items() if k in known}
        ),
        "options": {k: v for k, v in record["config"].items() if k not in _MADE_BY_DATA},
        "preparation": data.get("preparation"),
        "all_training": "validation" not in data.get("splits", {}),
        "split_seed": data.get("split_seed") or 0,
        "test_fraction": data.get("test_fraction"),
        "levels": None if levels == own else levels,
        "missing": data.get("missing"),
        **columns_on(data),
        "labels": labels,
        "labels_seed": labels_seed,
        "labelled_only": is_labelled_only(data),
    }


def _check_by_name(settings: Mapping[str, Any], run: str | Path) -> None:
    """Refuse the record of an object that stood for a setting: its name alone makes none."""
    name = settings.get("objective", "elbo")
    if name not in OBJECTIVES and ".py:" not in str(name):
        raise UsageError(
            f"the objective of {run} was an object, {name}: build the experiment yourself, with it"
        )
