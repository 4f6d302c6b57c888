"""What a parser complains of, with what was probably meant and where help is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from pyro_models.suggestions import did_you_mean

__all__ = ["advised"]


def advised(message: str, prog: str, names: Mapping[str, Sequence[str]]) -> str:
    """A message about what is unknown or missing, in plain words and with advice; others as is.

    ``names`` are the options of each command, and under no name those of the program.

    >>> known = {"": ["--help"], "train": ["--epochs", "--lr"]}
    >>> advised("argument COMMAND: invalid choice: 'trian' (choose from 'train')", "learn", known)
    "unknown command 'trian': choose from train; did you mean train? (learn --help lists them)"
    >>> advised("unrecognized arguments: --epohcs 3", "learn [options] train", known)
    'unknown option --epohcs; did you mean --epochs? (learn train --help lists all)'
    >>> advised("the following arguments are required: train.run", "learn", known)
    'train needs RUN (learn train --help says more)'
    >>> advised("the following arguments are required: fit.data, fit.out", "learn", known)
    'fit needs DATA and OUT (learn fit --help says more)'
    """
    program = prog.split(maxsplit=1)[0]
    commands = [name for name in names if name]
    if found := re.search(r"COMMAND: invalid choice: '(.*?)'", message):
        return (
            f"unknown command {found[1]!r}: choose from {', '.join(commands)}"
            f"{did_you_mean(found[1], commands)} ({program} --help lists them)"
        )
    if 'expected "command" to be one of' in message:
        return f"name a command: {', '.join(commands)} ({program} --help says what they do)"
    command = next((word for word in prog.split()[1:] if not word.startswith("[")), "")
    if found := re.match(r"[Uu]nrecognized arguments: (--[\w.-]+)", message):
        own = names.get(command) or [option for options in names.values() for option in options]
        meant = did_you_mean(found[1], own)
        if not meant and "--options" in own:
            meant = f"; one of the model is written --options.{found[1][2:]}"
        said = f"unknown option {found[1]}{meant}"
        return f"{said} ({' '.join([program, command]).strip()} --help lists all)"
    if found := re.match(r"[Uu]nrecognized arguments: (\S+)", message):
        word = found[1]
        said = f"{command or program} does not know what {word!r} is for: write --OPTION {word}"
        return f"{said} ({' '.join([program, command]).strip()} --help lists the options)"
    if found := re.match(r"the following arguments are required: ([\w., ]+)$", message):
        missing = [name.rpartition(".") for name in found[1].split(", ")]
        of = missing[0][0] or command
        *others, last = (name.upper() for _, _, name in missing)
        said = f"{of or program} needs {', '.join(others)}{' and ' if others else ''}{last}"
        return f"{said} ({' '.join([program, of]).strip()} --help says more)"
    return message
