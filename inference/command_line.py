"""What every command here does with its arguments: one-line errors, flags, exit codes."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from pyro_models import UsageError

__all__ = ["OneLineParser", "exit_code", "summary_of", "with_flags"]


_BELOW = "\x1f"  # stands for the dots of an option of an option; no name has one


class OneLineParser(ArgumentParser):
    """Says what is wrong with the options in one line, and exits with code 2.

    Options of options, ``--options.likelihood_options.floor 0.1``, stand beside those given before
    them, on the line or in a file; jsonargparse alone lets the last one displace the others. What
    begins with a minus and a digit is a value: ``-1e-3`` and ``-1,0.5`` are no options.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._negative_number_matcher = re.compile(r"-\.?\d")  # argparse knows only -1 and -0.5

    def parse_args(self, args: Sequence[str] | None = None, *rest: Any, **given: Any) -> Any:
        """As jsonargparse does, but for options of options."""
        arguments = sys.argv[1:] if args is None else args
        parsed = super().parse_args([_one_below(a) for a in arguments], *rest, **given)
        return _nested(parsed)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Complain in one line and leave."""
        _complain(self.prog.split()[0], _in_words(message))
        raise SystemExit(2)


_EXPECTED = r"Expected (?:a <class '(\w+)'>|a typing\.Literal\[(.*?)\]|(a tuple[\w ]*\w))"
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a word",
    "dict": "options by name",
    "list": "a list",
    "NoneType": "null",
}


def _in_words(message: str) -> str:
    r"""What jsonargparse says of a value of the wrong type, without Python's names of types.

    >>> _in_words("Parser key \"lr\": Expected a <class 'float'>. Got value: fast")
    '--lr must be a number; got fast'
    """
    line = " ".join(message.split())
    found = re.fullmatch(r'Parser key "([\w.]+)": .*?(?:Got value: | Given value: )(.*)', line)
    if found is None:
        return message
    name, value = found[1], found[2].rpartition(" Given value: ")[2]  # all of it, not a part
    if "NestedArg" in value:
        return f"--{name} takes one value and has no options of its own"
    words: list[str] = []
    for kind, choices, pair in re.findall(_EXPECTED, line):
        words += choices.replace("'", "").split(", ") if choices else [_KINDS.get(kind) or pair]
    if not words or not all(words):
        return message
    *others, last = dict.fromkeys(words)
    return f"--{name} must be {', '.join(others)}{' or ' if others else ''}{last}; got {value}"


def _one_below(argument: str) -> str:
    """``--a.b.c=1`` as one name below ``--a``, for jsonargparse merges no deeper ones."""
    name, equals, value = argument.partition("=")
    if not name.startswith("--") or name.count(".") < 2:
        return argument
    outer, *inner = name.split(".")
    return f"{outer}.{_BELOW.join(inner)}{equals}{value}"


def _nested(parsed: Any) -> Any:
    """The names that :func:`_one_below` has joined, one below the other again."""
    if isinstance(parsed, Namespace):
        for name, value in vars(parsed).items():
            setattr(parsed, name, _nested(value))
    if not isinstance(parsed, dict):
        return parsed
    plain = {name: value for name, value in parsed.items() if _BELOW not in str(name)}
    for name, value in parsed.items():
        if name not in plain:
            outer, _, rest = name.partition(_BELOW)
            above = plain.get(outer)
            earlier = above if isinstance(above, dict) else {}
            plain[outer] = _nested({**earlier, rest: value})
    return plain


def summary_of(function: Callable[..., Any]) -> str:
    """The first line of a function's docstring."""
    return (function.__doc__ or "").split("\n", maxsplit=1)[0]


def with_flags(arguments: Sequence[str], *functions: Callable[..., Any]) -> list[str]:
    """Let ``--force`` stand for ``--force=true``, and so for all that is true or false.

    Parameters
    ----------
    arguments
        A command and its options.
    functions
        Whose options the command has.

    Examples
    --------
    >>> def write(*, force: bool = False) -> None: ...
    >>> with_flags(["write", "--force"], write)
    ['write', '--force=true']
    """
    parameters = [p for f in functions for p in inspect.signature(f).parameters.values()]
    flags = {f"--{p.name}" for p in parameters if isinstance(p.default, bool)}
    following = [*arguments[1:], ""][: len(arguments)]
    return [
        f"{argument}=true" if argument in flags and after not in ("true", "false") else argument
        for argument, after in zip(arguments, following, strict=True)
    ]


def exit_code(name: str, command: Callable[[], object], *, interrupted: str) -> int:
    """Run a command; a mistake of its user is one line on stderr, never a traceback.

    Parameters
    ----------
    name
        What the line begins with.
    command
        Parses and runs.
    interrupted
        What is left when it is interrupted.

    Returns
    -------
    int
        0 if all went well, 2 for a mistake in its use, 130 if interrupted.
    """
    try:
        command()
    except UsageError as error:
        _complain(name, error)
        return 2
    except OSError as error:
        _complain(name, f"{error.strerror or error}: {error.filename or 'a file'}")
        return 2
    except UnicodeDecodeError:
        _complain(name, "a file that was named, with --config, say, is no text in UTF-8")
        return 2
    except KeyboardInterrupt:
        _complain(name, f"interrupted; {interrupted}")
        return 130
    return 0


def _complain(name: str, message: object) -> None:
    print(f"{name}: error: {' '.join(str(message).split())}", file=sys.stderr)
