"""The option ``--quantities``: which numbers a command computes and shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Container
from functools import partial

from inference.evaluation.program_table import COLUMNS
from inference.evaluation.quantity import Quantity, quantities_of
from pyro_models import UsageError
from pyro_models.registry import Registry

__all__ = ["OF_TABLES", "Names", "chosen", "listed"]

Names = list[str] | str | None
"""Names of quantities as ``elbo,frechet``, or as a list; ``None`` for all."""

OF_TABLES: dict[str, Callable[[], Collection[str]]] = {
    "{of program_guides}": lambda: COLUMNS,
    "{of compare}": lambda: [*filter(quantities_of("evaluation").get, quantities_of("comparison"))],
    **{
        f"{{of {table}}}": partial(quantities_of, table)
        for table in ("evaluation", "guides", "sweep", "diagnostics")
    },
}
"""What the help of a command names so is replaced by the quantities that there are now."""


def chosen(
    names: Names, known: Registry[Quantity], *, among: Container[str] | None = None
) -> list[str] | None:
    """The names one by one, in their order; ``None`` for all.

    Parameters
    ----------
    names
        As they are given.
    known, among
        The quantities that there are; and those of them that this command has, all unless given.

    Raises
    ------
    UsageError
        If a name is unknown, or none is given.

    Examples
    --------
    >>> from inference.evaluation.quantity import quantities_of
    >>> chosen("gap, elbo", quantities_of("guides"))
    ['gap', 'elbo']
    """
    found = listed(names, such_as="elbo,mse_mean")
    if found is None:
        return None
    kept = {name: of for name, of in known.items() if among is None or name in among}
    for name in found:
        Registry("quantity", kept).check(name)
    return found


def listed(names: Names, *, such_as: str) -> list[str] | None:
    """The names one by one, each once, of whatever table they are; ``None`` for all.

    Raises
    ------
    UsageError
        If none is given; it shows ``such_as``.

    Examples
    --------
    >>> listed("tau, A[1, 0], tau", such_as="tau")
    ['tau', 'A[1, 0]']
    """
    if names is None:
        return None
    given = re.split(r",(?![^\[]*\])", names) if isinstance(names, str) else names
    found = [name.strip() for name in given if name.strip()]
    if not found:
        raise UsageError(f"quantities are names with commas between, such as {such_as}")
    return list(dict.fromkeys(found))
