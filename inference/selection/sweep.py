"""Every combination of settings under every seed, each one run that can be gone on from."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import joblib
import torch

from inference import evaluation
from inference.declared import takes
from inference.evaluation.quantity import QUANTITIES
from inference.experiment import Experiment
from inference.learning.optimizers import make_optimizer, make_schedule
from inference.learning.settings import Settings, check_pair_fits_objective
from inference.progress import bar, showing
from inference.selection.grid import check_grid, combinations, folder_names
from inference.selection.table import Row, Sweep, choices
from inference.selection.trial import (
    NOT_SHARED,
    EvaluationOptions,
    Outcome,
    Trial,
    outcome_there,
    run_trial,
    train_at_once,
)
from inference.workers import parallel as parallel_of
from pyro_models import ImageData, Pair, UsageError
from pyro_models.counts import check_counts
from pyro_models.data import as_data
from pyro_models.files import LOCK, holding, holding_folder, is_free, write_atomically
from pyro_models.observed import Data
from pyro_models.seeds import check_seeds

__all__ = ["sweep"]

MARKER = ".pyro-models-sweep"


@takes(Experiment, Settings, without=NOT_SHARED)
def sweep(
    model: str | Callable[..., Pair],
    data: ImageData | Data | str,
    *,
    grid: Mapping[str, Sequence[Any]],
    seeds: Sequence[int] = (0, 1, 2),
    out: str | Path,
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
    """Train every combination of settings under every seed; evaluate all on validation data alike.

    Each combination and seed is one :func:`inference.learning.fit` in a run folder of its own,
    ``out/lr=0.001,latent_dim=2/seed=0``, evaluated by :func:`inference.evaluation.evaluate` on the
    validation split with one K, however it was trained. Called again with the same ``out``, it
    takes finished runs from there, goes on with unfinished ones from their checkpoints, and trains
    what is new in the grid; a run that fails leaves the others alone, is reported in the table, and
    is tried again next time. Test data are never looked at.

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
    values = check_grid(grid)
    check_seeds(seeds)
    first, shards = _shard(shard)
    if quantity is not None:
        choices().check(quantity)
    if "seed" in shared:
        raise UsageError("a sweep has several seeds: give them as seeds")
    experiment = Experiment(model, data).replace(
        **{name: value for name, value in shared.items() if value is not None}
    )
    counts = {"num_particles": num_particles, "limit": limit, "threads": threads}
    check_counts(**{name: count for name, count in counts.items() if count is not None})
    if jobs == 0:
        raise UsageError("jobs are 1 or more at a time, or −1 for one on each core; got 0")
    folder, combined = Path(out), combinations(values)
    if not is_free(folder) and not (folder / MARKER).is_file():
        raise UsageError(f"{folder} is there and is no sweep: name another folder (out)")
    parallel = parallel_of(jobs)
    side_by_side = max(1, joblib.effective_n_jobs(parallel.n_jobs))
    threads = threads or max(1, torch.get_num_threads() // side_by_side)
    options = EvaluationOptions(num_particles=num_particles, limit=limit)
    trials = []
    for setting, name in zip(combined, folder_names(combined), strict=True):
        for seed in seeds:
            own, place = experiment.replace(**setting, seed=seed), folder / name / f"seed={seed}"
            trials.append(Trial(own, options, place, threads, setting))
    what, part = (f"shard {shard}", f"-{first}-of-{shards}") if shard else ("another sweep", "")
    with holding_folder(folder, refusal=f"{what} is at work in {folder}: wait for it", part=part):
        images = trials[0].load()
        identity = images.identity.to_dict()
        trials = [replace(trial, identity=identity) for trial in trials]
        _check_trials(trials, images)
        (folder / MARKER).touch()
        if at_once:
            mine = trials[first - 1 :: shards]
            groups = [[t for t in mine if t.setting == setting] for setting in combined]
            for _ in parallel(joblib.delayed(train_at_once)(group) for group in groups if group):
                pass
        trained = _run(parallel, trials[first - 1 :: shards], progress=progress)
        with holding(folder / f"{LOCK}-tables"):  # whoever writes last has seen all
            outcomes = (trained.get(trial.folder) or outcome_there(trial) for trial in trials)
            size = len(seeds)
            rows = [Row(s, tuple(itertools.islice(outcomes, size)), quantity) for s in combined]
            result = Sweep(tuple(rows), values, tuple(seeds), folder)
            write_atomically(folder / "sweep.csv", result.to_csv())
            write_atomically(folder / "sweep.md", result.to_markdown())
            write_atomically(folder / "runs.csv", result.runs_to_csv())
    return result


def _shard(shard: str | None) -> tuple[int, int]:
    """Which part of how many."""
    if shard is None:
        return 1, 1
    number, _, count = str(shard).partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UsageError(f"a shard is 1/4 to 4/4, say; got {shard!r}")
    return int(number), int(count)


def _check_trials(trials: Sequence[Trial], images: ImageData) -> None:
    """Refuse what no run could begin with; each setting is tried with its first seed."""
    if "validation" not in images.splits:
        raise UsageError(
            "settings are chosen by validation data, and these data have none (all training data "
            "are used)"
        )
    for trial in trials:
        trial.record()
    for trial in trials:
        if trial.seed != trials[0].seed:
            continue
        if trial.experiment.preparation is not None:
            images.with_preparation(trial.experiment.preparation)
        of, pair = trial.experiment.settings, trial.experiment.build(images)
        check_pair_fits_objective(pair, of)
        learned = list(pair.parameters())
        optimizer = make_optimizer(of.optimizer, learned, lr=of.rate, options=of.optimizer_options)
        make_schedule(of.schedule, optimizer, total_steps=1, options=of.schedule_options)


def _run(
    parallel: joblib.Parallel, trials: Sequence[Trial], *, progress: bool
) -> dict[Path, Outcome]:
    """The outcomes, by folder."""
    found: dict[Path, Outcome] = {}
    computed = [each for each in QUANTITIES.values() if each.compute is not None]
    here = f"{evaluation.__name__}."
    own = [q for q in computed if not q.compute.__module__.startswith(here)]  # unknown to workers
    with showing(progress), bar(len(trials), unit="runs", what="sweep") as done:
        try:
            for outcome in parallel(joblib.delayed(run_trial)(trial, *own) for trial in trials):
                found[outcome.folder] = outcome
                done.update()
                done.say(f"{sum(bool(o.failure) for o in found.values())} failed")
        except Exception as error:  # no run raises: it is the backend, in whichever way it can
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(
                f"the workers of the sweep gave up after {len(found)} of {len(trials)} runs "
                f"({reason}); what was finished is kept: sweep again to go on"
            ) from error
    return found
