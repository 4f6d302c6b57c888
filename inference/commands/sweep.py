"""``pyro-models sweep``: which setting is best on validation data?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.command import command
from inference.commands.files import printed_after, save_figure
from inference.commands.quantities import Names, chosen
from inference.commands.train import folder_name
from inference.declared import takes
from inference.evaluation.quantity import quantities_of
from inference.experiment import Experiment
from inference.learning import Settings
from inference.selection import Sweep
from inference.selection import sweep as run_sweep
from inference.selection.search import GRID
from inference.selection.trial import NOT_SHARED
from pyro_models import UsageError
from pyro_models.files import write_atomically

__all__ = ["sweep"]


@command
@takes(Experiment, Settings, without=NOT_SHARED, plain=True)
def sweep(
    grid: dict[str, Any] | None = None,
    search: str = GRID,
    space: dict[str, Any] | None = None,
    trials: int = 20,
    search_seed: int = 0,
    search_options: dict[str, Any] | None = None,
    prune: str | None = None,
    prune_options: dict[str, Any] | None = None,
    seeds: list[int] | None = None,
    quantity: str | None = None,
    num_particles: int = 100,
    limit: int | None = None,
    x: str | None = None,
    lines: str | None = None,
    out: str | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    shard: str | None = None,
    progress: bool = True,
    at_once: bool = False,
    quantities: Names = None,
    **shared: Any,
) -> Sweep:
    """Train settings of a grid or a search under several seeds; compare them on validation data.

    The same command again takes finished runs from the folder and goes on with the others. Options
    that are in no grid are shared by all runs.

    Args:
        grid: Values of each setting, e.g. --grid.lr "[1e-3, 1e-2]" --grid.options.latent_dim "[2,
            10]"; any option of the training, preparation, or options of the model.
        search: How settings are chosen: grid (every combination), random, gp_bo (Bayesian
            optimisation), or a class of a file, my_file.py:MySearch.
        space: For a search, the range of each setting: --space.lr "[1e-4, 1e-1, log]",
            --space.options.latent_dim "[2, 32]" (whole numbers), --space.options.activation "[relu,
            tanh]" (choices), --space.batch_size "{choices: [64, 128]}".
        trials: Number of settings of a search, with those that are in the folder already.
        search_seed: Random seed of the search.
        search_options: Options of the search, --search_options.inference nuts.
        prune: End settings early whose validation bound is behind that of others by more than
            noise: median, halving, or a class of a file.
        prune_options: Options of that rule, --prune_options.min_settings 8.
        shared: One of :class:`inference.Experiment` and its settings.
        seeds: Random seeds of each setting; "[0, 1, 2]" unless given.
        quantity: The score that decides: log_likelihood, importance_bound, elbo,
            bits_per_dimension, mse_sampled, mse_mean or accuracy; the first of these that there is
            unless given.
        num_particles: Number of particles K of the importance-sampled bound, for all runs.
        limit: Evaluate on the first so many validation data only.
        x: Setting along the axis of the figure; the first that varies unless given.
        lines: Setting that makes a line for each of its values; the second unless given.
        out: Folder of runs, tables and figure; sweeps/MODEL-DATA unless given.
        jobs: Runs at a time, in processes of their own; 1 unless given. With --device cuda each
            takes a GPU, in turn.
        threads: Threads of each run; its share of the cores unless given.
        shard: Train only this part of the runs, 2/4, say, while other machines that see the folder
            train the others; the tables of the last to end are whole.
        progress: Show a progress bar over runs.
        at_once: Train the seeds of a setting at once, which is faster where networks are small.
        quantities: Names with commas between of quantities that are shown beside the score that
            decides, such as mse_mean,accuracy, of {of sweep}.
    """
    beside = chosen(quantities, quantities_of("sweep"))
    values = None if grid is None else _flat(grid)
    if search != GRID and (x or lines):
        raise UsageError("x and lines are of the figure of a grid: leave them out for a search")
    x, lines = _full_name(x, values or {}), _full_name(lines, values or {})
    folder = Path(out or f"sweeps/{folder_name(Experiment.from_dict(shared))}")
    result = run_sweep(
        grid=values,
        search=search,
        search_options=search_options,
        space=space,
        trials=trials,
        search_seed=search_seed,
        prune=prune,
        prune_options=prune_options,
        seeds=(0, 1, 2) if seeds is None else seeds,
        out=folder,
        quantity=quantity,
        num_particles=num_particles,
        limit=limit,
        jobs=jobs,
        threads=threads,
        shard=shard,
        progress=progress,
        at_once=at_once,
        **shared,
    )
    if beside is not None:
        result = result.showing(beside)
        write_atomically(folder / "sweep.csv", result.to_csv())
        write_atomically(folder / "sweep.md", result.to_markdown())
    with printed_after(result.to_text):
        if result.pending:
            return result
        best = result.best  # a line of complaint and code 2 where there is none
        if result.search:
            save_figure(figures.search_progress(result), folder / "sweep.png")
        elif result.varied:
            shown = [x, lines] if lines else [x] if x else []
            shown += [name for name in result.varied if name not in shown][: 2 - len(shown)]
            at = {k: v for k, v in best.setting.items() if k in result.varied and k not in shown}
            figure = figures.setting_curves(result, x=x, lines=lines, at=at)
            save_figure(figure, folder / "sweep.png")
    print(f"kept in {folder}; evaluate the best on test data with: pyro-models evaluate ", end="")
    print(best.outcomes[0].folder)
    return result


def _flat(grid: Mapping[str, Any]) -> dict[str, Any]:
    """Options that stand one below the other, ``options: {latent_dim: […]}``, by whole names."""
    flat: dict[str, Any] = {}
    for name, values in grid.items():
        if isinstance(values, Mapping):
            flat |= _flat({f"{name}.{option}": own for option, own in values.items()})
        elif name == "options":
            raise UsageError(f"options in the grid need names; got {values!r}")
        else:
            flat[name] = values
    return flat


def _full_name(name: str | None, grid: Mapping[str, Any]) -> str | None:
    """A setting's name as in the grid, given with or without ``options.``."""
    if name is None or name in grid:
        return name
    if f"options.{name}" not in grid:
        raise UsageError(f"{name} is no setting of this sweep: choose from {', '.join(grid)}")
    return f"options.{name}"
