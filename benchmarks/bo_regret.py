"""Simple regret of Bayesian optimisation beside BoTorch, scikit-learn and random search.

All methods start from the same design under each seed. Every (function, method, seed) is a file of
its own, so that a run that was stopped goes on, and pieces may be run apart:

    python benchmarks/bo_regret.py --out regret --functions branin --seeds 0-4
    python benchmarks/bo_regret.py --out regret            # the rest
    python benchmarks/bo_regret.py --out regret --report   # only the tables and the figure

Ours differ in how hyper-parameters are inferred (``ml``: maximum likelihood, ``map``, ``svi``,
``nuts``), under the default kernel, Matérn 5/2; ``map-rbf`` has the RBF kernel that BoTorch has.
All are told that the functions have no noise, as scikit-learn is. ``botorch`` is SingleTaskGP with
LogEI as it comes, and learns its noise; ``botorch-told`` is told that there is none. ``sklearn`` is
a Matérn-5/2 GP by maximum likelihood, with expected improvement.
The report writes ``evaluations.csv``, ``summary.csv`` (median and quartiles of the regret after
each evaluation), ``verdicts.csv`` (paired bootstrap over seeds) and ``regret.png``. Half an hour to
some hours on one core, by method: BoTorch and NUTS take most of it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import add_device
from matplotlib.figure import Figure
from scipy.optimize import minimize as descend
from scipy.stats import norm

from gp_bo.commands.tables import write_table
from gp_bo.functions import FUNCTIONS, TestFunction, function_named
from gp_bo.optimize import Optimizer, design_points, space_from
from gp_bo.optimize.designs import unit_points
from gp_bo.optimize.figures import RegretCurves, regret_curves
from pyro_models.files import write_atomically
from pyro_models.seeds import seeded, stream

BUDGETS = {"branin": 40, "hartmann6": 60, "ackley": 60, "exam": 30, "gramacy-lee": 30}
OURS: dict[str, tuple[str, dict[str, Any]]] = {  # inference, options of the GP
    "ml": ("maximum_likelihood", {"restarts": 4}),
    "map": ("map", {"restarts": 4}),
    "map-rbf": ("map", {"restarts": 4, "kernel": "rbf"}),
    "svi": ("svi", {"restarts": 4, "steps": 150, "lr": 0.06}),  # ends 0.1 nat below 1000 steps
    "nuts": ("nuts", {}),
}
SEEDS = dict.fromkeys(OURS, 20) | {"nuts": 5}  # unless told otherwise
PEERS = ("botorch", "botorch-told", "sklearn", "random")
NOISE = 1e-8  # variance, of standardised values: none, for those that are told
BOTORCH_NOISE = 1e-6  # GPyTorch takes no less
FLOOR = 1e-6  # regret below it is equally good: no method is compared on its rounding
DRAWS = 5000  # of the bootstrap

Propose = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def ours(name: str, device: torch.device) -> Callable[[TestFunction, int, int], list[float]]:
    """Ask and tell, with everything but the options of ``OURS`` as it comes."""
    inference, options = OURS[name]

    def run(function: TestFunction, budget: int, seed: int) -> list[float]:
        gp = {"noise": NOISE, **options}
        how: dict[str, Any] = {"inference": inference, "gp": gp, "seed": seed, "device": device}
        optimizer = Optimizer(list(function.bounds), **how)
        values: list[float] = []
        for point in start_of(function, seed):
            values.append(function(point))
            optimizer.tell(point, values[-1])
        while len(values) < budget:
            [point] = optimizer.ask()
            values.append(function(point))
            optimizer.tell(point, values[-1])
        return values

    return run


def peer(propose: Propose) -> Callable[[TestFunction, int, int], list[float]]:
    """A loop in the unit cube around a function of (x, y, seed) that proposes a point."""

    def run(function: TestFunction, budget: int, seed: int) -> list[float]:
        space = space_from(list(function.bounds))
        x = space.encode(start_of(function, seed)).numpy()
        y = [function(point) for point in start_of(function, seed)]
        while len(y) < budget:
            z = propose(x, np.array(y), stream(seed, f"peer {len(y)}"))
            [point] = space.decode(torch.as_tensor(z)[None])
            x = np.vstack([x, z])
            y.append(function(point))
        return y

    return run


def start_of(function: TestFunction, seed: int) -> list[Any]:
    """The design that all methods share."""
    space = space_from(list(function.bounds))
    return design_points(space, max(5, 2 * space.columns + 2), seed=seed)


def by_botorch(device: torch.device, *, told: bool) -> Propose:
    """SingleTaskGP with its default priors, LogEI by optimize_acqf."""

    def propose(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
        from botorch.acquisition.analytic import LogExpectedImprovement
        from botorch.fit import fit_gpytorch_mll
        from botorch.models import SingleTaskGP
        from botorch.optim import optimize_acqf
        from gpytorch.mlls import ExactMarginalLogLikelihood

        values = -torch.as_tensor(y, device=device)[:, None]
        noise = BOTORCH_NOISE * float(values.var())
        variance = torch.full_like(values, noise) if told else None
        with seeded(seed, device):
            model = SingleTaskGP(torch.as_tensor(x, device=device), values, train_Yvar=variance)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            ends = [[0.0] * x.shape[1], [1.0] * x.shape[1]]
            bounds = torch.tensor(ends, dtype=torch.float64, device=device)
            point, _ = optimize_acqf(
                LogExpectedImprovement(model, best_f=values.max()),
                bounds=bounds,
                q=1,
                num_restarts=10,
                raw_samples=512,
            )
        return point[0].cpu().numpy()

    return propose


def by_sklearn(x: np.ndarray, y: np.ndarray, seed: int) -> np.ndarray:
    """GaussianProcessRegressor, Matérn 5/2 with a length-scale per input; EI from many starts."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern

    kernel = ConstantKernel(1.0) * Matern(np.ones(x.shape[1]), (1e-2, 1e2), nu=2.5)
    gp = GaussianProcessRegressor(
        kernel, alpha=NOISE, normalize_y=True, n_restarts_optimizer=3, random_state=seed % 2**32
    ).fit(x, y)

    def negative(z: np.ndarray) -> np.ndarray:
        mean, sigma = gp.predict(z.reshape(-1, x.shape[1]), return_std=True)
        u = (y.min() - mean) / np.maximum(sigma, 1e-12)
        return -sigma * (norm.pdf(u) + u * norm.cdf(u))

    rng = np.random.default_rng(seed)
    wide = unit_points(2000, x.shape[1], seed=seed).numpy()
    near = x[y.argmin()] + 0.05 * rng.standard_normal((500, x.shape[1]))
    points = np.vstack([wide, near.clip(0, 1)])
    values = negative(points)
    best = values.argsort()[:3]
    ends = [
        descend(
            lambda z: float(negative(z)[0]),
            points[i],
            method="L-BFGS-B",
            bounds=[(0, 1)] * x.shape[1],
        )
        for i in best
    ]
    end = min(ends, key=lambda e: e.fun)
    return end.x if end.fun <= values[best[0]] else points[best[0]]


def by_chance(x: np.ndarray, _y: np.ndarray, seed: int) -> np.ndarray:
    """Uniform."""
    return np.random.default_rng(seed).random(x.shape[1])


METHODS = (*OURS, *PEERS)


def method_named(
    name: str, device: torch.device
) -> Callable[[TestFunction, int, int], list[float]]:
    """What is run under a name; scikit-learn and random search have no device."""
    if name in OURS:
        return ours(name, device)
    peers = {
        "botorch": by_botorch(device, told=False),
        "botorch-told": by_botorch(device, told=True),
        "sklearn": by_sklearn,
        "random": by_chance,
    }
    return peer(peers[name])


def run_one(
    out: Path, name: str, method: str, seed: int, *, budget: int, device: torch.device
) -> bool:
    """Run one, unless its file is there; whether it was run."""
    path = out / name / method / f"{seed}.json"
    if path.exists() and len(json.loads(path.read_text())["values"]) >= budget:
        return False
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        values = method_named(method, device)(function_named(name), budget, seed)
    record = {"values": values, "cpu_seconds": time.process_time() - begin}
    write_atomically(path, json.dumps(record))
    return True


def read(out: Path, name: str, method: str, budget: int) -> dict[int, np.ndarray]:
    """Seed → regret after each evaluation."""
    found = {}
    for path in sorted((out / name / method).glob("*.json")):
        values = json.loads(path.read_text())["values"]
        if len(values) >= budget:
            best = np.minimum.accumulate(values[:budget])
            found[int(path.stem)] = best - function_named(name).minimum
    return found


def verdict(
    ours: dict[int, np.ndarray], theirs: dict[int, np.ndarray], start: int
) -> dict[str, Any]:
    """Mean over seeds of the paired difference of log10 regret, bootstrapped over seeds.

    Intervals hold at all budgets at once: the widest studentised deviation of any budget is
    bootstrapped (max-t), so that one budget of many does not stand out by chance.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    logs = [np.log10(np.maximum([d[s][start:] for s in seeds], FLOOR)) for d in (ours, theirs)]
    difference = logs[0] - logs[1]
    mean = difference.mean(0)
    rng = np.random.default_rng(0)
    picked = rng.integers(len(seeds), size=(DRAWS, len(seeds)))
    means = difference[picked].mean(1)
    error = means.std(0)
    scale = np.where(error > 1e-12, error, np.inf)
    widest = np.quantile(np.abs((means - mean) / scale).max(1), 0.95)
    return {
        "seeds": len(seeds),
        "mean_final": mean[-1],
        "low_final": np.quantile(means[:, -1], 0.025),
        "high_final": np.quantile(means[:, -1], 0.975),
        "worse_at": [start + 1 + int(i) for i in np.flatnonzero(mean - widest * error > 1e-12)],
        "better_at": [start + 1 + int(i) for i in np.flatnonzero(mean + widest * error < -1e-12)],
    }


def report(out: Path, names: Sequence[str], budgets: dict[str, int]) -> None:
    """Tables, figure, and what they say in a few lines."""
    summary, verdicts, evaluations = [], [], []
    curves: list[RegretCurves] = []
    for name in names:
        start, budget = len(start_of(function_named(name), 0)), budgets[name]
        regrets = {m: r for m in METHODS if (r := read(out, name, m, budget))}
        for method, runs in regrets.items():
            for seed, regret in runs.items():
                evaluations += [[name, method, seed, i + 1, v] for i, v in enumerate(regret)]
            low, middle, high = np.quantile(list(runs.values()), (0.25, 0.5, 0.75), axis=0)
            for i in range(start - 1, budget):
                summary.append([name, method, len(runs), i + 1, middle[i], low[i], high[i]])
            print(
                f"{name:12} {method:8} {len(runs):2} seeds: median regret {middle[-1]:.2e} "
                f"({low[-1]:.1e} – {high[-1]:.1e}) after {budget} evaluations"
            )
        if regrets:
            curves.append(
                RegretCurves(name, start, {m: list(r.values()) for m, r in regrets.items()})
            )
        for method in OURS:
            for other in (*PEERS, *(o for o in OURS if o != method)):
                if method not in regrets or other not in regrets:
                    continue
                if len(regrets[method].keys() & regrets[other].keys()) < 3:
                    continue
                said = verdict(regrets[method], regrets[other], start)
                verdicts.append([name, method, other, *said.values()])
                print(
                    f"{'':12} {method} − {other}: {said['mean_final']:+.2f} "
                    f"({said['low_final']:+.2f}, {said['high_final']:+.2f}) in log10 regret at the "
                    f"end, {said['seeds']} seeds; worse at {said['worse_at'] or 'no budget'}, "
                    f"better at {len(said['better_at'])} budgets"
                )
    head = ["function", "method"]
    write_table(
        out / "evaluations.csv", [*head, "seed", "evaluation", "simple_regret"], evaluations
    )
    quartiles = ["seeds", "evaluation", "median_regret", "lower_quartile", "upper_quartile"]
    write_table(out / "summary.csv", [*head, *quartiles], summary)
    told = ["against", "seeds", "mean_log10_ratio_at_end", "low_95", "high_95"]
    write_table(out / "verdicts.csv", [*head, *told, "worse_at", "better_at"], verdicts)
    if curves:
        figure: Figure = regret_curves(curves)
        write_atomically(out / "regret.png", lambda f: figure.savefig(f, format="png", dpi=150))


def _seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, default=Path("regret"), help="folder of the results")
    parser.add_argument("--functions", nargs="+", choices=FUNCTIONS, default=list(BUDGETS))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--seeds", type=_seeds, help="0-4, say; 20 seeds, 5 for NUTS, unless given")
    parser.add_argument("--budget", type=int, help="evaluations, for less than the whole")
    parser.add_argument("--report", action="store_true", help="run nothing")
    add_device(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    budgets = {n: min(b, options.budget or b) for n, b in BUDGETS.items()}
    how = {n: {"budget": budget, "device": options.device} for n, budget in budgets.items()}
    # seed by seed, so that a run that is stopped has something of everything
    for seed in options.seeds or range(20):
        for name in options.functions:
            for method in options.methods:
                if options.report or (options.seeds is None and seed >= SEEDS.get(method, 20)):
                    continue
                if run_one(options.out, name, method, seed, **how[name]):
                    print(f"{name} {method} seed {seed}: done", flush=True)
    report(options.out, options.functions, budgets)


if __name__ == "__main__":
    main()
