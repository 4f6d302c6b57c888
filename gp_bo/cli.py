"""The ``gp-bo`` command: parses options, runs a subcommand, and never shows a traceback."""

from __future__ import annotations

import inspect
import sys
from argparse import SUPPRESS
from collections.abc import Callable, Collection, Sequence
from functools import wraps
from types import FunctionType
from typing import Any

from gp_bo import commands
from gp_bo.examination.command import exam
from gp_bo.functions import FUNCTIONS
from gp_bo.inference import INFERENCES
from gp_bo.kernels import KERNELS
from gp_bo.likelihoods import LIKELIHOODS
from gp_bo.means import MEANS
from gp_bo.optimize import ACQUISITIONS
from gp_bo.prior_names import PRIORS
from inference.command_line import OneLineParser, exit_code, parser_of, with_flags, without_quiet

__all__ = ["main"]

COMMANDS: dict[str, Callable[..., None]] = {**commands.COMMANDS, "exam": exam}

OLD_OPTIONS = {"--maximise": "--maximize", "--draws": "--num_draws"}
"""Options by the names that they had before, which still work."""


_REGISTRIES: dict[str, Collection[str]] = {
    "{kernels}": KERNELS,
    "{acquisitions}": ACQUISITIONS,
    "{inferences}": INFERENCES,
    "{means}": MEANS,
    "{likelihoods}": LIKELIHOODS,
    "{priors}": PRIORS,
    "{functions}": FUNCTIONS,
}
"""What a help text names so is replaced by all that are registered now."""


def _documented(command: Callable[..., None]) -> Callable[..., None]:
    """The command with these lists in its docstring, from which its help is made."""
    copy = FunctionType(command.__code__, command.__globals__, argdefs=command.__defaults__)
    wraps(command)(copy)
    for name, known in _REGISTRIES.items():
        copy.__doc__ = (copy.__doc__ or "").replace(name, ", ".join(known))
    return copy


def _add_options(parser: OneLineParser, name: str) -> None:
    skip: set[str] = set()
    if name == "tell":  # a value may be left out
        parser.add_argument("state", type=str, help='JSON file that "gp-bo ask" made.')
        parser.add_argument("value", type=str, nargs="?", help="What was measured.")
        skip = {"state", "value"}
    skip |= {"parser"} if name == "completion" else set()
    parser.add_function_arguments(_documented(COMMANDS[name]), as_positional=True, skip=skip)
    for old, _, annotation in _old_names(name):  # in a file
        parser.add_argument(f"--{old}", type=annotation | None, default=None, help=SUPPRESS)


def _old_names(command: str) -> list[tuple[str, str, Any]]:
    """Old and new name, and type, of the options of a command that were renamed."""
    own = inspect.signature(COMMANDS[command], eval_str=True).parameters
    names = [(old.lstrip("-"), new.lstrip("-")) for old, new in OLD_OPTIONS.items()]
    return [(old, new, own[new].annotation) for old, new in names if new in own]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what stands after ``gp-bo``, from the shell unless arguments are given.

    Returns 0 if all went well, 2 for a mistake in its use, 130 if interrupted.
    """
    given, silence = without_quiet(sys.argv[1:] if arguments is None else arguments)

    def run() -> None:
        with silence:
            _run(given)

    return exit_code("gp-bo", run, interrupted="what was written is complete")


def _run(arguments: Sequence[str]) -> None:
    arguments = [
        f"--priors.{a.removeprefix('--prior.')}" if a.startswith("--prior.") else a
        for a in arguments
    ]
    split = [argument.partition("=") for argument in arguments]
    arguments = [OLD_OPTIONS.get(name, name) + equals + value for name, equals, value in split]
    given = with_flags(arguments, *(COMMANDS[name] for name in arguments[:1] if name in COMMANDS))
    parser = parser_of(
        {name: _documented(command) for name, command in COMMANDS.items()},
        _add_options,
        prog="gp-bo",
        description="Gaussian processes, and Bayesian optimisation with them.",
        named=COMMANDS if given[:1] == ["completion"] else given,
    )
    chosen = parser.parse_args(given)
    options: dict[str, Any] = chosen[chosen.command].as_dict()
    options.pop("config", None)
    for old, new, _ in _old_names(chosen.command):
        given_as_before = options.pop(old, None)
        options[new] = options[new] if given_as_before is None else given_as_before
    if chosen.command == "completion":
        options["parser"] = parser
    COMMANDS[chosen.command](**options)


if __name__ == "__main__":
    sys.exit(main())
