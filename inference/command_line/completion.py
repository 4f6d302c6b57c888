"""Completion of commands, options and names in a shell: a script, made once, that imports nothing.

What the Tab key shows is written into the script when it is made, so that no Python starts when the
key is pressed. The library shtab writes the script, from a plain parser with the same options.
"""

from __future__ import annotations

from argparse import SUPPRESS, Action, ArgumentParser
from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal, get_args, get_origin

from jsonargparse import ArgumentParser as Parser

from pyro_models import UsageError
from pyro_models.registry import check_choice

__all__ = ["SHELLS", "completion_script"]

SHELLS = ("bash", "zsh", "fish")

_SWITCHES = ("--help", "--config", "--print_config")
_FILES = ("config", "data", "out", "state", "gp", "run", "runs", "folder", "figure_file", "mask")
_HELP = 60  # characters of a description
_COMPDEF = "  compdef "
_LOADED = "  (( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"
"""What an eval in a .zshrc that loads no completion needs first."""


def completion_script(
    parser: Parser, shell: str, *, names: Mapping[str, Callable[[], Collection[str]]]
) -> str:
    """The script by which a shell completes a program's commands, options and names.

    Parameters
    ----------
    parser
        The program's parser, with the options of all its commands.
    shell
        One of ``SHELLS``.
    names
        What an option may be, by its name, ``"model"``, say.

    Raises
    ------
    UsageError
        If the shell is another, or shtab is not installed.
    """
    check_choice("shell", shell, SHELLS)
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: pip install 'pyro-models[completion]'") from None
    plain = ArgumentParser(prog=parser.prog, description=parser.description)
    listed = plain.add_subparsers()
    for name, sub in _commands(parser).items():
        own = listed.add_parser(name, help=sub.description, description=sub.description)
        for action in sub._actions:
            _add(own, action, names, files=shtab.FILE)
    script: str = shtab.complete(plain, shell)
    return script.replace(_COMPDEF, f"{_LOADED}{_COMPDEF}") if shell == "zsh" else script


def _commands(parser: Parser) -> Mapping[str, Parser]:
    """The parsers of the commands, by name."""
    found: Mapping[str, Parser] = next(a.choices for a in parser._actions if a.nargs == "A...")
    return found


def _add(
    parser: ArgumentParser,
    action: Action,
    names: Mapping[str, Callable[[], Collection[str]]],
    *,
    files: Any,
) -> None:
    """One option, as a plain parser has it, with what it may be."""
    long = [option for option in action.option_strings if option.startswith("--")]
    long = [option for option in long if not option.endswith("+")]  # which add to a list
    if action.help == SUPPRESS or any(option in ("--help", "-h") for option in long):
        return
    help_text = " ".join(str(action.help or "").split())
    help_text = help_text.partition(" (type:")[0].replace("%", "%%")[:_HELP]
    flags: Any = long or [action.dest]
    given: dict[str, Any] = {"help": help_text}
    choices = names[action.dest]() if action.dest in names else _choices(action)
    if choices:
        given["choices"] = [*choices]
    if action.nargs in ("?", "*", "+"):
        given["nargs"] = action.nargs
    made = parser.add_argument(*flags, **given)
    if not choices and action.dest.split(".")[-1] in _FILES:
        made.complete = files  # type: ignore[attr-defined]


def _choices(action: Action) -> list[str]:
    """What an option may be, by its type."""
    hint = getattr(action, "_typehint", action.type)
    kinds = [hint, *get_args(hint)]
    words = [str(v) for kind in kinds if get_origin(kind) is Literal for v in get_args(kind)]
    return words or (["true", "false"] if bool in kinds else [])
