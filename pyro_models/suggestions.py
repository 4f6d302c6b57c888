"""What was probably meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean", "wrong_brackets"]


def did_you_mean(given: object, known: Iterable[str]) -> str:
    """``"; did you mean NAME?"`` where a known name is close to the one that was given.

    Upper and lower case, hyphens and underscores are not told apart.

    >>> did_you_mean("Latent-Gird", ["latent_scatter", "latent_grid"])
    '; did you mean latent_grid?'
    >>> did_you_mean("pie", ["latent_scatter", "latent_grid"])
    ''
    """
    if not isinstance(given, str):
        return ""
    plain = {_plain(name): name for name in known}
    found = get_close_matches(_plain(given), plain, n=1, cutoff=0.6)
    return f"; did you mean {plain[found[0]]}?" if found else ""


def wrong_brackets(text: str) -> str:
    """What is wrong with the round brackets of a text, in words; nothing if they are balanced.

    >>> wrong_brackets("lognormal(0, 1")
    'lacks a closing bracket'
    >>> wrong_brackets("lognormal(0, 1))"), wrong_brackets("lognormal(0, 1)")
    ('has a closing bracket too many', '')
    """
    open_now = 0
    for character in text:
        open_now += {"(": 1, ")": -1}.get(character, 0)
        if open_now < 0:
            few = "(" not in text
            return "lacks an opening bracket" if few else "has a closing bracket too many"
    return "lacks a closing bracket" if open_now else ""


def _plain(name: str) -> str:
    return str(name).lower().replace("-", "_")
