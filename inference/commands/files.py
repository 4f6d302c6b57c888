"""What the subcommands write: files that are not overwritten, and a result that is not lost."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from torch import Tensor

from pyro_models import UsageError
from pyro_models.data import Identity
from pyro_models.files import is_free, write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "check_writable",
    "free_figure_path",
    "free_folder",
    "free_path",
    "printed_after",
    "save_arrays",
    "save_figure",
    "seed_folders",
]


def seed_folders(folder: str) -> list[Path]:
    """The run folders of several seeds, if it holds these and is none itself, in their order."""
    if (Path(folder) / "run.json").exists():
        return []
    found = (path.parent for path in Path(folder).glob("seed-*/run.json"))
    return sorted(found, key=lambda path: (len(path.name), path.name))


@overload
def free_path(path: str, *, force: bool, option: str = ..., endings: str = ...) -> Path: ...
@overload
def free_path(
    path: str | None, *, force: bool, option: str = ..., endings: str = ...
) -> Path | None: ...
def free_path(
    path: str | None, *, force: bool, option: str = "out", endings: str = ""
) -> Path | None:
    """A path that may be written to, ``None`` if none is given.

    It is refused if something is there and ``force`` is not given, or if its ending is none of
    ``endings``, such as ".png, .pdf or .svg"; ``option`` is what it is given by.
    """
    if path is None:
        return None
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file")
    if target.exists() and not force:
        raise UsageError(f"{target} is already there: replace it with --force, or name another")
    check_writable(target)
    if endings and target.suffix not in endings.replace(",", "").split():
        raise UsageError(f"{option} must end in {endings}; got {target}")
    return target


def free_folder(path: str, *, force: bool) -> Path:
    """A folder that may be written to.

    A file is refused, and what cannot be made, or holds something if ``force`` is not given.
    """
    folder = Path(path)
    check_writable(folder)
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; name a folder")
    if not force and not is_free(folder):
        raise UsageError(f"{folder} is not empty: replace it with --force, or name another")
    return folder


def check_writable(path: Path) -> None:
    """Refuse, before anything is computed, a path that cannot be made.

    That is a folder that may not be written to, or else the nearest above it that is there may not,
    or is a file.
    """
    places = [path.absolute(), *path.absolute().parents]
    nearest = next(p for p in places[not path.is_dir() :] if os.path.lexists(p))
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is no folder: {path} cannot be in it")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{nearest} may not be written to; name another place")


free_figure_path = partial(free_path, endings=".png, .pdf or .svg")
"""A path that a figure may be written to."""


@contextmanager
def printed_after(text: Callable[[], object]) -> Iterator[None]:
    """Print what ``text`` makes after what is inside has written it, or has failed to."""
    try:
        yield
    finally:
        shown = str(text())
        if shown:
            print(shown, flush=True)


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure in the format of the path's ending."""
    kind = path.suffix.removeprefix(".")
    write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=150))


def save_arrays(path: Path, arrays: Mapping[str, Any], identity: Identity | None) -> None:
    """Write tensors and arrays by name into an .npz file, with the identity of what they are of."""
    content: dict[str, Any] = {
        name: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.array(value)
        for name, value in arrays.items()
    }
    if identity is not None:
        content["identity"] = np.array(json.dumps(identity.to_dict()))
    write_atomically(path, lambda file: np.savez_compressed(file, **content))
