"""``pyro-models runs``: which runs are there, how far are they, and what differs between them?"""

from __future__ import annotations

from inference.commands.command import command
from inference.report.runs import SORTS, RunList, list_runs
from pyro_models.registry import check_choice

__all__ = ["runs"]


@command
def runs(folder: str | None = None, sort: str = "name", csv: bool = False) -> RunList:
    """List the run folders in a folder, and what differs between their settings.

    Args:
        folder: Folder of runs, of several seeds, or of sweeps; all below it are listed. It is
            ``runs`` unless given.
        sort: name, model, data, epochs (most first), bound (best first), when (latest first) or
            size (largest first).
        csv: Print CSV, with a column for each setting that differs.
    """
    check_choice("order", sort, SORTS)
    found = list_runs(folder or "runs", sort=sort)
    print(found.to_csv() if csv else found.to_text(), end="")
    return found
