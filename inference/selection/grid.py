"""A grid of settings: its combinations, what each part is an option of, and what it is called."""

from __future__ import annotations

import itertools
import json
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from inference.declared import kinds_of
from inference.experiment import OPTION, Experiment
from inference.learning.settings import SWAPPED, Settings
from pyro_models import UsageError

__all__ = [
    "OPTION",
    "check_grid",
    "check_setting_name",
    "check_types",
    "combinations",
    "folder_names",
    "short_name",
    "with_setting",
    "word",
]

PREPARATION = "preparation"
NOT_SWEPT = {"seed": "seeds are given apart (seeds)"}
LONGEST = 120
_OF_SETTINGS = tuple(f"{name}_options" for name in SWAPPED)
"""Settings that have names of their own below them."""


def check_setting_name(name: str, where: str) -> None:
    """Refuse what is no setting: an option of the model is ``options.NAME``, and so on."""
    known = [field.name for field in fields(Settings) if field.name not in NOT_SWEPT]
    if name in NOT_SWEPT:
        raise UsageError(f"{name} is no setting of {where}: {NOT_SWEPT[name]}")
    root, _, below = str(name).partition(".")
    inside = bool(below) and (root == OPTION.rstrip(".") or root in _OF_SETTINGS)
    if not inside and name not in (*known, PREPARATION):
        raise UsageError(
            f"unknown setting {name!r} in {where}: an option of the model is written "
            f"{OPTION}NAME, the others are {PREPARATION}, {', '.join(known)}"
        )


def check_grid(grid: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The grid as lists; what is no setting, and values that are no list, are refused."""
    known = [field.name for field in fields(Settings)]
    checked = {}
    for name, values in grid.items():
        check_setting_name(name, "the grid")
        if isinstance(values, str | Mapping) or not isinstance(values, Iterable):
            raise UsageError(f"{name} in the grid needs a list of values; got {values!r}")
        checked[name] = list(values)
        if not checked[name]:
            raise UsageError(f"{name} in the grid has no value")
        if name in known:
            check_types(name, checked[name], "the grid")
        words = [word(value) for value in checked[name]]
        if len(set(words)) < len(words):
            raise UsageError(f"{name} in the grid has a value twice: {checked[name]}")
    return checked


def check_types(name: str, values: Sequence[Any], where: str) -> None:
    """Refuse words for numbers and parts for whole numbers."""
    kinds = kinds_of(Settings, name)
    classes = tuple(kind for kind in kinds if isinstance(kind, type))
    if not classes:
        return
    function = len(classes) < len(kinds)  # a class or function will do as well as its name
    for value in values:
        of_class = isinstance(value, classes) and (bool in classes or not isinstance(value, bool))
        whole = float in classes and type(value) is int
        if not (of_class or whole or (function and callable(value))):
            words = " or ".join("none" if c is type(None) else c.__name__ for c in classes)
            raise UsageError(f"{name} in {where} is {words}; got {value!r}")


def with_setting(experiment: Experiment, setting: Mapping[str, Any], *, seed: int) -> Experiment:
    """An experiment with the values of a setting, and a seed.

    ``options.likelihood_options.floor`` and ``optimizer_options.weight_decay`` stand beside what
    else these options hold.

    >>> setting = {"lr": 0.1, "optimizer_options.weight_decay": 0.01}
    >>> found = with_setting(Experiment("ppca"), setting, seed=1).settings
    >>> found.lr, found.optimizer_options, found.seed
    (0.1, {'weight_decay': 0.01}, 1)
    """
    changes: dict[str, Any] = {"seed": seed}
    for name, value in setting.items():
        root, _, below = name.partition(".")
        if not below:
            changes[name] = value
            continue
        of = experiment if root == OPTION.rstrip(".") else experiment.settings
        changes[root] = _placed(changes.get(root, getattr(of, root)), below, value)
    return experiment.replace(**changes)


def _placed(options: Mapping[str, Any] | None, name: str, value: Any) -> dict[str, Any]:
    """Options with one more value, perhaps of options below."""
    first, _, below = name.partition(".")
    own = dict(options or {})
    within = own.get(first)
    if below and within is not None and not isinstance(within, Mapping):
        raise UsageError(f"{first} has no options of its own: it is {within!r}")
    return {**own, first: _placed(within, below, value) if below else value}


def combinations(grid: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values, the last setting varying fastest."""
    return [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]


def short_name(name: str, names: Iterable[str]) -> str:
    """A setting's name without ``options.``, where no other setting is called so."""
    short = name.removeprefix(OPTION)
    return name if short != name and short in names else short


def folder_names(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """A legible name of a folder for each combination, no two the same: ``lr=0.001,hidden=5-4``."""
    names = [
        ",".join(f"{short_name(name, setting)}={word(value)}" for name, value in setting.items())
        for setting in settings
    ]
    safe = [re.sub(r"[^\w.,=+-]+", "_", name) or "as-given" for name in names]
    return [
        short
        if short == (name or short) and len(short) <= LONGEST
        else f"{short[:LONGEST]}~{zlib.crc32(name.encode()):08x}"
        for name, short in zip(names, safe, strict=True)
    ]


def word(value: Any) -> str:
    """A value in a few characters; two that differ have different words."""
    if isinstance(value, list | tuple):
        return "-".join(word(part) for part in value) or "empty"
    if isinstance(value, Mapping):
        return json.dumps(value, sort_keys=True, default=repr)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str | int | float):
        return str(value)
    return str(getattr(value, "__name__", repr(value)))
