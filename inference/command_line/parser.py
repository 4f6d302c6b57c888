"""The parser of a command: what its options are read from, and what it refuses in one line."""

from __future__ import annotations

import inspect
import re
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from inference.command_line.advice import advised
from inference.command_line.mistakes import complain, in_words
from inference.command_line.nested import flattened, nested
from inference.progress import quiet
from pyro_models.installation import versions

__all__ = ["OneLineParser", "parser_of", "with_flags", "without_quiet"]


QUIET = "--quiet"
_QUIET_HELP = "Show no progress and no summary; print results and warnings alone."


class OneLineParser(ArgumentParser):
    """Says what is wrong with the options in one line, and exits with code 2.

    Options of options stand beside those given before them. What begins with a minus and a digit is
    a value: ``-1e-3`` and ``-1,0.5`` are no options.

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

    def dump(self, cfg: Any, *rest: Any, **given: Any) -> str:
        """As jsonargparse does, but for options of options."""
        text: str = super().dump(nested(cfg), *rest, **given)
        return text

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Complain in one line, with what was probably meant and where help is, and leave."""
        complain(self.prog.split()[0], advised(in_words(message), self.prog, self._names()))
        raise SystemExit(2)

    def _names(self) -> dict[str, list[str]]:
        """The options of each command by its name, and this parser's own under no name."""
        own = {"": [name for name in self._option_string_actions if name.startswith("--")]}
        commands = self._subcommands_action
        parsers = {} if commands is None else dict(commands.choices)
        return own | {name: parser._names()[""] for name, parser in parsers.items()}


def parser_of(
    commands: Mapping[str, Callable[..., Any]],
    add_options: Callable[[OneLineParser, str], None],
    *,
    prog: str,
    description: str,
    named: Collection[str],
) -> OneLineParser:
    """A parser that lists all commands by the first lines of their docstrings.

    ``add_options`` gives the parser of a command, by its name, that command's own options, if it is
    among the ``named``: these take long to read.

    >>> def greet(name: str) -> None:
    ...     '''Say hello.'''
    >>> parser = parser_of(
    ...     {"greet": greet},
    ...     lambda sub, name: sub.add_function_arguments(greet, as_positional=True),
    ...     prog="polite", description="Greetings.", named=["greet"],
    ... )
    >>> parser.parse_args(["greet", "Ada"]).greet.name
    'Ada'
    """
    parser = OneLineParser(prog=prog, description=description)
    shown = {"version": versions(prog), "help": "Show the versions and exit."}
    parser.add_argument("--version", action="version", **shown)
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    for name, function in commands.items():
        summary = (function.__doc__ or "").split("\n", maxsplit=1)[0]
        sub = OneLineParser(description=summary)
        if name in named:
            what = "YAML file with any of these options."
            sub.add_argument("--config", action="config", help=what)
            add_options(sub, name)
            sub.add_argument(QUIET, action="store_true", default=SUPPRESS, help=_QUIET_HELP)
        subcommands.add_subcommand(name, sub, help=summary)
    return parser


def without_quiet(arguments: Sequence[str]) -> tuple[list[str], AbstractContextManager[None]]:
    """The arguments without ``--quiet``, and what its command is to run in: quiet if it was there.

    >>> without_quiet(["train", "--quiet", "--epochs", "3"])[0]
    ['train', '--epochs', '3']
    """
    rest = [argument for argument in arguments if argument != QUIET]
    return rest, quiet() if len(rest) < len(arguments) else nullcontext()


def with_flags(arguments: Sequence[str], *functions: Callable[..., Any]) -> list[str]:
    """A command and its options; ``--force`` stands for ``--force=true``, as all flags do.

    >>> def write(*, force: bool = False, sync: bool | None = None) -> None: ...
    >>> with_flags(["write", "--force", "--sync"], write)
    ['write', '--force=true', '--sync=true']
    """
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    flags = {f"--{p.name}" for p in parameters if _is_flag(p)}
    following = [*arguments[1:], ""][: len(arguments)]
    return [
        f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def _is_flag(parameter: inspect.Parameter) -> bool:
    return isinstance(parameter.default, bool) or str(parameter.annotation) == "bool | None"
