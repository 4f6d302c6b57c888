"""What every command here does with its arguments: one-line errors, flags, exit codes."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from pyro_models import UsageError

__all__ = ["OneLineParser", "exit_code", "summary_of", "with_flags"]


class OneLineParser(ArgumentParser):
    """Says what is wrong with the options in one line, and exits with code 2.

    What begins with a minus and a digit is a value: ``-1e-3`` and ``-1,0.5`` are no options.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse knows only -1 and -0.5

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Complain in one line and leave."""
        _complain(self.prog.split()[0], message)
        raise SystemExit(2)


def summary_of(function: Callable[..., Any]) -> str:
    """The first line of a function's docstring."""
    return (function.__doc__ or "").split("\n", maxsplit=1)[0]


def with_flags(arguments: Sequence[str], *functions: Callable[..., Any]) -> list[str]:
    """Let ``--force`` stand for ``--force=true``, and so for all that is true or false.

    Parameters
    ----------
    arguments
        A command and its options.
    functions
        Whose options the command has.

    Examples
    --------
    >>> def write(*, force: bool = False) -> None: ...
    >>> with_flags(["write", "--force"], write)
    ['write', '--force=true']
    """
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    flags = {f"--{p.name}" for p in parameters if isinstance(p.default, bool)}
    following = [*arguments[1:], ""][: len(arguments)]
    return [
        f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def exit_code(name: str, command: Callable[[], object], *, interrupted: str) -> int:
    """Run a command; a mistake of its user is one line on stderr, never a traceback.

    Parameters
    ----------
    name
        What the line begins with.
    command
        Parses and runs.
    interrupted
        What is left when it is interrupted.

    Returns
    -------
    int
        0 if all went well, 2 for a mistake in its use, 130 if interrupted.
    """
    try:
        command()
    except UsageError as error:
        _complain(name, error)
        return 2
    except OSError as error:
        _complain(name, f"{error.strerror or error}: {error.filename or 'a file'}")
        return 2
    except UnicodeDecodeError:
        _complain(name, "a file that was named, with --config, say, is no text in UTF-8")
        return 2
    except KeyboardInterrupt:
        _complain(name, f"interrupted; {interrupted}")
        return 130
    return 0


def _complain(name: str, message: object) -> None:
    print(f"{name}: error: {' '.join(str(message).split())}", file=sys.stderr)
