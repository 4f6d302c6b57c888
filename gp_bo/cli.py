"""The ``gp-bo`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any

from gp_bo import commands
from inference.command_line import OneLineParser, exit_code, summary_of, with_flags

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


def _parser(named: Collection[str]) -> OneLineParser:
    """All commands by their summaries; options only of those named, for they take long to read."""
    parser = OneLineParser(
        prog="gp-bo", description="Gaussian processes, and Bayesian optimisation with them."
    )
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    for name, function in COMMANDS.items():
        summary = summary_of(function)
        sub = OneLineParser(description=summary)
        if name not in named:
            subcommands.add_subcommand(name, sub, help=summary)
            continue
        sub.add_argument("--config", action="config", help="YAML file with any of these options.")
        skip = {"value"} if name == "tell" else set()
        if name == "tell":
            sub.add_argument("state", type=str, help='JSON file that "gp-bo ask" made.')
            sub.add_argument("value", type=str, nargs="?", help="What was measured.")
            skip.add("state")
        sub.add_function_arguments(function, as_positional=True, skip=skip)
        subcommands.add_subcommand(name, sub, help=summary)
    return parser


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
    chosen = _parser(given).parse_args(given)
    options: dict[str, Any] = chosen[chosen.command].as_dict()
    options.pop("config", None)
    COMMANDS[chosen.command](**options)


if __name__ == "__main__":
    sys.exit(main())
