"""``pyro-models evaluate``, ``diagnose`` and ``compare``: scores of trained pairs."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from inference import figures
from inference.commands.files import (
    free_figure_path,
    free_path,
    open_run,
    printed_after,
    save_figure,
    seed_folders,
)
from inference.evaluation import Comparison, Diagnostics, Evaluation
from inference.evaluation import compare as compare_evaluations
from inference.evaluation import diagnose as diagnose_pair
from inference.evaluation import evaluate as evaluate_pair
from inference.evaluation.over_seeds import over_seeds
from inference.learning import Run
from pyro_models.contract import fulfills
from pyro_models.device import check_device
from pyro_models.files import holding_folder, write_atomically
from pyro_models.pair import Classifies

__all__ = ["compare", "diagnose", "evaluate"]


def evaluate(
    run: str,
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_particles: int = 100,
    limit: int | None = None,
    with_labels: bool = False,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Evaluation:
    """Score a trained pair: bounds, exact evidence where it exists, errors, accuracy.

    Args:
        run: Run folder.
        data: Other data than those it was trained on.
        split: Split of the data that is used.
        num_particles: Number of particles K of the importance-sampled bound.
        limit: Use only the first so many data.
        with_labels: Give a pair that infers labels those of the data; scores are then of p(x | y).
        seed: Random seed of the preparation and the particles.
        out: JSON file for the scores.
        force: Replace that file.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show a progress bar.
    """
    target = free_path(out, force=force)
    pair, images, _ = open_run(run, data, device=device)
    result = evaluate_pair(
        pair,
        images,
        split=split,
        num_particles=num_particles,
        limit=limit,
        with_labels=with_labels,
        name=Path(run).name,
        seed=seed,
        progress=progress,
    )
    with printed_after(lambda: result):
        if target is not None:
            write_atomically(target, result.to_json())
    return result


def diagnose(
    run: str,
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_particles: int = 1000,
    limit: int | None = 1000,
    seed: int = 0,
    out: str | None = None,
    figure: str | None = None,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Diagnostics:
    """Diagnose a trained guide: effective sample size, Pareto k-hat, active units, KL by dimension.

    Args:
        run: Run folder.
        data: Other data than those it was trained on.
        split: Split of the data that is used.
        num_particles: Number K of importance weights per datum.
        limit: Use only the first so many data.
        seed: Random seed of the preparation and the particles.
        out: JSON file for the figures, those of every datum among them.
        figure: PNG, PDF or SVG file for KL and variances of each latent dimension.
        force: Replace those files.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show a progress bar.
    """
    target = free_path(out, force=force)
    picture = free_figure_path(figure, option="figure", force=force)
    pair, images, _ = open_run(run, data, device=device)
    result = diagnose_pair(
        pair,
        images,
        split=split,
        num_particles=num_particles,
        limit=limit,
        seed=seed,
        progress=progress,
    )
    with printed_after(lambda: result):
        if target is not None:
            write_atomically(target, result.to_json())
        if picture is not None:
            save_figure(figures.latent_use(result), picture)
    return result


def _evaluate(
    run: str, data: str | None, *, with_labels: bool, device: str, bar: bool, **options: Any
) -> Evaluation:
    pair, images, _ = open_run(run, data, device=device)
    options["with_labels"] = with_labels and fulfills(pair, Classifies)
    return evaluate_pair(pair, images, progress=bar, **options)


def _row(run: str, data: str | None, **options: Any) -> Evaluation:
    """The evaluation of a run, or of the runs of several seeds in one folder."""
    folders = _folders(run)
    if len(folders) == 1:
        return _evaluate(folders[0], data, **options)
    return over_seeds([_evaluate(f, data, **options) for f in folders], name=options["name"])


def _folders(run: str) -> list[str]:
    """The run folder, or those of several seeds."""
    seeds = [] if Run(run).exists else [str(folder) for folder in seed_folders(run)]
    return seeds or [run]


def _row_names(runs: Sequence[str]) -> list[str]:
    """Names of the folders, or their paths where two are called the same."""
    names = [Path(run).name for run in runs]
    return names if len(set(names)) == len(names) else [str(run) for run in runs]


def compare(
    runs: list[str],
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    num_particles: int = 100,
    limit: int | None = None,
    with_labels: bool = False,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Comparison:
    """Score several runs and put into one column only what may be compared.

    Args:
        runs: Run folders; of several seeds in one folder, the row is their mean.
        data: Other data than those they were trained on.
        split: Split of the data that is used.
        num_particles: Number of particles K of the importance-sampled bound.
        limit: Use only the first so many data.
        with_labels: Give pairs that infer labels those of the data; their scores are then of
            p(x | y), as those of pairs that need labels are.
        seed: Random seed of the preparation and the particles.
        out: Folder for comparison.csv, comparison.md and comparison.html.
        force: Replace those files.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show progress bars.
    """
    names = ("comparison.csv", "comparison.md", "comparison.html")
    targets = [free_path(f"{out}/{name}", force=force) for name in names] if out else []
    check_device(device)
    for folder in (folder for run in runs for folder in _folders(run)):
        Run(folder).load_pair()  # before any is evaluated for long
    rows = [
        _row(
            run,
            data,
            split=split,
            num_particles=num_particles,
            limit=limit,
            with_labels=with_labels,
            name=name,
            seed=seed,
            device=device,
            bar=progress,
        )
        for run, name in zip(runs, _row_names(runs), strict=True)
    ]
    table = compare_evaluations(rows)
    with printed_after(table.to_text), holding_folder(Path(out)) if out else nullcontext():
        for path, text in zip(
            targets,
            (table.to_csv(), table.to_markdown(), table.table.to_page("Comparison")),
            strict=bool(targets),
        ):
            write_atomically(path, text)
    return table
