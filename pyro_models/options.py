"""Options of a class, checked against the types that its constructor names."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from pyro_models.errors import UsageError
from pyro_models.suggestions import did_you_mean

__all__ = ["check_known", "check_options", "check_types", "typed_signature"]


def check_known(options: Iterable[str], known: Sequence[str], *, who: str) -> None:
    """Refuse names of options that are none of those known."""
    unknown = [name for name in options if name not in known]
    if unknown:
        there = ", ".join(known) or "none"
        meant = did_you_mean(unknown[0], known)
        raise UsageError(f"{who} has no option {', '.join(unknown)}; it has {there}{meant}")


def check_options(cls: type, options: Mapping[str, Any], *, who: str, skip: set[str]) -> None:
    """Refuse options, by name, that a class's constructor does not have, or of another type."""
    known = [name for name in inspect.signature(cls).parameters if name not in skip]
    check_known(options, known, who=who)
    if options:
        check_types(cls, options, who=who, skip=skip)


def check_types(
    cls: Callable[..., Any], options: Mapping[str, Any], *, who: str, skip: set[str]
) -> None:
    """Refuse options, by name, of another type than the annotations of a class or a function.

    ``who`` is what they are options of; ``skip`` are parameters that are no options.
    """
    parser, kinds = _parser(cls, frozenset(skip)), inspect.signature(cls).parameters
    for name, value in options.items():  # one by one, to name the option
        try:
            parser.parse_object({name: list(value) if isinstance(value, tuple) else value})
        except ArgumentError as error:
            kind = kinds[name].annotation
            kind = kind if isinstance(kind, str) else inspect.formatannotation(kind)
            kind = re.sub(r"\b(?:\w+\.)+(?=\w)", "", kind)  # as one writes it, without the modules
            raise UsageError(f"{who}: {name} must be {kind}; got {value!r}") from error


@cache  # to read a constructor's annotations takes longer than to build what it constructs
def _parser(cls: Callable[..., Any], skip: frozenset[str]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    for name, parameter in typed_signature(cls).parameters.items():
        if name not in skip and parameter.kind != parameter.VAR_KEYWORD:
            kind = parameter.annotation
            typed = {} if kind in (parameter.empty, Any) else {"type": kind}
            parser.add_argument(f"--{name}", **typed)
    return parser


def typed_signature(function: Any) -> inspect.Signature:
    """The signature of a function or class, annotations that are text as the types they name.

    A type that is unknown when the program runs, as an import for type checkers alone, is none.
    """
    found = inspect.signature(function)
    whose = function
    while isinstance(whose, partial):
        whose = whose.func
    inner = vars(whose).get("__init__", whose) if isinstance(whose, type) else whose
    known = getattr(inspect.unwrap(inner), "__globals__", {})

    def typed(parameter: inspect.Parameter) -> inspect.Parameter:
        kind = parameter.annotation
        if not isinstance(kind, str):
            return parameter
        try:
            return parameter.replace(annotation=eval(kind, known))
        except Exception:  # whatever stands there
            return parameter.replace(annotation=parameter.empty)

    return found.replace(parameters=[typed(p) for p in found.parameters.values()])
