"""What was probably meant by a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["did_you_mean"]


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


def _plain(name: str) -> str:
    return str(name).lower().replace("-", "_")
