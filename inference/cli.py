"""The ``pyro-models`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser

from inference import commands, report
from inference.report import MakePart
from pyro_models import UsageError
from pyro_models.presets import preset_names, preset_path

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


# options of train that a sweep has of its own, or has no use for
NOT_SHARED = {"all_training", "labelled_only", "snapshots", "start", "seed", "resume", "force"}


class _Parser(ArgumentParser):
    """Says what is wrong with the options in one line, and exits with code 2."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        _complain(message)
        raise SystemExit(2)


def _complain(message: object) -> None:
    print(f"pyro-models: error: {' '.join(str(message).split())}", file=sys.stderr)


def _parser(named: Collection[str]) -> ArgumentParser:
    """All commands by their summaries; options only of those named, for they take long to read."""
    parser = _Parser(
        prog="pyro-models", description="Learn and judge density models: Pyro model/guide pairs."
    )
    subcommands = parser.add_subcommands(dest="command", metavar="COMMAND")
    for name, function in COMMANDS.items():
        summary = (function.__doc__ or "").split("\n", maxsplit=1)[0]
        sub = _Parser(description=summary)
        if name not in named:
            subcommands.add_subcommand(name, sub, help=summary)
            continue
        sub.add_argument("--config", action="config", help="YAML file with any of these options.")
        if name == "train":
            sub.add_argument(
                "--preset",
                metavar="NAME",
                help="A course's architecture and recipe, options given after it win: "
                f"{', '.join(preset_names())}.",
            )
        if name == "compare":
            sub.add_argument("runs", nargs="+", help="Run folders.")
        own = set(inspect.signature(function).parameters)
        sub.add_function_arguments(
            function, as_positional=name != "sweep", skip={"runs", "training", "parts"} & own
        )
        if name == "sweep":
            sub.add_function_arguments(commands.train, skip=NOT_SHARED | (own & _names_of("train")))
        subcommands.add_subcommand(name, sub, help=summary)
    return parser


def _names_of(command: str) -> set[str]:
    return set(inspect.signature(COMMANDS[command]).parameters)


def _with_preset(arguments: Sequence[str]) -> list[str]:
    """Turn ``--preset NAME`` into the configuration file it stands for."""
    given = list(arguments)
    for i, argument in enumerate(given):
        if argument == "--preset" and i + 1 < len(given):
            return [*given[:i], "--config", str(preset_path(given[i + 1])), *given[i + 2 :]]
        if argument.startswith("--preset="):
            path = str(preset_path(argument.removeprefix("--preset=")))
            return [*given[:i], "--config", path, *given[i + 1 :]]
    return given


def _with_flags(arguments: Sequence[str]) -> list[str]:
    """Let ``--force`` stand for ``--force true``, and so for every option that is true or false."""
    given = list(arguments)
    if not given or given[0] not in COMMANDS:
        return given
    parameters = [*inspect.signature(COMMANDS[given[0]]).parameters.values()]
    if given[0] == "sweep":
        parameters += inspect.signature(commands.train).parameters.values()
    flags = {f"--{p.name}" for p in parameters if isinstance(p.default, bool)}
    following = [*given[1:], ""]
    return [
        f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
        for argument, after in zip(given, following, strict=True)
    ]


def _names(arguments: Sequence[str], option: str) -> bool:
    """Whether an option, or a part of it, or a file that may hold it, is given."""
    starts = (f"--{option}=", f"--{option}.", "--config")
    return any(a == f"--{option}" or a.startswith(starts) for a in arguments)


def main(arguments: Sequence[str] | None = None, *, parts: Sequence[MakePart] = ()) -> int:
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
    try:
        given = _with_flags(_with_preset(sys.argv[1:] if arguments is None else arguments))
        chosen = _parser(given).parse_args(given)
        options = chosen[chosen.command].as_dict()
        options.pop("config", None)
        if options.pop("preset", None) is not None:
            raise UsageError("a preset is named on the command line (--preset NAME), not in a file")
        if options.get("resume") and options.get("out"):
            recorded = commands.recorded_options(options["out"])
            options = {**options, **{k: v for k, v in recorded.items() if not _names(given, k)}}
        if chosen.command == "demo":
            options["parts"] = parts
        COMMANDS[chosen.command](**options)
    except UsageError as error:
        _complain(error)
        return 2
    except OSError as error:
        _complain(f"{error.strerror or error}: {error.filename or 'a file'}")
        return 2
    except KeyboardInterrupt:
        _complain("interrupted; what was written is complete (a training can be resumed)")
        return 130
    return 0
