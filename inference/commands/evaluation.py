"""``pyro-models evaluate``, ``diagnose`` and ``compare``: scores of trained pairs."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.command import OnRun, command
from inference.commands.files import (
    free_figure_path,
    free_path,
    printed_after,
    save_figure,
    seed_folders,
)
from inference.commands.quantities import Names, chosen
from inference.commands.titles import titles_of
from inference.declared import takes
from inference.evaluation import Comparison, Diagnostics, Evaluation, sample_floors
from inference.evaluation import compare as compare_evaluations
from inference.evaluation import diagnose as diagnose_pair
from inference.evaluation import evaluate as evaluate_pair
from inference.evaluation.over_seeds import over_seeds
from inference.evaluation.quantity import quantities_of
from inference.evaluation.samples import BINARY, OF_SAMPLES
from inference.learning import Run
from pyro_models import ImageData
from pyro_models.contract import fulfills
from pyro_models.device import check_device
from pyro_models.files import holding_folder, write_atomically
from pyro_models.pair import Classifies

__all__ = ["compare", "diagnose", "evaluate"]


@command
@takes(OnRun)
def evaluate(
    run: str,
    num_particles: int = 100,
    with_labels: bool = False,
    out: str | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Evaluation:
    """Score a trained pair: bounds, exact evidence where it exists, errors, accuracy.

    Args:
        run: Run folder.
        options: One of :class:`OnRun`.
        num_particles: Number of particles K of the importance-sampled bound.
        quantities: Names with commas between, such as elbo,frechet, of {of evaluation}; all but
            those of samples unless given.
        with_labels: Give a pair that infers labels those of the data; scores are then of p(x | y).
        out: JSON file for the scores.
        workers: Processes that share the work, one thread or GPU each; this one unless given.
        resume: Folder where finished blocks are kept; the same command goes on after a kill.
    """
    on = OnRun(**options)
    wanted = chosen(quantities, quantities_of("evaluation"))
    target = free_path(out, force=on.force)
    pair, images = on.open(run)
    score: dict[str, Any] = {"num_particles": num_particles, "with_labels": with_labels}
    score |= {"workers": workers, "resume": resume, "quantities": wanted}
    result = evaluate_pair(pair, images, name=Path(run).name, **score, **on.scored)
    with printed_after(lambda: result):
        if target is not None:
            write_atomically(target, result.to_json())
    return result


@command
@takes(OnRun)
def diagnose(
    run: str,
    num_particles: int = 1000,
    limit: int | None = 1000,
    out: str | None = None,
    figure: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Diagnostics:
    """Diagnose a trained guide: effective sample size, Pareto k-hat, active units, KL by dimension.

    Args:
        run: Run folder.
        options: One of :class:`OnRun`.
        num_particles: Number K of importance weights per datum.
        limit: Use only the first so many data.
        out: JSON file for the figures, those of every datum among them.
        figure: PNG, PDF or SVG file for KL and variances of each latent dimension.
        quantities: Names with commas between of what is shown, of {of diagnostics}; all unless
            given.
    """
    on = OnRun(limit=limit, **options)
    wanted = chosen(quantities, quantities_of("diagnostics"))
    target = free_path(out, force=on.force)
    picture = free_figure_path(figure, option="figure", force=on.force)
    pair, images = on.open(run)
    result = diagnose_pair(pair, images, num_particles=num_particles, **on.scored)
    result = result.showing(wanted or ())
    with printed_after(lambda: result):
        if target is not None:
            write_atomically(target, result.to_json())
        if picture is not None:
            save_figure(figures.latent_use(result), picture)
    return result


@command
@takes(OnRun)
def compare(
    runs: list[str],
    num_particles: int = 100,
    with_labels: bool = False,
    out: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Comparison:
    """Score several runs and put into one column only what may be compared.

    Args:
        runs: Run folders; of a folder of several seeds, the row is their mean. Rows are called by
            their models, or by their folders where models would read alike.
        options: One of :class:`OnRun`.
        num_particles: Number of particles K of the importance-sampled bound.
        quantities: Names with commas between, such as elbo,frechet, of {of compare}; all but
            those of samples unless given. Beside these stand floors: training data, PPCA,
            Gaussians.
        with_labels: Give pairs that infer labels those of the data; their scores are then of p(x |
            y), as those of pairs that need labels are.
        out: Folder for comparison.csv, comparison.md and comparison.html.
    """
    on = OnRun(**options)
    files = ("comparison.csv", "comparison.md", "comparison.html")
    targets = [free_path(f"{out}/{name}", force=on.force) for name in files] if out else []
    check_device(on.device)
    known = quantities_of("comparison")
    wanted = chosen(quantities, known, among=quantities_of("evaluation"))
    of_samples = [name for name in wanted or () if name.removesuffix("_mean") in OF_SAMPLES]
    folders = {run: [str(folder) for folder in seed_folders(run)] or [run] for run in runs}
    for folder in (folder for each in folders.values() for folder in each):
        Run(folder).load_pair()  # before any is evaluated for long
    names = [Path(run).name for run in runs]
    names = names if len(set(names)) == len(names) else [str(run) for run in runs]
    rows, pairs, shown = [], [], {}
    floors: dict[tuple[object, ...], ImageData] = {}
    for run, name in zip(runs, names, strict=True):
        each = []
        for folder in folders[run]:
            pair, images = on.open(folder)
            labels = with_labels and fulfills(pair, Classifies)
            score: dict[str, Any] = {"num_particles": num_particles, "with_labels": labels}
            score["quantities"] = wanted
            each.append(evaluate_pair(pair, images, name=name, **score, **on.scored))
            binary = images.preparation if images.preparation in BINARY else "grey"
            floors[images.name, images.levels, images.split_seed, binary] = images
        rows.append(each[0] if len(each) == 1 else over_seeds(each, name=name))
        pairs.append((name, pair))
        shown[name] = rows[-1].name
    for images in floors.values() if of_samples else ():
        of: dict[str, Any] = {"split": on.split, "limit": on.limit, "seed": on.seed}
        rows += sample_floors(images, quantities=of_samples, **of)
    titles = titles_of(pairs, shown=shown)
    table = compare_evaluations(rows, quantities=wanted, titles=titles)
    with printed_after(table.to_text), holding_folder(Path(out)) if out else nullcontext():
        for path, text in zip(
            targets,
            (table.to_csv(), table.to_markdown(), table.to_page("Comparison")),
            strict=bool(targets),
        ):
            write_atomically(path, text)
    return table
