"""Who is at work: a name for this process, and whether a named one has ended."""

from __future__ import annotations

import hashlib
import os
import socket

__all__ = ["has_ended", "this_process"]


def this_process() -> str:
    """Machine and number of this process, ``3f2a9c01-4711``, as drafts and claims carry it."""
    return f"{_machine()}-{os.getpid()}"


def has_ended(process: str) -> bool:
    """Whether a process of this machine is no more, by what :func:`this_process` returned there.

    False where that cannot be known.

    >>> has_ended(this_process()), has_ended("elsewhere-1")
    (False, False)
    """
    machine, _, number = process.partition("-")
    if machine != _machine() or not number.isdecimal() or os.name != "posix":
        return False
    try:
        os.kill(int(number), 0)  # signal 0 is sent to nobody
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):  # it is there and another user's
        return False
    return False


def _machine() -> str:
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]
