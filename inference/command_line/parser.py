"""The parser of a command: what its options are read from, and what it refuses in one line."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from inference.command_line.mistakes import complain, in_words
from inference.command_line.nested import flattened, nested

__all__ = ["OneLineParser", "summary_of", "with_flags"]


class OneLineParser(ArgumentParser):
    """Says what is wrong with the options in one line, and exits with code 2.

    Options of options stand beside those given before them. What begins with a minus and a digit
    is a value: ``-1e-3`` and ``-1,0.5`` are no options.

    Examples
    --------
    >>> parser = OneLineParser(prog="count")
    >>> _ = parser.add_argument("--by", type=int)
    >>> parser.parse_args(["--by", "-2"]).by
    -2
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse knows only -1 and -0.5

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **given: Any) -> Any:
        """As jsonargparse does, but for options of options."""
        arguments = sys.argv[1:] if args is None else args
        return nested(super().parse_args([flattened(a) for a in arguments], *rest, **given))

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Complain in one line and leave."""
        complain(self.prog.split()[0], in_words(message))
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
