"""The courses' architectures and recipes, as configuration files of ``pyro-models train``.

Each file names a model, its options, the data preparation and how it is trained; the command line
takes it with ``--preset NAME``, Python with :func:`load_preset`, or as an experiment that can be
run with ``inference.Experiment.preset(NAME)``.
"""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from pyro_models.registry import check_choice

__all__ = ["load_preset", "preset_config", "preset_names"]


def preset_names() -> list[str]:
    """All presets, in alphabetical order.

    >>> "copenhagen-dense" in preset_names()
    True
    """
    return sorted(Path(p.name).stem for p in files(__name__).iterdir() if p.name.endswith(".yaml"))


def preset_config(name: str) -> str:
    """What the command line's ``--config`` takes for a preset: its file, or the text of it.

    The text where the package is in an archive, such as a zip file on the path, and there is no
    file to be named.
    """
    preset = _resource(name)
    return str(preset) if isinstance(preset, Path) else preset.read_text(encoding="utf-8")


def load_preset(name: str) -> dict[str, Any]:
    """The settings of a preset: ``model``, ``options``, and how it is trained.

    >>> load_preset("burda")["options"]["hidden"]
    [200, 200]
    """
    return yaml.safe_load(_resource(name).read_text(encoding="utf-8"))


def _resource(name: str) -> Traversable:
    check_choice("preset", name, preset_names())
    return files(__name__).joinpath(f"{name}.yaml")
