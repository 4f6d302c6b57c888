"""What the subcommands read and write: run folders, and files that are not overwritten."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, overload

from matplotlib.figure import Figure

from inference.learning import Run
from inference.learning.recorded_data import recall
from pyro_models import ImageData, Pair, UsageError
from pyro_models.device import check_device
from pyro_models.files import is_free, write_atomically

__all__ = [
    "check_writable",
    "free_figure_path",
    "free_folder",
    "free_path",
    "open_run",
    "printed_after",
    "save_figure",
    "seed_folders",
]


def open_run(
    run: str, data: str | None = None, *, device: str = "cpu"
) -> tuple[Pair, ImageData, dict[str, Any]]:
    """The pair of a run, on a device, and the data it was trained on, split and prepared alike.

    With ``data`` those instead; that they are others is said.

    Raises
    ------
    UsageError
        If the data or the device are not there, or the data have changed since.
    """
    where = check_device(device)
    folder = Run(run)
    record = folder.describe()
    pair = folder.load_pair(device=where)
    found = recall(record["data"], run=run, given=data)
    if found.note:
        print(f"note: {found.note}")
    return pair, found.data, record


def seed_folders(folder: str) -> list[Path]:
    """The run folders of several seeds that were trained into one folder, in their order."""
    found = (path.parent for path in Path(folder).glob("seed-*/run.json"))
    return sorted(found, key=lambda path: (len(path.name), path.name))


@overload
def free_path(path: str, *, force: bool) -> Path: ...


@overload
def free_path(path: str | None, *, force: bool) -> Path | None: ...


def free_path(path: str | None, *, force: bool) -> Path | None:
    """A path that may be written to.

    Raises
    ------
    UsageError
        If something is there and ``force`` is not given.
    """
    if path is None:
        return None
    target = Path(path)
    if target.is_dir():
        raise UsageError(f"{target} is a folder; name a file")
    if target.exists() and not force:
        raise UsageError(f"{target} is already there: replace it with --force, or name another")
    check_writable(target)
    return target


def free_folder(path: str, *, force: bool) -> Path:
    """A folder that may be written to.

    Raises
    ------
    UsageError
        If it is a file, or cannot be made, or holds something and ``force`` is not given.
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

    Raises
    ------
    UsageError
        If it is a folder that may not be written to, or else the nearest above it that is there
        may not, or is a file.
    """
    places = [path.absolute(), *path.absolute().parents]
    nearest = next(p for p in places[not path.is_dir() :] if os.path.lexists(p))
    if not nearest.is_dir():
        raise UsageError(f"{nearest} is no folder: {path} cannot be in it")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UsageError(f"{nearest} may not be written to; name another place")


@overload
def free_figure_path(path: str, *, option: str, force: bool) -> Path: ...


@overload
def free_figure_path(path: str | None, *, option: str, force: bool) -> Path | None: ...


def free_figure_path(path: str | None, *, option: str, force: bool) -> Path | None:
    """A path that a figure may be written to.

    Raises
    ------
    UsageError
        As :func:`free_path`, or if its ending, given by ``option``, is of no known format.
    """
    target = free_path(path, force=force)
    if target is not None and target.suffix not in (".png", ".pdf", ".svg"):
        raise UsageError(f"{option} must end in .png, .pdf or .svg; got {target}")
    return target


@contextmanager
def printed_after(text: Callable[[], object]) -> Iterator[None]:
    """Print a result after what is inside has written it, or has failed to: it is not lost.

    Parameters
    ----------
    text
        Makes what is printed.
    """
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
