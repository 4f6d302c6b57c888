"""The ``pyro-models`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import inspect
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any

from inference import commands, report
from inference.command_line import OneLineParser, exit_code, parser_of, with_flags
from inference.report import MakeSection
from pyro_models import UsageError
from pyro_models.presets import preset_config, preset_names

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., Any]] = {
    "train": commands.train,
    "evaluate": commands.evaluate,
    "compare": commands.compare,
    "diagnose": commands.diagnose,
    "guides": commands.guides,
    "sweep": commands.sweep,
    "features": commands.features,
    "sample": commands.sample,
    "plot": commands.plot,
    "complete": commands.complete,
    "infer": commands.infer,
    "demo": report.demo,
}


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
        if argument == "--preset" and i + 1 < len(given):
            return [*given[:i], *_stands_for(given[i + 1], given), *given[i + 2 :]]
        if argument.startswith("--preset="):
            name = argument.removeprefix("--preset=")
            return [*given[:i], *_stands_for(name, given), *given[i + 1 :]]
    return given


def _stands_for(preset: str, given: Sequence[str]) -> list[str]:
    file = ["--config", preset_config(preset)]
    if given[0] != "train" or any(a == "--out" or a.startswith("--out=") for a in given):
        return file
    return [*file, "--out", f"runs/{preset}"]


def _with_seeds(arguments: Sequence[str]) -> list[str]:
    """Let ``--seeds 0 1 2`` stand for the list."""
    given = list(arguments)
    if "--seeds" in given:
        begin = given.index("--seeds")
        seeds = list(takewhile(str.isdigit, given[begin + 1 :]))
        if seeds:
            given[begin : begin + 1 + len(seeds)] = [f"--seeds=[{', '.join(seeds)}]"]
    return given


def _names(arguments: Sequence[str], option: str) -> bool:
    """Whether an option, or a part of it, or a file that may hold it, is given."""
    starts = (f"--{option}=", f"--{option}.", "--config")
    return any(a == f"--{option}" or a.startswith(starts) for a in arguments)


def main(arguments: Sequence[str] | None = None, *, parts: Sequence[MakeSection] = ()) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        What stands after ``pyro-models``; from the shell unless given.
    parts
        What else ``demo`` reports on, made by packages that build on this one.

    Returns
    -------
    int
        0 if all went well, 2 for a mistake in its use, 130 if interrupted.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return exit_code(
        "pyro-models",
        lambda: _run(given, parts),
        interrupted="what was written is complete (a training can be resumed)",
    )


def _run(arguments: Sequence[str], parts: Sequence[MakeSection]) -> None:
    given = _with_seeds(_with_preset(arguments))
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
        recorded = commands.recorded_options(options["out"], elsewhere=_names(given, "data"))
        options |= {name: value for name, value in recorded.items() if not _names(given, name)}
    if chosen.command == "train" and (start := options.pop("start", None)) is not None:
        options["init_from"] = start
    if chosen.command == "demo":
        options["parts"] = parts
    COMMANDS[chosen.command](**options)


if __name__ == "__main__":
    sys.exit(main())
