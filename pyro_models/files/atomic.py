"""Files that are either as they were or complete, whenever the process dies or the disk is full."""

from __future__ import annotations

import io
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from pyro_models.errors import UsageError
from pyro_models.files.processes import has_ended, this_process

__all__ = ["WriteError", "is_draft", "write_atomically"]

_ABANDONED = 86_400.0  # seconds after which a draft of another machine is nobody's any more


class WriteError(UsageError):
    """A file could not be written; the message names it, and says what is left."""


def write_atomically(path: Path, content: bytes | str | Callable[[BinaryIO], object]) -> None:
    """Write a file beside its place, flush it to disk, then move it there in one step.

    Every writer has a draft of its own, so that several may write one file: the last is kept whole.
    Drafts of processes that have died are removed. The content is bytes, text (UTF-8), or a
    function that writes to an open file.

    Raises
    ------
    WriteError
        If it cannot be written: no room, no permission. What was there before is whole.
    """
    if callable(content):  # before a file is opened: what fails from there on is the disk
        buffer = io.BytesIO()
        content(buffer)
        content = buffer.getvalue()  # shared, not copied; a view in a traceback would outlive it
    data = content.encode() if isinstance(content, str) else content
    draft = path.with_name(f".{path.name[:100]}.{this_process()}-{secrets.token_hex(4)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(path)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException as error:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        left = "what it held before is whole" if path.exists() else "there is no such file"
        raise WriteError(
            f"{path} could not be written ({error.strerror or error}): {left}"
        ) from error


def is_draft(path: Path) -> bool:
    """Whether a file is one that :func:`write_atomically` has not finished."""
    return path.name.startswith(".") and path.name.endswith(".part")


def _remove_abandoned(path: Path) -> None:
    """Remove drafts of this file whose writers have died."""
    start = f".{path.name[:100]}."
    with os.scandir(path.parent) as entries:
        drafts = [e for e in entries if e.name.startswith(start) and e.name.endswith(".part")]
    for each in drafts:
        writer = each.name.removeprefix(start).removesuffix(".part").rpartition("-")[0]
        with suppress(OSError):  # another process was faster
            if has_ended(writer) or time.time() - each.stat().st_mtime > _ABANDONED:
                os.unlink(each.path)
