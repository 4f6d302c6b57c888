"""How the next point is chosen: the options of a search, checked before anything is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

from gp_bo.optimize.acquisition import Acquisition, acquisition_named
from gp_bo.optimize.designs import DESIGNS
from gp_bo.optimize.fitting import check_gp_options
from pyro_models import UsageError
from pyro_models.seeds import check_seed

__all__ = ["checked_settings"]


def checked_settings(
    *,
    acquisition: str,
    acquisition_options: Mapping[str, Any] | None,
    inference: str,
    gp: Mapping[str, Any] | None,
    initial: int | None,
    design: str,
    repeats: bool,
    seed: int,
    columns: int,
) -> tuple[Acquisition, dict[str, Any]]:
    """The acquisition function, and all settings as a state holds them.

    Parameters
    ----------
    acquisition, acquisition_options, inference, gp, initial, design, repeats, seed
        Of :class:`gp_bo.optimize.Optimizer`.
    columns
        D, of the unit cube.

    Raises
    ------
    UsageError
        If one is unknown, or has a value that it cannot have.
    """
    for name, given in (("acquisition_options", acquisition_options), ("gp", gp)):
        if not isinstance(given, Mapping | None):
            raise UsageError(f"{name} map names to values; got {given!r}")
    acquire = acquisition_named(acquisition, **(acquisition_options or {}))
    if design not in DESIGNS:
        raise UsageError(f"design is one of {', '.join(DESIGNS)}; got {design!r}")
    if initial is not None and not (isinstance(initial, Integral) and initial >= 2):
        raise UsageError(f"a design needs two points or more; got initial={initial!r}")
    check_seed(seed)
    check_gp_options(inference, gp or {}, columns=columns)
    return acquire, {
        "acquisition": acquisition,
        "acquisition_options": dict(acquisition_options or {}),
        "inference": inference,
        "gp": dict(gp or {}),
        "initial": None if initial is None else int(initial),
        "design": design,
        "repeats": repeats,
    }
