"""Standard output that ends no computation: whatever happens to it, what was begun is finished."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["Lenient", "lenient_output"]


class Lenient:
    """A stream of text that never raises.

    A character that the stream's encoding does not have becomes ``?``. Once the stream is
    ``broken`` (its reader has gone, its disk is full), what is written to it is dropped.

    >>> import io
    >>> plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    >>> Lenient(plain).write("p(θ | D)"), plain.flush(), plain.buffer.getvalue()
    (8, None, b'p(? | D)')
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.broken: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, as far as it goes."""
        if self.broken is None:
            try:
                self._stream.write(text)
            except UnicodeEncodeError as error:
                self.write(text.encode(error.encoding, "replace").decode(error.encoding))
            except OSError as error:
                self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Flush, if it can be."""
        if self.broken is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Send what is buffered nowhere, so that Python does not stumble over it at its end."""
        self.broken = error
        with suppress(OSError, ValueError):  # a stream without a file
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lenient_output() -> Iterator[Lenient | None]:
    """``sys.stdout`` and ``sys.stderr`` as :class:`Lenient` inside; gives the former."""
    before = sys.stdout, sys.stderr
    out, err = (None if stream is None else Lenient(stream) for stream in before)
    try:
        sys.stdout, sys.stderr = out, err
        yield out
    finally:
        for stream in (out, err):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
