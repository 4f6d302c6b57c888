"""Options that are declared once: name, type, default, what they are, and what they may be.

A frozen dataclass declares them, each by :func:`declared`; its docstring, the functions that take
the same options (:func:`takes`), and the command line have their names, defaults and descriptions
from there.
"""

from __future__ import annotations

import dataclasses
import inspect
import textwrap
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import cache, partial, reduce
from numbers import Integral, Real
from operator import or_
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pyro_models import UsageError
from pyro_models.options import check_known
from pyro_models.seeds import check_seed

__all__ = [
    "NOT_NEGATIVE",
    "POSITIVE",
    "SEED",
    "at_least",
    "check_declared",
    "declared",
    "described",
    "kinds_of",
    "replaced",
    "takes",
    "within",
]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Rule = Callable[[str, Any], None]
"""Takes the name of an option and its value, and raises a ``UsageError`` if it cannot be so."""

WIDTH = 96


def declared(default: T, text: str | Callable[[], str], *rules: Rule) -> T:
    """One option of a dataclass: its default, what it is, and what its value is checked by.

    A mapping ``{}`` may be given as ``None``. The text is whole sentences, or a function that says
    them where that depends on what is registered. The rules check a value that is not ``None``.
    """
    kind: Any = {"default_factory": dict} if isinstance(default, dict) else {"default": default}
    return dataclasses.field(**kind, metadata={"text": text, "rules": rules})


def _must(name: str, value: Any, *, hold: Callable[[Any], bool], words: str) -> None:
    if not hold(value):
        raise UsageError(f"{name} {words}; got {value}")


POSITIVE: Rule = partial(_must, hold=lambda value: value > 0, words="must be positive")
NOT_NEGATIVE: Rule = partial(_must, hold=lambda value: value >= 0, words="cannot be negative")


def SEED(_: str, value: Any) -> None:  # noqa: N802  (a rule, as those above)
    """The rule that a value is a seed, of whatever type it is."""
    check_seed(value)


def at_least(least: float, *, why: str = "") -> Rule:
    """The rule that a number is not below another."""
    words = f"must be at least {least}{why and ' '}{why}"
    return partial(_must, hold=lambda value: value >= least, words=words)


def within(least: float, most: float, *, what: str) -> Rule:
    """The rule that a number, which is called ``what``, lies between two others."""
    words = f"lies in {least:g}…{most:g}"
    return lambda _, value: _must(what, value, hold=lambda v: least <= v <= most, words=words)


def check_declared(options: Any, *, who: str = "") -> None:
    """Check the numbers of a dataclass by their types, and every option by its rules.

    For the ``__post_init__`` of the dataclass. The error names the first option that is refused.
    """
    for field in dataclasses.fields(options):
        value, kinds = getattr(options, field.name), set(kinds_of(type(options), field.name))
        if value is None and _default(field) is None:
            if field.default_factory is not dataclasses.MISSING:
                object.__setattr__(options, field.name, field.default_factory())
            continue
        rules = field.metadata.get("rules", ())
        if kinds <= {int, float, NoneType} and SEED not in rules:
            number, word = (Real, "number") if float in kinds else (Integral, "whole number")
            if not isinstance(value, number) or isinstance(value, bool):
                raise UsageError(f"{field.name}{who} is a {word}; got {value!r}")
        for rule in rules:
            rule(field.name, value)


def replaced(options: T, changes: Mapping[str, Any], *, who: str) -> T:
    """A dataclass with some of its options changed, if it has these and the values may be so."""
    known = [field.name for field in dataclasses.fields(options)]  # type: ignore[arg-type]
    check_known(changes, known, who=who)
    return dataclasses.replace(options, **changes)  # type: ignore[type-var]


@cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def kinds_of(cls: type, name: str) -> tuple[Any, ...]:
    """The types that an option may have; a mapping is a ``dict``."""
    hint = _hints(cls)[name]
    kinds = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    return tuple(dict if get_origin(kind) in (dict, Mapping) else kind for kind in kinds)


def _default(field: dataclasses.Field[Any]) -> Any:
    return None if field.default is dataclasses.MISSING else field.default


def _options(
    classes: Collection[type], without: Collection[str]
) -> Iterator[tuple[type, dataclasses.Field[Any]]]:
    for cls in classes:
        for field in dataclasses.fields(cls):
            if "text" in field.metadata and field.name not in without:
                yield cls, field


def _annotation(cls: type, field: dataclasses.Field[Any], *, plain: bool) -> Any:
    """The type of an option; if plain, as a configuration file has it: an object by its name."""
    hint = _hints(cls)[field.name]
    if plain:
        kept = (str, int, float, bool, dict, NoneType)
        kinds = [k for k in kinds_of(cls, field.name) if k in kept or get_origin(k) is list]
        hint = reduce(or_, [dict[str, Any] if kind is dict else kind for kind in kinds])
    return hint if field.default_factory is dataclasses.MISSING else hint | None


def _entries(
    classes: Collection[type], without: Collection[str] = (), *, beside: bool = False
) -> list[str]:
    """The options as entries of a docstring, the text below each name, or beside it (``Args:``)."""
    lines = []
    for _, field in _options(classes, without):
        text = field.metadata["text"]
        text = inspect.cleandoc(text() if callable(text) else text)
        if beside:
            lines += textwrap.wrap(
                f"{field.name}: {text}", WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8
            )
        else:
            lines += [field.name, *(f"    {line}" for line in textwrap.wrap(text, WIDTH - 4))]
    return lines


def described(cls: type[T]) -> type[T]:
    """A dataclass with its options, as they are declared, in its docstring."""
    heading = "\n".join(["Parameters", "----------", *_entries([cls])])
    summary, _, rest = inspect.cleandoc(cls.__doc__ or "").partition("\n\n")
    first = "Raises\n------" if "Raises\n---" in rest else "Examples\n--------"
    before, mark, after = rest.partition(first)
    parts = [summary, before.strip(), heading, f"{mark}{after}".strip()]
    cls.__doc__ = "\n\n".join(part for part in parts if part)
    return cls


def takes(*classes: type, without: Collection[str] = (), plain: bool = False) -> Callable[[F], F]:
    """A decorator that spells out ``**options`` of a function as the options of dataclasses.

    ``inspect.signature``, ``help`` and the command line then see each of them but those
    ``without``, with its default and its description, in place of the entry of the docstring; if
    ``plain``, with the types that a configuration file can hold. ``function.spell()`` describes
    anew what depends on what is registered.
    """

    def decorate(function: F) -> F:
        own = inspect.signature(function, eval_str=True)
        kind = inspect.Parameter.KEYWORD_ONLY
        *named, rest = own.parameters.values()
        taken = {*without, *(p.name for p in named)}
        spelled = [
            inspect.Parameter(field.name, kind, default=_default(field), annotation=annotation)
            for cls, field in _options(classes, taken)
            for annotation in [_annotation(cls, field, plain=plain)]
        ]
        first = [p for p in named if p.default is p.empty]
        last = [p.replace(kind=kind) for p in named if p.default is not p.empty]
        parameters = [*first, *spelled, *last]
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            parameters, return_annotation=own.return_annotation
        )
        function.__annotations__ = {p.name: p.annotation for p in parameters}
        function.__annotations__["return"] = own.return_annotation
        doc = function.__doc__ or ""

        def spell() -> None:
            function.__doc__ = _with_entries(doc, rest.name, classes, taken)

        spell()
        function.spell = spell  # type: ignore[attr-defined]
        return function

    return decorate


def _with_entries(doc: str, entry: str, classes: Collection[type], without: Collection[str]) -> str:
    """The docstring with the options of classes in the place of the entry of that name."""
    lines = inspect.cleandoc(doc).split("\n")
    beside = "Args:" in lines
    at = next(i for i, line in enumerate(lines) if line.strip().split(":")[0] == entry)
    inside = " " * (5 if beside else 1)
    after = range(at + 1, len(lines))
    end = next((i for i in after if not lines[i].startswith(inside)), len(lines))
    return "\n".join([*lines[:at], *_entries(classes, without, beside=beside), *lines[end:]])
