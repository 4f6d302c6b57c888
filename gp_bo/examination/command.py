"""``gp-bo exam``: the function-fitting task of Copenhagen's examination, parts A and B."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gp_bo.arrays import gp_device
from gp_bo.commands.tables import write_table
from gp_bo.examination.algorithm1 import CHOICES, Algorithm1, algorithm1, exam_grid, shares, success
from gp_bo.examination.algorithm1_figure import algorithm1_figure
from gp_bo.examination.chains import described_chains
from gp_bo.examination.sheet import exam_function, fit_exam
from gp_bo.figures import bands, hyper_scatter, traces
from gp_bo.fit import InferenceWarning
from gp_bo.fitted import FittedGP
from inference.commands.files import free_folder, printed_after, save_figure
from inference.progress import showing
from pyro_models import UsageError
from pyro_models.files import holding_folder
from pyro_models.seeds import check_seed

__all__ = ["exam"]

_CHAINS = ("rhat", "bulk_ess", "tail_ess", "divergences")


def exam(
    out: str,
    turns: int = 10,
    seeds: int = 5,
    num_draws: int = 500,
    prior_on: str = "lengthscale",
    remedies: bool = True,
    seed: int = 0,
    device: str = "cpu",
    force: bool = False,
    progress: bool = True,
) -> None:
    """Do the whole function-fitting task of Copenhagen's examination: figures and a table.

    Part A: 500 draws of the hyper-posterior by NUTS, their scatter, R-hat, effective sample size
    and traces; f, D and m ± 2√v. Part B: Algorithm 1 with its figure at the first, middle and last
    turn; how often it finds the minimum of the grid over seeds; remedies at the same budget. One
    table has a row for each run, turns.csv one for each turn: p, x*_p, f(x*_p), the θ drawn, and
    the worst R-hat, effective sample sizes and divergences of its chains.

    Args:
        out: Folder to write.
        turns: T of Algorithm 1; there are T + 1 turns.
        seeds: Runs of Algorithm 1.
        num_draws: Draws of the hyper-posterior, each time.
        prior_on: lengthscale, or squared_lengthscale: how the sheet's prior is read.
        remedies: Also run the remedies under the same seeds.
        seed: Random seed of the first run.
        device: Where to compute: cpu, cuda, cuda:1 …
        force: Write into a folder that is not empty.
        progress: Show progress bars.
    """
    folder = free_folder(out, force=force)
    if seeds < 1 or turns < 0:
        raise UsageError(f"seeds is 1 or more, turns 0 or more; got {seeds} and {turns}")
    check_seed(seed)
    how: dict[str, Any] = {
        "prior_on": prior_on,
        "num_draws": num_draws,
        "device": gp_device(device),
    }
    choices = CHOICES if remedies else CHOICES[:1]
    refusal = f"another examination is at work in {folder}: wait"
    with holding_folder(folder, refusal=refusal), showing(progress):
        lines: list[str] = []  # as far as it comes
        with printed_after(lambda: "\n".join(lines)):
            lines += _part_a(folder, seed=seed, **how)
            every: list[Algorithm1] = []
            for choose in choices:
                more = {**how, "choose": choose, "progress": progress}
                runs = [algorithm1(turns, seed=seed + i, **more) for i in range(seeds)]
                if choose == "thompson":
                    shown = tuple(dict.fromkeys((0, turns // 2, turns)))
                    save_figure(algorithm1_figure(runs[0], turns=shown), folder / "algorithm1.png")
                lines += _counted(choose, runs)
                every += runs
            _write_tables(folder, every)
        print(f"written to {folder}")


def _write_tables(folder: Path, runs: Sequence[Algorithm1]) -> None:
    """A row for each run, and one for each turn; θ is empty where no function is drawn."""
    head = ["choose", "seed", "found_at", "near_at", "regret", "repeats", "best_x"]
    rows: list[list[Any]] = []
    for run in runs:
        best = run.steps[int(torch.tensor([step.y_new for step in run.steps]).argmin())].x_new
        at = ["" if k is None else k for k in (run.found_at, run.near_at)]
        rows.append([run.choose, run.seed, *at, float(run.regret[-1]), run.repeats, best])
    write_table(folder / "algorithm1.csv", head, rows)
    head = ["choose", "seed", "k", "p", "x", "y", "lengthscale", "variance", *_CHAINS]
    taken = [
        [
            *(run.choose, run.seed, step.k, step.index, step.x_new, step.y_new),
            *(step.theta.get(name, "") for name in ("lengthscale", "variance")),
            *(getattr(step.chains, name, "") for name in _CHAINS),
        ]
        for run in runs
        for step in run.steps
    ]
    write_table(folder / "turns.csv", head, taken)


def _part_a(folder: Path, *, seed: int, num_draws: int, **how: Any) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InferenceWarning)  # said in the lines
        fitted = fit_exam(seed=seed, num_draws=num_draws, **how)
    exact = fit_exam(inference="quadrature", **how)
    save_figure(hyper_scatter(fitted, reference=exact), folder / "hyper_posterior.png")
    save_figure(traces(fitted), folder / "traces.png")
    save_figure(bands(fitted, exam_grid(), truth=exam_function), folder / "fit.png")
    return [f"p(θ | D), {num_draws} draws by NUTS:", *_described(fitted)]


def _described(fitted: FittedGP) -> list[str]:
    lines = []
    for site in fitted.gp.hyperparameters.sites:
        logs = fitted.hyperparameters[site.parameter.name].log()
        lines.append(f"  log {site.parameter.name}: mean {logs.mean():.3f}, sd {logs.std():.3f}")
    for name, value in fitted.diagnostics.items():
        if name != "messages":
            lines.append(f"  {name}: {_plain(value)}")
    return [*lines, *(f"  {message}" for message in fitted.diagnostics["messages"])]


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {_plain(v)}" for k, v in value.items())
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _counted(choose: str, runs: list[Algorithm1]) -> list[str]:
    """What was found, and how good the chains of all turns were."""
    counted = success(runs)
    found, near = shares(runs)
    chains = described_chains(step.chains for run in runs for step in run.steps)
    return [
        f"{choose}: the minimum of the grid found in {found} of {len(runs)} runs; it or a "
        f"neighbour in {near}; median regret {counted['regret']:.3g} after "
        f"{len(runs[0].steps)} turns; {counted['repeats']:.1f} turns at points already in D",
        f"  {chains}",
    ]
