"""The errors a user of this library meets."""

from __future__ import annotations

__all__ = ["NotPositiveDefiniteError", "UsageError"]


class UsageError(ValueError):
    """A mistake that its maker can mend: one line that says what was wrong and what to do.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # poutine.trace raises a ValueError again with its trace written below the message
        super().__init__(message.partition("\nTrace Shapes:")[0])


class NotPositiveDefiniteError(UsageError):
    """A covariance could not be factorised: of parameters that are too extreme, or not finite."""
