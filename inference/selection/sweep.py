"""Every combination of settings under every seed, each one run that can be gone on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import joblib
import torch

from inference.declared import takes
from inference.experiment import Experiment
from inference.learning.settings import Settings
from inference.selection.adaptive import Plan, run_search
from inference.selection.checks import part_of, ranges_of, warn_of_both
from inference.selection.combinations import Grid, run_grid
from inference.selection.grid import check_grid
from inference.selection.pruning import check_prunable, make_pruning
from inference.selection.row import choices
from inference.selection.runs import MARKER
from inference.selection.search import GRID, make_search, name_of_search
from inference.selection.table import Sweep
from inference.selection.trial import NOT_SHARED, EvaluationOptions
from inference.workers import parallel as parallel_of
from pyro_models import ImageData, Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.data import as_data
from pyro_models.files import is_free
from pyro_models.observed import Data
from pyro_models.seeds import check_seed, check_seeds

__all__ = ["sweep"]


@takes(Experiment, Settings, without=NOT_SHARED)
def sweep(
    model: str | Callable[..., Pair],
    data: ImageData | Data | str,
    *,
    grid: Mapping[str, Sequence[Any]] | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path,
    search: str | Mapping[str, Any] | Callable[..., Any] = GRID,
    search_options: Mapping[str, Any] | None = None,
    space: Mapping[str, Any] | None = None,
    trials: int = 20,
    search_seed: int = 0,
    prune: str | Mapping[str, Any] | Callable[..., Any] | None = None,
    prune_options: Mapping[str, Any] | None = None,
    quantity: str | None = None,
    num_particles: int = 100,
    limit: int | None = None,
    jobs: int | None = None,
    threads: int | None = None,
    shard: str | None = None,
    progress: bool = True,
    at_once: bool = False,
    **shared: Any,
) -> Sweep:
    """Train settings of a grid, or of a search, under every seed; evaluate all alike.

    Each setting and seed is one :func:`inference.learning.fit` in a run folder of its own,
    ``out/lr=0.001,latent_dim=2/seed=0``, evaluated by :func:`inference.evaluation.evaluate` on the
    validation split with one K, however it was trained. Called again with the same ``out``, it
    takes finished runs from there, goes on with unfinished ones from their checkpoints, and trains
    what is new in the grid; a run that fails leaves the others alone, is reported in the table, and
    is tried again next time. Test data are never looked at.

    With ``search`` the settings come from the ranges of a ``space``, chosen one after the other by
    the mean scores of those before. With one job the same seeds give the same search, killed or
    not; with several, what is proposed depends on what has ended by then. The same call in another
    process that sees ``out`` takes part.

    Runs go through ``joblib.Parallel``: inside ``joblib.parallel_config(backend="dask")`` (or
    ``"ray"``) they go to that cluster, where ``out`` must be a folder that all workers see.

    Parameters
    ----------
    model
        A registered name, or a function of ``data_shape`` and options (and ``num_classes``, where
        it takes them) that builds a pair.
    data
        In memory, which every worker is sent, or a name or file that every worker loads itself. A
        tensor, an array or a data set of torch is split as :func:`pyro_models.load_data` does.
    grid
        Values of each setting: ``"options.NAME"`` (of the model), ``"preparation"``, or an option
        of :func:`inference.learning.fit`.
    seeds
        Random seeds of weights, shuffling, preparation and sampling; the error bars are over them.
    search, search_options
        How settings are chosen: ``"grid"``, or a name of
        :data:`inference.selection.search.SEARCHES` with its options, ``"random"`` or ``"gp_bo"``
        (Bayesian optimisation, of :class:`gp_bo.optimize.search.GPSearch`); a class, an object or
        a function that keeps :class:`inference.selection.search.Search`.
    space
        For a search, the range of each setting: ``(1e-4, 1e-1, "log")``, ``(2, 32)`` (whole, if
        both ends are and the setting may be), or a list of choices; see
        :func:`inference.selection.space.check_space`.
    trials, search_seed
        Number of settings of a search, of those in ``out`` already included, and its random seed.
    prune, prune_options
        End settings early whose validation bound is behind that of others by more than the noise
        between seeds: ``"median"``, ``"halving"`` with their options, or a rule of your own; see
        :mod:`inference.selection.pruning`. A setting that is pruned has no score, is not compared,
        and counts as bad as the worst in a search.
    out
        Folder of the runs, of ``sweep.csv`` and ``sweep.md`` (one row for each setting), and
        ``runs.csv`` (one row for each run).
    quantity
        The score that decides: any of :data:`inference.evaluation.QUANTITIES` with a direction that
        is shown in a sweep; the first that a pair has of ``"log_likelihood"``,
        ``"importance_bound"`` and ``"elbo"`` unless given.
    num_particles, limit
        Number of particles K, and of validation data (all unless given), of the evaluation.
    jobs, progress
        Runs at a time, in processes of their own; 1 unless given or set by
        ``joblib.parallel_config``; show a progress bar over runs. With ``device="cuda"`` each
        process takes a GPU, in turn.
    threads
        Number of threads of each run: its share of torch's here unless given. A run is the same bit
        for bit for the same number only, so it is recorded, and kept when a run is gone on with.
    shard
        ``"2/4"`` trains the second of four parts of the runs, which other calls train at the same
        time, on other machines, too, that see ``out``. The tables hold what is there; those of the
        last to end are whole.
    at_once
        Train the seeds of a setting at once, as ``fit(..., seeds=...)`` does: faster where networks
        are small, and each run equal to its own up to rounding.
    shared
        What all runs share: an option of :class:`inference.Experiment`, or one of its settings.

    Returns
    -------
    Sweep
        The table; ``sweep.best`` is the best setting.

    Raises
    ------
    UsageError
        Before anything is trained: for a setting that is not one or has a value it cannot have,
        data without a validation split, or a folder with other runs or other things.

    Examples
    --------
    >>> import tempfile
    >>> from pyro_models import load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> few = {"epochs": 2, "lr": 1e-2, "curve_size": 0, "num_particles": 1, "progress": False}
    >>> with tempfile.TemporaryDirectory() as out:
    ...     result = sweep("ppca", data, grid={"options.latent_dim": [1, 8]}, out=out, **few)
    >>> result.best.setting
    {'options.latent_dim': 8}
    """
    data = data if isinstance(data, str) else as_data(data)
    values, ranges = check_grid(grid or {}), ranges_of(search, grid, space)
    check_seeds(seeds)
    if quantity is not None:
        choices().check(quantity)
    if "seed" in shared:
        raise UsageError("a sweep has several seeds: give them as seeds")
    experiment = Experiment(model, data).replace(
        **{name: value for name, value in shared.items() if value is not None}
    )
    warn_of_both(ranges or values, experiment)
    rule = make_pruning(prune, prune_options)
    if rule is not None:
        names = [*(ranges or values)]
        check_prunable(rule, names, experiment.settings, seeds=len(seeds), at_once=at_once)
    counts = {"num_particles": num_particles, "limit": limit, "threads": threads}
    counts |= {"trials": trials}
    check_counts(**{name: count for name, count in counts.items() if count is not None})
    if jobs == 0:
        raise UsageError("jobs are 1 or more at a time, or −1 for one on each core; got 0")
    folder = Path(out)
    if not is_free(folder) and not (folder / MARKER).is_file():
        raise UsageError(f"{folder} is there and is no sweep: name another folder (out)")
    parallel = parallel_of(jobs)
    side_by_side = max(1, joblib.effective_n_jobs(parallel.n_jobs))
    how: dict[str, Any] = {
        "experiment": experiment,
        "evaluation": EvaluationOptions(num_particles=num_particles, limit=limit),
        "folder": folder,
        "seeds": tuple(seeds),
        "threads": threads or max(1, torch.get_num_threads() // side_by_side),
        "rule": rule,
        "quantity": quantity,
    }
    if ranges is None:
        if search_options:
            raise UsageError("search_options are for a search that is given by its name")
        return run_grid(
            Grid(**how, values=values, part=part_of(shard)),
            parallel,
            at_once=at_once,
            progress=progress,
        )
    if shard or at_once:
        raise UsageError(
            "shard and at_once are of a grid: a search is shared by the same call elsewhere"
        )
    check_seed(search_seed)
    how |= {"space": ranges, "search": make_search(search, search_options), "trials": trials}
    plan = Plan(**how, name=name_of_search(search), seed=search_seed)
    return run_search(plan, parallel, progress=progress)
