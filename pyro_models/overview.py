"""What a program can do, told in no time: the list of its commands, read from their sources.

The commands themselves import torch, which takes seconds; their names and the first lines of their
docstrings stand in their files.
"""

from __future__ import annotations

import ast
from argparse import ArgumentParser, HelpFormatter
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

_MORE = "For more details of each subcommand, add it as an argument followed by --help."

__all__ = ["asks_for_overview", "commands_in", "exported", "overview"]


def asks_for_overview(arguments: Sequence[str]) -> bool:
    """Whether what stands after a program's name is nothing but a wish for its help.

    >>> asks_for_overview(["--help"]), asks_for_overview(["train", "--help"])
    (True, False)
    """
    return list(arguments) in (["--help"], ["-h"])


def commands_in(
    files: Iterable[Path], *, among: Collection[str] | None = None
) -> Iterator[tuple[str, str]]:
    """Name and first line of the docstring of the functions of files that are commands.

    They are marked as a ``command``, or else ``among`` some names. In an archive there are none.
    """
    for file in files:
        if not file.is_file():
            continue
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            marks = {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}
            if "command" in marks if among is None else node.name in among:
                yield (
                    node.name.replace("_", "-"),
                    (ast.get_docstring(node) or "").split("\n", maxsplit=1)[0],
                )


def exported(file: Path) -> list[str]:
    """What a module says in ``__all__``."""
    if not file.is_file():
        return []
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def overview(program: str, description: str, commands: Iterable[tuple[str, str]]) -> str:
    """The help of a program without any options.

    >>> print(overview("greet", "Greetings.", [("wave", "Wave a hand.")]))
    usage: greet COMMAND ...
    <BLANKLINE>
    Greetings.
    <BLANKLINE>
    options:
      -h, --help  Show this help message and exit.
      --version   Show the versions and exit.
    <BLANKLINE>
    subcommands:
      For more details of each subcommand, add it as an argument followed by --help.
    <BLANKLINE>
      COMMAND
        wave      Wave a hand.
    <BLANKLINE>
    """
    commands = list(commands)

    def formatter(prog: str) -> HelpFormatter:
        made = HelpFormatter(prog, width=100)
        # argparse leaves the indentation of subcommands out of their widths
        made._action_max_length = 4 + max((len(name) for name, _ in commands), default=0)
        return made

    parser = ArgumentParser(
        prog=program,
        usage=f"{program} COMMAND ...",
        description=description,
        add_help=False,
        formatter_class=formatter,
    )
    parser.add_argument("-h", "--help", action="help", help="Show this help message and exit.")
    parser.add_argument("--version", action="version", help="Show the versions and exit.")
    listed = parser.add_subparsers(
        title="subcommands",
        description=_MORE,
        metavar="COMMAND",
    )
    for name, summary in commands:
        listed.add_parser(name, help=summary)
    return parser.format_help()
