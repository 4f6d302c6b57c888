"""The ``pyro-models`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import inspect
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile
from typing import Any

import yaml

from inference import report
from inference.command_line import OneLineParser, exit_code, parser_of, with_flags, without_quiet
from inference.commands import COMMANDS as ON_RUNS
from inference.commands import OF_MODELS
from inference.commands.model_file import is_model_file
from inference.commands.quantities import OF_TABLES
from inference.commands.train import recorded_options
from inference.learning.settings import SWAPPED
from inference.posterior.guides import GUIDES
from inference.programs.guides import PROGRAM_GUIDES
from inference.report import MakeSection
from pyro_models import UsageError
from pyro_models.presets import load_preset, preset_config, preset_names

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., Any]] = {**ON_RUNS, "demo": report.demo}

OLD_OPTIONS: dict[str, dict[str, tuple[str, type]]] = {
    "train": {"start": ("init_from", str)},
    "infer": {"tolerance": ("min_improvement", float)},
}
"""Old name → new name and type of options of commands."""

ON_SEVERAL = {
    "compare": "Run folders, or folders of several seeds.",
    "evidence": "Run folders.",
    "plot": "Run folders; of several, curves stand in one axis and models side by side.",
}
"""Commands on several runs, and what these may be."""


_REGISTRIES: dict[str, Callable[[], Collection[str]]] = {
    "{guides}": lambda: GUIDES,
    "{program_guides}": lambda: PROGRAM_GUIDES,
    **OF_TABLES,
}
"""What a help text names so is replaced by all that are registered now."""
OF_PRESETS = ("train", "find-lr")
"""Commands on an experiment, which a preset is."""


def _of_model(arguments: Sequence[str]) -> bool:
    """Whether a command has a Pyro model of a file in the place of a run folder."""
    if not arguments or arguments[0] not in OF_MODELS:
        return False
    before = ("", *arguments[1:])  # what an option stands before is its value
    first = (
        argument
        for last, argument in zip(before, arguments[1:], strict=False)
        if not argument.startswith("--") and (not last.startswith("--") or "=" in last)
    )
    return is_model_file(next(first, ""))


def _check_form(arguments: Sequence[str], *, of_model: bool) -> None:
    """Refuse options that a command has for run folders alone, or for Pyro models alone."""
    if not arguments or arguments[0] not in OF_MODELS:
        return
    forms = (ON_RUNS, OF_MODELS) if not of_model else (OF_MODELS, ON_RUNS)
    own, other = ({*inspect.signature(form[arguments[0]]).parameters} for form in forms)
    for argument in arguments[1:]:
        name = argument.partition("=")[0].partition(".")[0]
        if name.startswith("--") and name[2:] in other - own:
            whose = "run folders, and not for a Pyro model"
            whose = whose if of_model else "a Pyro model (FILE.py:NAME), and not for run folders"
            raise UsageError(f"{name} is an option of pyro-models {arguments[0]} for {whose}")


def _add_options(parser: OneLineParser, name: str, command: Callable[..., Any]) -> None:
    if name in OF_PRESETS:
        parser.add_argument(
            "--preset",
            metavar="NAME",
            help="A course's architecture and recipe; options given beside it win: "
            f"{', '.join(preset_names())}.",
        )
    if name in ON_SEVERAL:
        parser.add_argument("runs", nargs="+", help=ON_SEVERAL[name])
    if name == "runs":
        parser.add_argument("folder", nargs="?", help="Folder of runs; ./runs unless given.")
    for old, (_, kind) in OLD_OPTIONS.get(name, {}).items():
        parser.add_argument(f"--{old}", type=kind, help=SUPPRESS)
    getattr(command, "spell", lambda: None)()
    for placeholder, known in _REGISTRIES.items():
        command.__doc__ = (command.__doc__ or "").replace(placeholder, ", ".join(known()))
    skip = {"runs", "parts", "parser"} & inspect.signature(command).parameters.keys()
    skip |= {"folder"} if name == "runs" else set()
    parser.add_function_arguments(command, as_positional=name != "sweep", skip=skip)


def _split_presets(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The names given by ``--preset NAME``, and what is given beside them."""
    rest: list[str] = []
    presets: list[str] = []
    following = iter(arguments)
    for argument in following:
        option, equals, name = argument.partition("=")
        if option == "--preset" and not equals:
            name = next(following, "")
        if option == "--preset" and name:
            presets.append(name)
        else:
            rest.append(argument)
    return presets, rest


def _files_of(presets: Sequence[str], beside: Sequence[str], own: Mapping[str, Any]) -> list[str]:
    """The configuration files of presets, and for ``train`` a run folder of the last one's name."""
    files = [part for name in presets for part in ("--config", _config_of(name, own))]
    named = any(a.partition("=")[0] == "--out" for a in beside)
    if named or not presets or beside[:1] != ["train"]:
        return files
    return [*files, "--out", f"runs/{presets[-1]}"]


def _config_of(preset: str, own: Mapping[str, Any]) -> str:
    """The file of a preset, or the text of it without the options of what is given anew."""
    values, kept = load_preset(preset), load_preset(preset)
    _without_others_options(kept, own, values)
    return preset_config(preset) if kept == values else yaml.safe_dump(kept)


def _without_others_options(
    options: dict[str, Any], own: Mapping[str, Any], preset: Mapping[str, Any]
) -> None:
    """Drop the options that a preset gives an object in whose place another is given."""
    for name in (*SWAPPED, "likelihood"):
        if name in own and own[name] != preset.get(name) and f"{name}_options" not in own:
            options.pop(f"{name}_options", None)
    if isinstance(own.get("options"), dict):
        _without_others_options(
            options.get("options", {}), own["options"], preset.get("options", {})
        )


def _with_seeds(arguments: Sequence[str]) -> list[str]:
    """Let ``--seeds 0 1 2`` stand for the list."""
    given = list(arguments)
    if "--seeds" in given:
        begin = given.index("--seeds")
        seeds = list(takewhile(str.isdigit, given[begin + 1 :]))
        if seeds:
            given[begin : begin + 1 + len(seeds)] = [f"--seeds=[{', '.join(seeds)}]"]
    return given


def _with_trackers(arguments: Sequence[str]) -> list[str]:
    """Let ``--track tensorboard --track mlflow`` stand for the list of both.

    >>> _with_trackers(["train", "--track", "tensorboard", "--track=mlflow"])
    ['train', '--track=[tensorboard, mlflow]']
    """
    rest: list[str] = []
    found: list[str] = []
    following = iter(arguments)
    for argument in following:
        option, equals, value = argument.partition("=")
        if option == "--track":
            found.append(value if equals else next(following, ""))
        else:
            rest.append(argument)
    if len(found) < 2:
        return list(arguments)
    return [*rest, f"--track=[{', '.join(found)}]"]


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
    given, silence = without_quiet(sys.argv[1:] if arguments is None else arguments)

    def run() -> None:
        with silence:
            _together(given, parts)

    return exit_code(
        "pyro-models",
        run,
        interrupted="what was written is complete (a training can be resumed)",
    )


def _together(arguments: Sequence[str], parts: Sequence[MakeSection]) -> None:
    """Run it with the other processes of ``torchrun``, where it is one that they can share."""
    if list(arguments[:1]) != ["train"]:
        return _run(arguments, parts)
    from inference.learning.data_parallel import launched

    with launched():
        _run(arguments, parts)


def _run(arguments: Sequence[str], parts: Sequence[MakeSection]) -> None:
    presets, rest = _split_presets(_with_trackers(_with_seeds(arguments)))
    if presets and rest and rest[0] in COMMANDS and rest[0] not in OF_PRESETS:
        raise UsageError(f"--preset is an option of {' and '.join(OF_PRESETS)}, not of {rest[0]}")
    forms = [form[name] for name in rest[:1] for form in (COMMANDS, OF_MODELS) if name in form]
    rest = with_flags(rest, *forms)
    of_model = _of_model(rest)
    _check_form(rest, of_model=of_model)
    commands = {**COMMANDS, **OF_MODELS} if of_model else COMMANDS
    parser = parser_of(
        commands,
        lambda parser, name: _add_options(parser, name, commands[name]),
        prog="pyro-models",
        description="Learn and judge density models: Pyro model/guide pairs.",
        named=commands if rest[:1] == ["completion"] else rest,
    )
    own = {}
    if presets:
        quiet = [a for a in rest if not a.startswith("--print_config")]
        own = parser.parse_args(quiet, defaults=False)[rest[0]].as_dict()
    given = [*rest[:1], *_files_of(presets, rest, own), *rest[1:]]  # what is given beside them wins
    chosen = parser.parse_args(given)
    options: dict[str, Any] = chosen[chosen.command].as_dict()
    options.pop("config", None)
    if options.pop("preset", None) is not None:
        raise UsageError("a preset is named on the command line (--preset NAME), not in a file")
    if chosen.command == "train" and options.get("resume") and options.get("out"):
        recorded = recorded_options(options["out"], elsewhere=_names(given, "data"))
        options |= {name: value for name, value in recorded.items() if not _names(given, name)}
    for old, (new, _) in OLD_OPTIONS.get(chosen.command, {}).items():
        if (value := options.pop(old, None)) is not None:
            options[new] = value
    if chosen.command == "demo":
        options["parts"] = parts
    elif chosen.command == "completion":
        options["parser"] = parser
    commands[chosen.command](**options)


if __name__ == "__main__":
    sys.exit(main())
