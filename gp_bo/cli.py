"""The ``gp-bo`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from gp_bo import commands
from pyro_models import UsageError

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., None]] = {
    "fit": commands.fit,
    "predict": commands.predict,
    "plot": commands.plot,
    "minimize": commands.minimize,
    "ask": commands.ask,
    "tell": commands.tell,
    "exam": commands.exam,
}


class _Parser(ArgumentParser):
    """Says what is wrong with the options in one line, and exits with code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        _complain(message)
        raise SystemExit(2)


def _complain(message: object) -> None:
    print(f"gp-bo: error: {' '.join(str(message).split())}", file=sys.stderr)


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="gp-bo", description="Gaussian processes, and Bayesian optimisation with them."
    )
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    for name, function in COMMANDS.items():
        summary = (function.__doc__ or "").split("\n", maxsplit=1)[0]
        sub = _Parser(description=summary)
        sub.add_argument("--config", action="config", help="YAML file with any of these options.")
        skip = {"value"} if name == "tell" else set()
        if name == "tell":
            sub.add_argument("state", type=str, help='JSON file that "gp-bo ask" made.')
            sub.add_argument("value", type=str, nargs="?", help="What was measured.")
            skip.add("state")
        sub.add_function_arguments(function, as_positional=True, skip=skip)
        subcommands.add_subcommand(name, sub, help=summary)
    return parser


def _with_flags(arguments: Sequence[str]) -> list[str]:
    """Let ``--force`` stand for ``--force true``, and so for every option that is true or false."""
    given = list(arguments)
    if not given or given[0] not in COMMANDS:
        return given
    parameters = inspect.signature(COMMANDS[given[0]]).parameters.values()
    flags = {f"--{p.name}" for p in parameters if isinstance(p.default, bool)}
    following = [*given[1:], ""]
    return [
        f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
        for argument, after in zip(given, following, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        What stands after ``gp-bo``; from the shell unless given.

    Returns
    -------
    int
        0 if all went well, 2 for a mistake in its use, 130 if interrupted.
    """
    try:
        chosen = _parser().parse_args(_with_flags(sys.argv[1:] if arguments is None else arguments))
        options: dict[str, Any] = chosen[chosen.command].as_dict()
        options.pop("config", None)
        COMMANDS[chosen.command](**options)
    except UsageError as error:
        _complain(error)
        return 2
    except OSError as error:
        _complain(f"{error.strerror or error}: {error.filename or 'a file'}")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what was written is complete")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
