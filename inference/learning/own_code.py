"""Code that a run folder names: of what is registered, or of a file that is not in the folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pyro_models import UsageError
from pyro_models.models import PAIRS

__all__ = ["class_of_record", "refuse_own_code"]

_OURS = "pyro_models."


def class_of_record(folder: Path, record: Mapping[str, Any]) -> type[nn.Module]:
    """The class of the pair on record: registered, or of a file outside of the run folder.

    Raises
    ------
    UsageError
        If it is not to be found, or lies in the folder.
    """
    name, kind = record["model"], record["class"]
    if name in PAIRS:
        return PAIRS[name]
    file, _, _ = (name or "").rpartition(":")
    if not Path(file or ".").is_file():
        own = [cls for cls in PAIRS.values() if not (file and cls.__module__.startswith(_OURS))]
        alike = [cls for cls in own if cls.__name__ == kind]
        if alike:
            return alike[-1]
        where = f" of {file}, which is not there" if file else ", which is not registered"
        raise UsageError(
            f"{folder} holds a {kind}{where}: register it with "
            "pyro_models.models.PAIRS.register, or give load_pair the class (model=)"
        )
    refuse_own_code(folder, name)
    return PAIRS[name]


def refuse_own_code(folder: Path, named: Any) -> None:
    """Refuse names of Python files or modules in a run folder: a run brings no code with it.

    Parameters
    ----------
    folder
        The run folder.
    named
        A name, or a mapping or list of the record that may hold some.

    Raises
    ------
    UsageError
        If one is.
    """
    if isinstance(named, Mapping | list):
        for value in named.values() if isinstance(named, Mapping) else named:
            refuse_own_code(folder, value)
    if not isinstance(named, str):
        return
    module = f"{named.rpartition('.')[0].replace('.', '/')}.py"
    for file in (named.rpartition(":")[0], module):
        if file.endswith(".py") and folder.resolve() in Path(file).resolve().parents:
            raise UsageError(f"{named} lies in the run folder, and code from there is never run")
