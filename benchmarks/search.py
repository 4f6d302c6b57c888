"""Bayesian optimisation of a VAE's settings beside random search and a grid, at equal epochs.

The case: a VAE of the digits, lr from 1e-4 to 1e-1, latent_dim from 1 to 16, hidden layers of 16 or
128 units. Every method has the same number of training epochs; a grid and a random search spend
them on whole trainings, and so does ``gp_bo``; ``gp_bo, pruned`` ends trainings early and tries
more settings. Each search is repeated under several seeds; that of the search is that of the
trainings, too, so that methods are compared in pairs. The order of the grid is shuffled.

What is reported is not the score that a search has seen, which is the luckiest of many: the setting
that each has chosen is trained anew under seeds that no search has used, and evaluated on
validation data. Everything is kept in ``--out``, and a run that was stopped goes on:

    python benchmarks/search.py --out search

some five minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import add_device

from inference import sweep
from inference.selection import Row, Sweep
from inference.standard_error import with_error
from pyro_models.files import write_atomically

EPOCHS = 10
SPACE: dict[str, Any] = {
    "lr": (1e-4, 1e-1, "log"),
    "options.latent_dim": (1, 16),
    "options.hidden": [[16], [128]],
}
GRID: dict[str, Any] = {
    "lr": [3e-4, 2e-3, 1e-2, 5e-2],
    "options.latent_dim": [2, 8],
    "options.hidden": [[16], [128]],
}
BUDGET = EPOCHS * math.prod(map(len, GRID.values()))
SHARED: dict[str, Any] = {
    "epochs": EPOCHS,
    "curve_size": 100,
    "num_particles": 20,
    "progress": False,
    "threads": 1,
}
METHODS: dict[str, dict[str, Any]] = {
    "grid": {},
    "random": {"search": "random"},
    "gp_bo": {"search": "gp_bo"},
    "gp_bo, pruned": {"search": "gp_bo", "prune": "median", "prune_options": {"noise": 0.3}},
}
FRESH = (1001, 1002, 1003)
EVERY = 20  # epochs between two columns of the table


def searched(method: str, seed: int, out: Path) -> list[Row]:
    """The settings of a search in their order, within the budget."""
    folder, how = out / method.replace(", ", "-") / f"seed-{seed}", METHODS[method]
    if method == "grid":
        found = sweep("vae", "digits", grid=GRID, seeds=[seed], out=folder, **SHARED)
        order = np.random.default_rng(seed).permutation(len(found.rows))
        return [found.rows[i] for i in order]
    trials = BUDGET // EPOCHS
    while True:
        found = sweep(
            "vae",
            "digits",
            space=SPACE,
            trials=trials,
            search_seed=seed,
            seeds=[seed],
            out=folder,
            **how,
            **SHARED,
        )
        if found.epochs >= BUDGET:
            return within_budget(found)
        trials += 1 + (BUDGET - found.epochs) // EPOCHS


def within_budget(found: Sweep) -> list[Row]:
    """The settings that were whole before the budget was spent."""
    spent = itertools.accumulate(row.epochs for row in found.rows)
    return [row for row, epochs in zip(found.rows, spent, strict=True) if epochs <= BUDGET]


def best_after(rows: Sequence[Row]) -> list[Row | None]:
    """The best setting after each multiple of ``EVERY`` epochs."""
    found: list[Row | None] = []
    for budget in range(EVERY, BUDGET + 1, EVERY):
        spent, best = 0, None
        for row in rows:
            spent += row.epochs
            if spent <= budget and row.is_whole and (best is None or row.mean > best.mean):
                best = row
        found.append(best)
    return found


def anew(setting: dict[str, Any], out: Path) -> float:
    """The mean score of a setting under seeds that no search has seen."""
    grid = {name: [value] for name, value in setting.items()}
    return sweep("vae", "digits", grid=grid, seeds=FRESH, out=out / "anew", **SHARED).best.mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("search"))
    parser.add_argument("--seeds", type=int, default=5)
    add_device(parser)
    given = parser.parse_args()
    torch.set_num_threads(1)
    SHARED["device"] = str(given.device)
    curves: dict[str, list[list[float]]] = {}
    counts: dict[str, list[int]] = {}
    for method in METHODS:
        for seed in range(given.seeds):
            rows = searched(method, seed, given.out)
            counts.setdefault(method, []).append(len(rows))
            scores = [
                math.nan if best is None else anew(dict(best.setting), given.out)
                for best in best_after(rows)
            ]
            curves.setdefault(method, []).append(scores)
            print(method, seed, len(rows), f"{scores[-1]:.3f}", flush=True)
    write_atomically(given.out / "curves.json", json.dumps(curves, indent=1))
    report(curves, counts)


def report(curves: dict[str, list[list[float]]], counts: dict[str, list[int]]) -> None:
    """The table: chosen after a quarter, half and all of the budget, and paired differences."""
    columns = [round(BUDGET / EVERY * part) - 1 for part in (0.25, 0.5, 1.0)]
    heads = [f"after {(column + 1) * EVERY} epochs" for column in columns]
    print(f"\n| | settings | {' | '.join(heads)} | minus random, paired |")
    print("|---" * (len(heads) + 3) + "|")
    for method, of in curves.items():
        cells = [mean([scores[column] for scores in of]) for column in columns]
        ends = [a[-1] - b[-1] for a, b in zip(of, curves["random"], strict=True)]
        paired = "" if method == "random" else mean(ends, signed=True)
        number = f"{statistics.fmean(counts[method]):.0f}"
        print(f"| {method} | {number} | {' | '.join(cells)} | {paired} |")


def mean(values: Sequence[float], *, signed: bool = False) -> str:
    """A mean with its standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return with_error(statistics.fmean(values), error, signed=signed)


if __name__ == "__main__":
    main()
