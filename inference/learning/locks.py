"""One writer at a time: files and folders that a process holds for as long as it works on them.

The operating system forgets a lock as soon as its process dies, so none is ever stale: the next
process simply takes it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from inference.learning.files import WriteError, is_draft
from inference.learning.processes import this_process
from pyro_models import UsageError

__all__ = ["LOCK", "holding", "holding_folder", "is_free", "is_litter"]

LOCK = ".pyro-models-lock"
_POLL = 0.01  # seconds between two looks at a lock
_TRIES = 5

_held = threading.local()  # the locks of each thread, which it need not wait for again


@contextmanager
def holding(lock: Path, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock inside; a thread that holds it already may take it again.

    Parameters
    ----------
    lock
        The file that stands for it; it is removed afterwards.
    refusal
        What is said if another holds it; unless given, it is waited for.

    Raises
    ------
    UsageError
        If another process or thread holds it, and ``refusal`` is given.
    WriteError
        If the file cannot be made.
    """
    mine: set[Path] = _held.__dict__.setdefault("locks", set())
    place = lock.absolute()
    if place in mine:
        yield
        return
    taken = FileLock(place)
    try:
        _acquire(taken, place, wait=refusal is None)
    except Timeout:
        raise UsageError(f"{refusal} ({_holder(place)})") from None
    except OSError as error:
        why = error.strerror or error
        raise WriteError(f"{lock} could not be made ({why}): nothing was written") from error
    mine.add(place)
    try:
        with suppress(OSError):  # for the words of a refusal only
            place.write_text(this_process().rpartition("-")[2])
        yield
    finally:
        mine.discard(place)
        with suppress(OSError):  # while it is held: who waits sees that this file is gone
            place.unlink()
        taken.release()


@contextmanager
def holding_folder(folder: Path, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a whole folder, which is made; what of it was not there and is empty afterwards, goes.

    Parameters
    ----------
    folder
        What is held.
    refusal
        As for :func:`holding`.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with holding(folder / LOCK, refusal=refusal):
            yield
    finally:
        with suppress(OSError):  # it holds something
            for path in new:
                path.rmdir()


def is_free(folder: Path) -> bool:
    """Whether a folder is not there or holds nothing but what writers leave that die."""
    return not folder.exists() or (
        folder.is_dir() and all(is_litter(path) for path in folder.iterdir())
    )


def is_litter(path: Path) -> bool:
    """Whether a file is a draft or a lock, which mean nothing once their process is gone."""
    return path.name == LOCK or is_draft(path)


def _acquire(taken: FileLock, place: Path, *, wait: bool) -> None:
    for left in reversed(range(_TRIES)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            taken.acquire(blocking=wait, poll_interval=_POLL)
        except FileNotFoundError:  # another has just removed the folder, which was empty
            if not left:
                raise
        else:
            return


def _holder(lock: Path) -> str:
    try:
        number = lock.read_text()
    except OSError:
        number = ""
    return f"process {number}" if number.isdecimal() else "another process"
