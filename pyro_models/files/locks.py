"""One writer at a time: files and folders that a process holds for as long as it works on them.

The operating system forgets a lock as soon as its process dies, so none is ever stale: the next
process simply takes it. Where a file system has no such locks, the presence of a file stands for
one; it names its process and machine, and is taken over if that process of this machine has died.
"""

from __future__ import annotations

import errno
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from pyro_models.errors import UsageError
from pyro_models.files.atomic import WriteError, is_draft
from pyro_models.files.processes import this_process

__all__ = ["LOCK", "holding", "holding_folder", "is_free", "is_litter"]

_log = logging.getLogger(__name__)

LOCK = ".pyro-models-lock"
_PRESENCE = ".present"  # after a lock's name: the file whose presence is the lock
_POLL = 0.01  # seconds between two looks at a lock
_TRIES = 5
_PATIENCE = 10.0  # seconds of waiting after which it is said for whom
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP}

_held = threading.local()  # the locks of each thread, which it need not wait for again


@contextmanager
def holding(lock: Path, *, refusal: str | None = None) -> Iterator[None]:
    """Hold a lock inside, a file that is removed afterwards; a thread may take it again.

    It is waited for, unless a ``refusal`` is given, which is what is said if another process or
    thread holds it.

    Raises
    ------
    UsageError
        The refusal; or a ``WriteError`` if the file cannot be made.
    """
    mine: set[Path] = _held.__dict__.setdefault("locks", set())
    place = lock.absolute()
    if place in mine:
        yield
        return
    try:
        taken = _acquired(place, wait=refusal is None)
    except Timeout as busy:
        raise UsageError(f"{refusal} ({_holder(Path(busy.lock_file))})") from None
    except OSError as error:
        why = error.strerror or error
        raise WriteError(f"{lock} could not be made ({why}): nothing was written") from error
    mine.add(place)
    try:
        if not isinstance(taken, SoftFileLock):  # which says itself whose it is
            with suppress(OSError):  # for the words of a refusal only
                place.write_text(this_process().rpartition("-")[2])
        yield
    finally:
        mine.discard(place)
        with suppress(OSError):  # while it is held: who waits sees that this file is gone
            place.unlink()
        taken.release()


@contextmanager
def holding_folder(folder: Path, *, refusal: str | None = None, part: str = "") -> Iterator[None]:
    """Hold a whole folder, which is made; what of it was not there and is empty afterwards, goes.

    The ``refusal`` is as for :func:`holding`; others may hold another ``part`` of it.
    """
    new = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with holding(folder / f"{LOCK}{part}", refusal=refusal):
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
    return path.name.startswith(LOCK) or is_draft(path)


def _acquired(place: Path, *, wait: bool) -> BaseFileLock:
    lock: BaseFileLock = FileLock(place, fallback_to_soft=False)
    try:
        _acquire(lock, place, wait=wait)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        with suppress(OSError):  # it locks nothing here
            place.unlink()
        lock = SoftFileLock(place.with_name(place.name + _PRESENCE))
        _acquire(lock, place, wait=wait)
    return lock


def _acquire(taken: BaseFileLock, place: Path, *, wait: bool) -> None:
    for left in reversed(range(_TRIES)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _wait_for(taken) if wait else taken.acquire(blocking=False)
        except FileNotFoundError:  # another has just removed the folder, which was empty
            if not left:
                raise
        else:
            return


def _wait_for(taken: BaseFileLock) -> None:
    try:
        taken.acquire(timeout=_PATIENCE, poll_interval=_POLL)
    except Timeout:
        file = Path(taken.lock_file)
        _log.warning("waiting for %s, which holds %s", _holder(file), file)
        taken.acquire(poll_interval=_POLL)


def _holder(lock: Path) -> str:
    """Whose lock it is, in words."""
    try:
        text = lock.read_text()
    except (OSError, ValueError):
        text = ""
    process = re.match(r"(\d+)(?:\n(\S+))?", text)
    if process is None:
        return "another process"
    number, machine = process.groups()
    on = f" on {machine}; if it has ended, remove {lock}" if machine else ""
    return f"process {number}{on}"
