"""The option ``--quantities``: which numbers a command computes and shows."""

from __future__ import annotations

from collections.abc import Container

from inference.evaluation.quantity import Quantity
from pyro_models import UsageError
from pyro_models.registry import Registry

__all__ = ["Names", "chosen"]

Names = list[str] | str | None
"""Names of quantities as ``elbo,frechet``, or as a list; ``None`` for all."""


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
    if names is None:
        return None
    given = names.split(",") if isinstance(names, str) else names
    found = [name.strip() for name in given if name.strip()]
    if not found:
        raise UsageError("quantities are names with commas between, such as elbo,mse_mean")
    kept = {name: of for name, of in known.items() if among is None or name in among}
    for name in found:
        Registry("quantity", kept).check(name)
    return list(dict.fromkeys(found))
