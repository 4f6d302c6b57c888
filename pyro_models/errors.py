"""The errors a user of this library meets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["NotPositiveDefiniteError", "UsageError", "in_one_line"]


class UsageError(ValueError):
    """A mistake that its maker can mend: one line that says what was wrong and what to do.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # poutine.trace raises a ValueError again with its trace written below the message
        super().__init__(message.partition("\nTrace Shapes:")[0])


class NotPositiveDefiniteError(UsageError):
    """A covariance could not be factorised: of parameters that are too extreme, or not finite."""


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """Say what code of the user's own raises in one line, with the error itself as the cause.

    ``what`` is what the code computes. A ``UsageError``, or one of memory, is raised as it is.

    >>> with in_one_line("the kernel Mine"):
    ...     1 / 0
    Traceback (most recent call last):
    pyro_models.errors.UsageError: the kernel Mine cannot be computed (ZeroDivisionError: \
division by zero)
    """
    try:
        yield
    except (UsageError, MemoryError):
        raise
    except Exception as error:
        kind = type(error).__name__
        if kind == "OutOfMemoryError":  # of torch, which is slow to import
            raise
        why = " ".join(f"{kind}: {error}".split())
        raise UsageError(f"{what} cannot be computed ({why})") from error
