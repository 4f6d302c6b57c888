"""A mistake in the use of a command: one line in plain words on stderr, and an exit code."""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from inference.command_line.output import lenient_output
from pyro_models import UsageError

__all__ = ["complain", "exit_code", "in_words", "warnings_in_a_line"]

_EXPECTED = (
    r"Expected (?:(?:a )?<class '(\w+)'>|a typing\.Literal\[(.*?)\]|"
    r"(a tuple(?: with \d+ elements)?))"
)
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
    "dict": "options by name",
    "list": 'a list such as "[a, b]"',
    "NoneType": "null",
}


def in_words(message: str) -> str:
    r"""What jsonargparse says of a value of the wrong type, without Python's names of types.

    >>> in_words("Parser key \"lr\": Expected a <class 'float'>. Got value: fast")
    '--lr must be a number; got fast'
    """
    line = " ".join(message.split())
    found = re.fullmatch(r'Parser key "([\w.]+)": .*?(?:Got value: | Given value: )(.*)', line)
    if found is None:
        return message
    name, value = found[1], found[2].rpartition(" Given value: ")[2]  # all of it, not a part
    if "NestedArg" in value:
        return f"--{name} takes one value and has no options of its own"
    kinds = _expected(line)
    if not kinds or not all(kinds):
        return message
    *others, last = kinds
    return f"--{name} must be {', '.join(others)}{' or ' if others else ''}{last}; got {value}"


def _expected(line: str) -> list[str]:
    """What the value may be, each once; empty in place of a type that has no words here."""
    words: list[str] = []
    for kind, choices, pair in re.findall(_EXPECTED, line):
        words += choices.replace("'", "").split(", ") if choices else [_KINDS.get(kind) or pair]
    found = sorted(dict.fromkeys(words), key="null".__eq__)  # null last: some releases say it first
    return found[:1] if found == [_KINDS["bool"], "null"] else found  # a flag is rather left out


def exit_code(name: str, command: Callable[[], object], *, interrupted: str) -> int:
    """Run a command; a mistake of its user is one line on stderr, never a traceback.

    Nor does what is printed end it: see :mod:`inference.command_line.output`. The line begins with
    ``name``; ``interrupted`` says what is left when it is interrupted. Returns 0 if all went well,
    2 for a mistake in its use, 130 if interrupted.

    >>> exit_code("greet", lambda: print("hello"), interrupted="nothing was written")
    hello
    0
    """
    with lenient_output() as output, warnings_in_a_line(name):
        code = _code_of(name, command, interrupted=interrupted)
        if output is not None:
            output.flush()
            lost = output.broken
            if lost is not None and not isinstance(lost, BrokenPipeError):
                complain(name, f"what was printed is lost ({lost.strerror or lost}); files are not")
                return 2
        return code


def _code_of(name: str, command: Callable[[], object], *, interrupted: str) -> int:
    try:
        command()
        return 0
    except UsageError as error:
        said = str(error)
    except OSError as error:
        said = f"{error.strerror or error}: {error.filename or 'a file'}"
    except UnicodeDecodeError:
        said = "a file that was named, with --config, say, is no text in UTF-8"
    except KeyboardInterrupt:
        complain(name, f"interrupted; {interrupted}")
        return 130
    complain(name, said)
    return 2


@contextmanager
def warnings_in_a_line(name: str) -> Iterator[None]:
    """A warning is one line too, without the line of code that it came from."""
    before = warnings.formatwarning

    def format_warning(message: Warning | str, *_: object, **__: object) -> str:
        return f"{name}: warning: {' '.join(str(message).split())}\n"

    warnings.formatwarning = format_warning
    try:
        yield
    finally:
        warnings.formatwarning = before


def complain(name: str, message: object) -> None:
    """Print a message as one line on stderr, after the name of the program."""
    print(f"{name}: error: {' '.join(str(message).split())}", file=sys.stderr)
