"""``pyro-models impute``: the empty cells of a table, filled in by a trained pair."""

from __future__ import annotations

from typing import Any

from inference.commands.command import OnRun, command
from inference.commands.files import free_path
from inference.declared import takes
from inference.learning import Run
from inference.posterior import Imputation
from inference.posterior import impute as impute_rows
from inference.precision import in_precision
from pyro_models import UsageError
from pyro_models.files import write_atomically

__all__ = ["impute"]


@command
@takes(OnRun, without=("limit",))
def impute(
    run: str,
    guide: str = "best",
    num_particles: int = 1000,
    num_draws: int = 1000,
    level: float = 0.9,
    out: str = "completed.csv",
    cells: str | None = None,
    imputations: int | None = None,
    **options: Any,
) -> Imputation:
    """Fill in the empty cells of a table, in its own units and names.

    Args:
        run: Run folder, of a pair that was trained on a table.
        options: One of :class:`OnRun`; --data is a table of new rows, all of which are filled in.
        guide: exact, encoder, or a guide that is fitted to each row (normal, ...); best, the first
            of these that there is.
        num_particles: Draws of the guide that are resampled by their importance weights.
        num_draws: Draws of every empty cell.
        level: Level of the intervals in CELLS.
        out: CSV file for the table with empty cells filled by means, or most probable categories.
        cells: CSV file with a row for each empty cell: value, sd, interval, probability.
        imputations: Write so many completed tables instead of one, each a draw, one below the
            other, with a column "imputation".
    """
    on = OnRun(**options)
    rows: Any
    target = free_path(out, force=on.force, endings=".csv")
    listing = free_path(cells, force=on.force, option="cells", endings=".csv")
    table = Run(run).table
    if table is None:
        raise UsageError(f"{run} was not trained on a table: pyro-models complete is for images")
    if on.data is None:
        pair, rows = on.open(run)
    else:  # which are all filled in
        pair = in_precision(Run(run).load_pair(device=on.device), on.precision)
        rows = on.data
    how: dict[str, Any] = {"guide": guide, "num_particles": num_particles, "seed": on.seed}
    found = impute_rows(pair, rows, like=table, split=on.split, num_draws=num_draws, **how)
    if imputations is None:
        made = found.mean
    else:
        import pandas

        each = dict(enumerate(found.imputations(imputations), 1))
        made = pandas.concat(each, names=["imputation", None]).reset_index(level=0)
    write_atomically(target, made.to_csv(index=False))
    listed = found.cells(level)
    if listing is not None:
        write_atomically(listing, listed.to_csv(index=False))
    print(f"{len(listed)} empty cells of {len(found)} rows filled in by {found.guide}, in {target}")
    label = None if table.label is None else table.label.name
    left = int(found.mean[label].isna().sum()) if label in found.mean.columns else 0
    if left:
        print(f"{left} empty cells of the label {label!r} stay empty: the model has no labels")
    return found
