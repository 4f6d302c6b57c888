"""The ``pyro-models`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import inspect
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from typing import Any

from inference import report
from inference.command_line import OneLineParser, exit_code, parser_of, with_flags
from inference.commands import COMMANDS as ON_RUNS
from inference.commands.train import recorded_options
from inference.report import MakeSection
from pyro_models import UsageError
from pyro_models.presets import preset_config, preset_names

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., Any]] = {**ON_RUNS, "demo": report.demo}


def _add_options(parser: OneLineParser, name: str) -> None:
    if name == "train":
        parser.add_argument(
            "--preset",
            metavar="NAME",
            help="A course's architecture and recipe, options given after it win: "
            f"{', '.join(preset_names())}.",
        )
        parser.add_argument("--start", help=SUPPRESS)  # the old name of init_from
    if name == "compare":
        parser.add_argument("runs", nargs="+", help="Run folders.")
    command = COMMANDS[name]
    getattr(command, "spell", lambda: None)()
    skip = {"runs", "parts"} & inspect.signature(command).parameters.keys()
    parser.add_function_arguments(command, as_positional=name != "sweep", skip=skip)


def _with_preset(arguments: Sequence[str]) -> list[str]:
    """Turn ``--preset NAME`` into its configuration file, and a run folder of its name."""
    given = list(arguments)
    for i, argument in enumerate(given):
        option, equals, preset = argument.partition("=")
        if option != "--preset" or not (equals or i + 1 < len(given)):
            continue
        rest = given[i + 1 :] if equals else given[i + 2 :]
        preset = preset if equals else given[i + 1]
        out = ["--out", f"runs/{preset}"]
        if given[0] != "train" or any(a == "--out" or a.startswith("--out=") for a in given):
            out = []
        return [*given[:i], "--config", preset_config(preset), *out, *rest]
    return given


def _names(arguments: Sequence[str], option: str) -> bool:
    """Whether an option, or a part of it, or a file that may hold it, is given."""
    starts = (f"--{option}=", f"--{option}.", "--config")
    return any(a == f"--{option}" or a.startswith(starts) for a in arguments)


def main(arguments: Sequence[str] | None = None, *, parts: Sequence[MakeSection] = ()) -> int:
    """Run the command line; its exit code, as of :func:`inference.command_line.exit_code`.

    Parameters
    ----------
    arguments
        What stands after ``pyro-models``; from the shell unless given.
    parts
        What else ``demo`` reports on, made by packages that build on this one.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code(
        "pyro-models",
        lambda: _run(given, parts),
        interrupted="what was written is complete (a training can be resumed)",
    )


def _run(arguments: Sequence[str], parts: Sequence[MakeSection]) -> None:
    given = _with_preset(arguments)
    given = with_flags(given, *[COMMANDS[name] for name in given[:1] if name in COMMANDS])
    parser = parser_of(
        COMMANDS,
        _add_options,
        prog="pyro-models",
        description="Learn and judge density models: Pyro model/guide pairs.",
        named=given,
    )
    chosen = parser.parse_args(given)
    options: dict[str, Any] = chosen[chosen.command].as_dict()
    options.pop("config", None)
    if options.pop("preset", None) is not None:
        raise UsageError("a preset is named on the command line (--preset NAME), not in a file")
    if options.get("resume") and options.get("out"):
        recorded = recorded_options(options["out"], elsewhere=_names(given, "data"))
        options |= {name: value for name, value in recorded.items() if not _names(given, name)}
    if chosen.command == "train" and (start := options.pop("start", None)) is not None:
        options["init_from"] = start
    if chosen.command == "demo":
        options["parts"] = parts
    COMMANDS[chosen.command](**options)


if __name__ == "__main__":
    sys.exit(main())
