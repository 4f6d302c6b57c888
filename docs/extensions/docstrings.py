"""Docstrings of this project as the reference shows them.

They are written to be read in a terminal: a bar is |x| or p(x | z), a property is described in a
sentence that may contain a colon, and a registry is described by what is in it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from sphinx.application import Sphinx

_CODE = re.compile(r"(``.+?``|:\w+:`.+?`)")
_OBJECT = re.compile(r"= ?<[^<>]*>")
_REQUEST = re.compile(r"set_\w+_request")
_LETTER = re.compile(r"^(\s*)([A-Za-z]\.)$")  # "K." is a sentence, and begins no list


def with_bars(lines: list[str]) -> list[str]:
    """Bars as bars, but in code, examples and directives: no docstring has a substitution.

    In an equation a bar with spaces around it stands between what is random and what is given.
    """
    kept, inside = [], ""
    for line in lines:
        if line.lstrip().startswith(".. "):
            inside = line.split()[1]
        elif line.strip() and not line.startswith(" "):
            inside = ""
        if inside == "math::":
            kept.append(line.replace(" | ", r" \mid ").replace(" ‖ ", r" \,\|\, "))
        elif inside or line.lstrip().startswith(">>>"):
            kept.append(line)
        else:
            parts = _CODE.split(line)
            parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
            kept.append(_LETTER.sub(r"\1\\\2", "".join(parts)))
    return kept


def of_collection(found: Collection[Any]) -> list[str]:
    """What a registry, a mapping or a tuple has in it."""
    names = [name for name in found if isinstance(name, str)]
    kind = "Names" if isinstance(found, Mapping) else "Values"
    return [f"{kind}: {', '.join(f'``{name}``' for name in names)}.", ""] if names else []


def prepare(app: Sphinx, what: str, name: str, found: Any, *rest: Any) -> None:
    """Change the lines of a docstring before napoleon sees them: they come last, after options."""
    lines: list[str] = rest[-1]
    if what == "data":
        if "\n".join(lines).strip() == (type(found).__doc__ or "").strip() or not any(lines):
            lines[:] = []
        if isinstance(found, Mapping | tuple | list):
            lines += ["", *of_collection(found)]
    lines[:] = with_bars(lines)
    if what in ("attribute", "data", "property"):  # "a: b" would be a type and its description
        lines[:0] = ["..", ""]


def with_plain_defaults(
    app: Sphinx, what: str, name: str, found: Any, *rest: Any
) -> tuple[str, Any] | None:
    """A signature whose defaults can be read: ``<factory>`` and its like become dots."""
    arguments, returned = rest[-2:]
    return (_OBJECT.sub("= ...", arguments), returned) if arguments else None


def skip_requests(app: Sphinx, what: str, name: str, *rest: Any) -> bool | None:
    """Leave out what scikit-learn adds to every estimator: ``set_fit_request`` and so on."""
    return True if _REQUEST.fullmatch(name) else None


def setup(app: Sphinx) -> dict[str, Any]:
    """Register it with Sphinx, before napoleon."""
    app.connect("autodoc-process-docstring", prepare, priority=100)
    app.connect("autodoc-process-signature", with_plain_defaults)
    app.connect("autodoc-skip-member", skip_requests)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
