"""Options of options, ``--options.likelihood_options.floor 0.1``, past a parser of one level.

jsonargparse lets such an option displace all that were given beside it, on the line or in a file.
So the dots below the first are hidden from it, and what it parsed is put in order afterwards.
"""

from __future__ import annotations

from typing import Any

from jsonargparse import Namespace

__all__ = ["flattened", "nested"]

_DOT = "\x1f"  # stands for a dot below the first; no name has one


def flattened(argument: str) -> str:
    r"""``--a.b.c=1`` as one name below ``--a``; any other argument as it is.

    >>> flattened("--options.likelihood_options.floor=0.1")
    '--options.likelihood_options\x1ffloor=0.1'
    """
    name, equals, value = argument.partition("=")
    if not name.startswith("--") or name.count(".") < 2:
        return argument
    outer, *inner = name.split(".")
    return f"{outer}.{_DOT.join(inner)}{equals}{value}"


def nested(parsed: Any) -> Any:
    r"""The names that :func:`flattened` has joined, one below the other again.

    They stand beside the options given before them, and win over one of the same name.

    >>> nested({"likelihood_options": {"scale": "fixed"}, "likelihood_options\x1ffloor": 0.1})
    {'likelihood_options': {'scale': 'fixed', 'floor': 0.1}}
    """
    if isinstance(parsed, Namespace):
        for name, value in vars(parsed).items():
            setattr(parsed, name, nested(value))
    if not isinstance(parsed, dict):
        return parsed
    plain = {name: value for name, value in parsed.items() if _DOT not in str(name)}
    for name, value in parsed.items():
        if name not in plain:
            outer, _, rest = name.partition(_DOT)
            above = plain.get(outer)
            earlier = above if isinstance(above, dict) else {}
            plain[outer] = nested({**earlier, rest: value})
    return plain
