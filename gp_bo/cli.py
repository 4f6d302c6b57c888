"""The ``gp-bo`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from gp_bo import commands
from gp_bo.examination.command import exam
from inference.command_line import OneLineParser, exit_code, parser_of, with_flags

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., None]] = {
    "fit": commands.fit,
    "predict": commands.predict,
    "plot": commands.plot,
    "minimize": commands.minimize,
    "ask": commands.ask,
    "tell": commands.tell,
    "forget": commands.forget,
    "exam": exam,
}


def _add_options(parser: OneLineParser, name: str) -> None:
    skip = set()
    if name == "tell":  # a value may be left out
        parser.add_argument("state", type=str, help='JSON file that "gp-bo ask" made.')
        parser.add_argument("value", type=str, nargs="?", help="What was measured.")
        skip = {"state", "value"}
    parser.add_function_arguments(COMMANDS[name], as_positional=True, skip=skip)


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
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code("gp-bo", lambda: _run(given), interrupted="what was written is complete")


def _run(arguments: Sequence[str]) -> None:
    given = with_flags(arguments, *(COMMANDS[name] for name in arguments[:1] if name in COMMANDS))
    parser = parser_of(
        COMMANDS,
        _add_options,
        prog="gp-bo",
        description="Gaussian processes, and Bayesian optimisation with them.",
        named=given,
    )
    chosen = parser.parse_args(given)
    options: dict[str, Any] = chosen[chosen.command].as_dict()
    options.pop("config", None)
    COMMANDS[chosen.command](**options)


if __name__ == "__main__":
    sys.exit(main())
