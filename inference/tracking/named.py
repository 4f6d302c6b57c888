"""Trackers by name, as a configuration file and the command line have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from inference.tracking.mlflow import MLflow
from inference.tracking.tensorboard import TensorBoard
from inference.tracking.tracker import Tracker
from inference.tracking.wandb import WandB
from pyro_models import UsageError
from pyro_models.errors import in_one_line
from pyro_models.options import check_options
from pyro_models.registry import Registry

__all__ = ["TRACKERS", "Written", "as_written", "make_trackers"]

Written = str | Mapping[str, Any] | type[Tracker]
"""A tracker by its name, its class, or as ``{class_path: NAME, init_args: {OPTION: VALUE}}``."""

TRACKERS: Registry[type[Tracker]] = Registry(
    "tracker",
    {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WandB},
    hint="name a class of a file, my_file.py:MyTracker",
)
"""Trackers by their names."""


def as_written(track: Written | Sequence[Written] | None) -> list[str | dict[str, Any]] | None:
    """Several trackers, or one, as a file can hold them; ``"tensorboard,mlflow"`` is two.

    >>> as_written("tensorboard, mlflow")
    ['tensorboard', 'mlflow']
    >>> as_written({"class_path": "mlflow", "init_args": {"experiment": "digits"}})
    [{'class_path': 'mlflow', 'init_args': {'experiment': 'digits'}}]
    """
    if track is None:
        return None
    one = isinstance(track, str | Mapping | type)
    given: Sequence[Any] = [track] if one else track  # type: ignore[assignment]
    found: list[str | dict[str, Any]] = []
    for each in given:
        if isinstance(each, str):
            names = [name.strip() for name in each.split(",") if name.strip()]
            for name in names if "." not in each else ():
                TRACKERS.check(name)
            found += names
        elif isinstance(each, Mapping):
            TRACKERS.named(each, {})
            found.append(dict(each))
        else:
            known = TRACKERS.name_of(each)
            if known is None:
                raise UsageError(
                    f"{each!r:.60} cannot be written: register its class (TRACKERS.register), name "
                    "its file, or give the tracker to fit as one of its callbacks"
                )
            found.append(known)
    return found


def make_trackers(track: Written | Sequence[Written] | None) -> list[Tracker]:
    """Trackers by their names, each with its options; refused before anything is trained.

    >>> [type(tracker).__name__ for tracker in make_trackers(["tensorboard"])]
    ['TensorBoard']
    """
    return [_made(each) for each in as_written(track) or ()]


def _made(written: str | Mapping[str, Any]) -> Tracker:
    name, options = TRACKERS.named(written, {})
    cls = TRACKERS[name]
    if not (isinstance(cls, type) and issubclass(cls, Tracker)):
        raise UsageError(f"{name} is no tracker: derive it from inference.tracking.Tracker")
    check_options(cls, options, who=f"the tracker {name}", skip=set())
    with in_one_line(f"the tracker {name}"):
        return cls(**options)
