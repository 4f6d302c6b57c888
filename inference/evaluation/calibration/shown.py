"""Quantities of a calibration by name: a scalar, or a latent for all of its numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pyro_models import UsageError
from pyro_models.registry import check_choice

__all__ = ["quantities_named"]


def quantities_named(given: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The known quantities that names stand for, each once, in the order of the names.

    Raises
    ------
    UsageError
        If a name is unknown, or none is given.

    Examples
    --------
    >>> quantities_named(["z", "tau"], ["tau", "z[0]", "z[1]", "tarp"])
    ('z[0]', 'z[1]', 'tau')
    """
    found: list[str] = []
    entries: dict[str, list[str]] = {}
    for name in known:
        entries.setdefault(name.partition("[")[0], []).append(name)
    plain = {_plain(name): name for name in known}
    for name in given:
        whole = entries.get(name.partition("[")[0], [])
        if _plain(name) in plain:
            found.append(plain[_plain(name)])
        elif name in entries:
            found += whole
        elif whole and "[" in name:
            between = f" to {whole[-1]}" if len(whole) > 1 else ""
            raise UsageError(f"unknown quantity {name!r}: there is {whole[0]}{between}")
        else:
            check_choice("quantity", name, tuple(entries))
    if not found:
        raise UsageError("quantities are one or more names, such as log_likelihood")
    return tuple(dict.fromkeys(found))


def _plain(name: str) -> str:
    return "".join(name.split())
