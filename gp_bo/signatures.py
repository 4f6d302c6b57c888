"""The signature of a function that hands options on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["takes_options_of"]

F = TypeVar("F", bound=Callable[..., Any])


def takes_options_of(other: Callable[..., Any]) -> Callable[[F], F]:
    """A decorator that shows, in place of ``**options``, the keyword arguments of another function.

    >>> def draw(x, *, color="black"): ...
    >>> @takes_options_of(draw)
    ... def draw_all(*each, **options): ...
    >>> inspect.signature(draw_all)
    <Signature (*each, color='black')>
    """
    theirs = inspect.signature(other, eval_str=True).parameters.values()

    def decorate(function: F) -> F:
        own = inspect.signature(function)
        *named, _ = own.parameters.values()
        more = [p for p in theirs if p.kind is p.KEYWORD_ONLY and p.name not in own.parameters]
        function.__signature__ = own.replace(parameters=[*named, *more])  # type: ignore[attr-defined]
        return function

    return decorate
