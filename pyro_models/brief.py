"""Results that tell themselves in a few lines, in a terminal and in a notebook."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Collection, Mapping
from html import escape
from numbers import Integral, Real
from typing import Any

__all__ = ["Brief", "in_brief"]

WIDTH = 100
LONGEST = 60  # characters of one fact
LISTED = 4  # things that are told one by one
_CELL = "padding: 0.1em 0.8em 0.1em 0; border: 0; text-align: left; vertical-align: top"


class Brief:
    """A result whose ``repr`` is short, whatever it holds, and which a notebook shows as a table.

    Both are made of :meth:`facts`: those of a dataclass are its fields unless it says otherwise,
    arrays by their shapes, modules by their classes. In HTML every text is escaped, and its color
    is that of the text around it, so that it is legible on light and on dark pages.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Weights(Brief):
    ...     name: str
    ...     values: list
    >>> Weights("prior", [0.25, 0.75]), Weights("posterior", list(range(1000)))
    (Weights(name: prior, values: [0.25, 0.75]), Weights(name: posterior, values: 1,000 int))
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:  # a dataclass would write one with all of its content
            cls.__repr__ = cls.__repr__  # type: ignore[method-assign]

    def facts(self) -> Mapping[str, object]:
        """What is told, by name; what is ``None`` or empty is left out."""
        if not dataclasses.is_dataclass(self):
            return {}
        shown = (f.name for f in dataclasses.fields(self) if f.repr and not f.name.startswith("_"))
        return {name.replace("_", " "): getattr(self, name) for name in shown}

    def _told(self) -> dict[str, str]:
        facts = {name: in_brief(value) for name, value in self.facts().items()}
        return {name: text for name, text in facts.items() if text}

    def __repr__(self) -> str:
        facts = [f"{name}: {text}" if name else text for name, text in self._told().items()]
        text = f"{type(self).__name__}({', '.join(facts)})"
        return textwrap.fill(text, WIDTH, subsequent_indent="    ", break_on_hyphens=False)

    def _repr_html_(self) -> str:
        rows = "".join(
            f'<tr style="background: none"><th scope="row" style="{_CELL}; font-weight: normal; '
            f'opacity: 0.75">{escape(name)}</th><td style="{_CELL}">{escape(text)}</td></tr>'
            for name, text in self._told().items()
        )
        caption = f"<strong>{escape(type(self).__name__)}</strong>"
        return (
            f'<div style="color: inherit">{caption}<table style="color: inherit; border: 0; '
            f'border-collapse: collapse">{rows}</table></div>'
        )


def in_brief(value: object) -> str:
    """A value in some words on one line; empty for nothing.

    >>> in_brief(0.123456789), in_brief({"a": 1.0, "b": 2.0}), in_brief(None)
    ('0.1235', 'a 1, b 2', '')
    >>> import numpy as np
    >>> in_brief(np.zeros((100, 3))), in_brief(["prior", "encoder"])
    ('array (100, 3)', '[prior, encoder]')
    """
    text = " ".join(_words(value).split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 2]} …"


def _words(value: object) -> str:
    if isinstance(value, Real) and not isinstance(value, bool | Integral):
        return f"{float(value):.4g}".replace("-", "−")
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return _of_array(value)
    if isinstance(value, Collection) and not isinstance(value, str | Brief):
        return _of_several(value)
    if isinstance(value, type) or callable(value):
        return str(getattr(value, "__name__", type(value).__name__))
    if isinstance(value, Brief) or type(value) is int:
        return f"{value:,}" if type(value) is int else repr(value)
    plain = type(value).__str__ is not object.__str__ and not dataclasses.is_dataclass(value)
    return "" if value is None else str(value) if plain else type(value).__name__


def _of_several(value: Collection[Any]) -> str:
    """A mapping or a sequence: one by one if these are few, or else how many."""
    few = len(value) <= LISTED
    if isinstance(value, Mapping):
        texts = [f"{key} {_inside(item)}" for key, item in value.items()] if few else []
        form, kind = "{}", "entries"
    else:
        texts = [_inside(item) for item in value] if few else []
        kinds = {type(item).__name__ for item in value}
        form, kind = "[{}]", kinds.pop() if len(kinds) == 1 else "items"
    text = ", ".join(texts)
    if not len(value):
        return ""
    return form.format(text) if texts and len(text) <= LONGEST else f"{len(value):,} {kind}"


def _inside(item: object) -> str:
    """One of several: what is made of parts by its type alone."""
    if isinstance(item, Brief) or dataclasses.is_dataclass(item):
        return "" if isinstance(item, type) else type(item).__name__
    return _words(item)


def _of_array(value: Any) -> str:
    shape = tuple(value.shape)
    if not shape or (len(shape) == 1 and shape[0] <= LISTED):
        numbers = value.tolist()
        return _words(numbers) if not isinstance(numbers, str) else numbers
    kind = type(value).__name__
    return f"{'array' if kind == 'ndarray' else kind.lower()} {shape}"
