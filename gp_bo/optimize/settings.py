"""How the next point is chosen: the options of a search, checked before anything is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gp_bo.kernels import Kernel, make_kernel
from gp_bo.optimize.acquisition import Acquisition, make_acquisition, stored_acquisition
from gp_bo.optimize.designs import DESIGNS
from gp_bo.optimize.fitting import check_gp_options
from pyro_models import UsageError
from pyro_models.counts import is_count

__all__ = ["checked_settings"]


def checked_settings(
    columns: int,
    state: str | Path | None,
    *,
    acquisition: Any = "log_ei",
    acquisition_options: Mapping[str, Any] | None = None,
    kernel: Any = None,
    inference: str = "map",
    gp: Mapping[str, Any] | None = None,
    initial: int | None = None,
    design: str = "sobol",
    repeats: bool = False,
) -> tuple[Acquisition, dict[str, Kernel], dict[str, Any]]:
    """The acquisition function, the kernel where it is an object, and what a state holds of all.

    The options are those of :class:`gp_bo.optimize.Optimizer`, for D columns of the unit cube. A
    state that is kept in a file holds no object without a name.
    """
    for name, given in (("acquisition_options", acquisition_options), ("gp", gp)):
        if not isinstance(given, Mapping | None):
            raise UsageError(f"{name} map names to values; got {given!r}")
    gp = dict(gp or {})
    if kernel is not None:
        if "kernel" in gp:
            raise UsageError("the kernel is given twice: leave it out of gp")
        gp["kernel"] = kernel
    acquire = make_acquisition(acquisition, acquisition_options)
    try:
        acquisition, acquisition_options = stored_acquisition(acquisition, acquisition_options)
    except UsageError:
        if state is not None:
            raise
        acquisition = f"<{type(acquisition).__name__}>"
    made: dict[str, Kernel] = {}
    if not isinstance(gp.get("kernel", ""), str):
        made["kernel"] = make_kernel(gp["kernel"])
        try:
            gp["kernel"] = made["kernel"].config()
        except UsageError:
            if state is not None:
                raise
            gp["kernel"] = repr(made["kernel"])
    if design not in DESIGNS:
        raise UsageError(f"design is one of {', '.join(DESIGNS)}; got {design!r}")
    if initial is not None and not is_count(initial, least=2):
        raise UsageError(f"a design needs two points or more; got initial={initial!r}")
    check_gp_options(inference, gp, columns=columns, **made)
    settings = {
        "acquisition": acquisition,
        "acquisition_options": dict(acquisition_options or {}),
        "inference": inference,
        "gp": gp,
        "initial": None if initial is None else int(initial),
        "design": design,
        "repeats": repeats,
    }
    return acquire, made, settings
