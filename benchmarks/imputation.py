"""Empty cells of public tables filled in, beside scikit-learn's imputers and exact conditionals.

Cells of the tables that scikit-learn bundles are hidden at 10, 30 and 50 %: completely at random
(mcar), or at random (mar): three columns in ten stay whole, and whether a cell of the others is
hidden depends on these by a logistic regression with weights of the seed. Each method learns from
the table with what is hidden left out, and fills the same table in. Real columns are scored in
units of the standard deviation of the whole column: root mean squared error, mean log score of
hidden cells (nats a cell, densities in those units), and the share of them inside central 90 %
intervals; categories by accuracy and log score. Means over seeds ± standard error over seeds.

Run ``python benchmarks/imputation.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import itertools
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from clock import add_device
from scipy import stats
from sklearn import datasets
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from inference import fit, impute
from pyro_models import GMM, PPCA, VAE, ImageData, load_data
from pyro_models.seeds import seeded

LEVEL = 0.9


def table(name: str) -> pd.DataFrame:
    """A bundled table without its labels; ``mixed`` are the diabetes patients with categories."""
    if name != "mixed":
        return getattr(datasets, f"load_{name}")(as_frame=True).data.astype(float)
    bunch = datasets.load_diabetes(as_frame=True, scaled=False)
    frame = bunch.data.astype(float)
    frame["sex"] = np.where(frame["sex"] == 1, "a", "b")  # as the data set codes it
    classes = ["normal", "overweight", "obese"]
    frame["bmi"] = pd.cut(frame["bmi"], [0, 25, 30, 100], labels=classes, right=False).astype(str)
    frame["progression"] = bunch.target.astype(int)  # whole numbers
    return frame


def hidden_cells(frame: pd.DataFrame, how: str, share: float, seed: int) -> np.ndarray:
    """Which cells are hidden; of each row at least one is seen."""
    rng = np.random.default_rng([seed, round(100 * share), how == "mar"])
    N, C = frame.shape
    if how == "mcar":
        hidden = rng.random((N, C)) < share
        hidden[hidden.all(1), 0] = False
        return hidden
    whole = rng.permutation(C)[: max(1, round(0.3 * C))]
    codes = frame.apply(lambda c: c if c.dtype.kind in "fi" else pd.factorize(c)[0])
    z = ((codes - codes.mean()) / codes.std()).to_numpy()[:, whole]
    hidden = np.zeros((N, C), dtype=bool)
    for column in set(range(C)) - set(whole.tolist()):
        score = z @ rng.normal(size=len(whole))
        score = score / max(score.std(), 1e-9)
        low, high = -20.0, 20.0  # the intercept that hides the share, by bisection
        for _ in range(60):
            middle = (low + high) / 2
            rising = 1 / (1 + np.exp(-(middle + score)))
            low, high = (middle, high) if rising.mean() < share else (low, middle)
        hidden[:, column] = rng.random(N) < rising
    return hidden


class Filled:
    """What a method says of the hidden cells, in the units of the table.

    ``mean``, ``low``, ``high`` and ``log_p`` are frames, ``probabilities`` frames by column; what a
    method does not say is ``None``.
    """

    def __init__(self, mean: pd.DataFrame, **more: Any) -> None:
        self.mean = mean
        self.low, self.high = more.get("low"), more.get("high")
        self.log_p, self.probabilities = more.get("log_p"), more.get("probabilities", {})


def of_normal(mean: pd.DataFrame, sd: pd.DataFrame, truth: pd.DataFrame, **more: Any) -> Filled:
    """Normals with these moments."""
    reach = stats.norm.ppf((1 + LEVEL) / 2) * sd
    log_p = pd.DataFrame(
        stats.norm.logpdf(truth[sd.columns].astype(float), mean[sd.columns], sd),
        columns=sd.columns,
    )
    numbers = mean[sd.columns]
    return Filled(mean, low=numbers - reach, high=numbers + reach, log_p=log_p, **more)


def by_scikit_learn(make: Callable[[int], Any], draws: int = 1) -> Callable[..., Filled]:
    """An imputer of scikit-learn, on the numbers that our loader makes of the table."""

    def filled(seen: pd.DataFrame, truth: pd.DataFrame, seed: int, device: torch.device) -> Filled:
        data = loaded(seen, truth, seed, counts=False)
        whole = load_data(seen, like=data).split("test")
        mask = torch.ones_like(whole.x) if whole.mask is None else whole.mask
        x = whole.x.double().masked_fill(mask == 0, math.nan).numpy()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # not converged in its ten rounds
            every = np.stack([make(seed + i).fit_transform(x) for i in range(draws)])
        frame = data.table.frame(torch.from_numpy(every.mean(0)), rounded=False)
        if draws == 1:
            return Filled(frame)
        numeric = [c for c in data.table.columns if not c.discrete]
        sd = pd.DataFrame(
            {
                c.name: every.std(0, ddof=1)[:, data.table.places[c.name].start] * c.scale
                for c in numeric
            }
        )
        return of_normal(frame, sd.clip(lower=1e-9), truth)

    return filled


def by_column(seen: pd.DataFrame, truth: pd.DataFrame, seed: int, device: torch.device) -> Filled:
    """SimpleImputer, and what its column says of itself: a Normal, or frequencies."""
    numeric = [c for c in truth.columns if truth[c].dtype.kind in "fi"]
    named = [c for c in truth.columns if c not in numeric]
    mean = seen.copy()
    mean[numeric] = SimpleImputer(strategy="mean").fit_transform(seen[numeric].astype(float))
    probabilities = {}
    for name in named:
        shares = seen[name].value_counts(normalize=True)
        mean[name] = seen[name].fillna(shares.index[0])
        probabilities[name] = pd.DataFrame([shares.to_dict()] * len(seen))
    sd = pd.DataFrame({n: [seen[n].astype(float).std()] * len(seen) for n in numeric})
    return of_normal(mean, sd, truth, probabilities=probabilities)


def by_pair(
    make: Callable[[ImageData], Any], *, counts: bool = False, **options: Any
) -> Callable[..., Filled]:
    """A pair of ours: fitted to what is seen, then its conditionals."""

    def filled(seen: pd.DataFrame, truth: pd.DataFrame, seed: int, device: torch.device) -> Filled:
        data = loaded(seen, truth, seed, counts=counts)
        with seeded(seed, torch.device("cpu")):
            pair = make(data)
        how = {"epochs": 300, "batch_size": 64, "patience": 25, "restore_best": True, **options}
        fit(pair, data, seed=seed, device=device, progress=False, **how)
        found = impute(pair, seen, like=data, num_draws=300, seed=seed)
        low, high = found.interval(LEVEL)
        log_p = found.log_prob(truth)
        own = dict(low=low, high=high, log_p=log_p, probabilities=found.probabilities)
        return Filled(found.mean, **own)

    return filled


def vae(data: ImageData) -> VAE:
    return VAE(
        data.data_shape,
        latent_dim=min(5, data.data_shape[0] - 1),
        hidden=[64],
        activation="tanh",
        likelihood="mixed",
        likelihood_options={"columns": data.table.likelihoods, "scale": "column"},
    )


IWAE = {"class_path": "iwae", "init_args": {"num_particles": 10}}
METHODS: dict[str, Callable[..., Filled]] = {
    "mean or mode": by_column,
    "KNNImputer": by_scikit_learn(lambda seed: KNNImputer()),
    "IterativeImputer": by_scikit_learn(
        lambda seed: IterativeImputer(sample_posterior=True, random_state=seed), draws=10
    ),
    "PPCA, exact": by_pair(
        lambda data: PPCA(data.data_shape, latent_dim=min(5, data.data_shape[0] - 1)), lr=1e-2
    ),
    "GMM, exact": by_pair(
        lambda data: GMM(data.data_shape, num_components=3, covariance="full"), lr=1e-2
    ),
    "VAE, mixed": by_pair(vae, counts=True, lr=3e-3, objective=IWAE),
}


def scores(filled: Filled, truth: pd.DataFrame, hidden: np.ndarray) -> dict[str, float]:
    """RMSE, log score and coverage of hidden numbers; accuracy and log score of categories."""
    errors, logs, inside, right, named = [], [], [], [], []
    for j, column in enumerate(truth.columns):
        rows = np.flatnonzero(hidden[:, j])
        if not len(rows):
            continue
        values = truth[column].iloc[rows]
        if values.dtype.kind in "fi":
            scale = float(truth[column].std(ddof=0))
            given = filled.mean[column].iloc[rows].astype(float).to_numpy()
            errors.append((given - values.to_numpy()) / scale)
            if filled.low is not None:
                low, high = filled.low[column].iloc[rows], filled.high[column].iloc[rows]
                inside.append(((low <= values) & (values <= high)).to_numpy(dtype=float))
            if filled.log_p is not None and values.dtype.kind == "f":
                logs.append(filled.log_p[column].iloc[rows].to_numpy() + math.log(scale))
            continue
        right.append((filled.mean[column].iloc[rows] == values).to_numpy(dtype=float))
        if column in filled.probabilities:
            p = filled.probabilities[column].loc[rows]
            picked = [p.at[row, value] for row, value in values.items()]
            named.append(np.log(np.clip(picked, 1e-6, 1)))
    return {
        "RMSE": float(np.sqrt(np.mean(np.concatenate(errors) ** 2))),
        "log score": float(np.mean(np.concatenate(logs))) if logs else math.nan,
        "coverage": float(np.mean(np.concatenate(inside))) if inside else math.nan,
        "accuracy": float(np.mean(np.concatenate(right))) if right else math.nan,
        "log score of categories": float(np.mean(np.concatenate(named))) if named else math.nan,
    }


def main() -> None:
    """Hide, fill in, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = ["iris", "wine", "breast_cancer", "diabetes", "mixed"]
    parser.add_argument("--tables", nargs="+", default=names)
    parser.add_argument("--how", nargs="+", default=["mcar", "mar"])
    parser.add_argument("--shares", nargs="+", type=float, default=[0.1, 0.3, 0.5])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--csv", help="file for the scores of every seed")
    parser.add_argument("--read", nargs="+", help="print what such files hold, and run nothing")
    add_device(parser)
    given = parser.parse_args()
    if given.read:
        show(pd.concat([pd.read_csv(file) for file in given.read]))
        return
    rows = []
    cases = itertools.product(given.seeds, given.tables, given.how, given.shares)
    for seed, name, how, share in cases:
        truth = table(name)
        hidden = hidden_cells(truth, how, share, seed)
        seen = truth.mask(hidden)
        for method in given.methods:
            found = scores(METHODS[method](seen, truth, seed, given.device), truth, hidden)
            rows.append({"table": name, "how": how, "hidden": share, "method": method} | found)
            if given.csv:
                pd.DataFrame(rows).to_csv(given.csv, index=False)
    show(pd.DataFrame(rows))


def show(every: pd.DataFrame) -> None:
    """A table for each score: a row for each table and share, a column for each method."""
    methods = list(dict.fromkeys(every["method"]))
    for score in (c for c in every.columns[4:] if every[c].notna().any()):
        there = every[every[score].notna()]
        able = [m for m in methods if m in set(there["method"])]
        print(f"\n**{score}**\n\n| table | hidden | {' | '.join(able)} |")
        print(f"|---|---|{'---|' * len(able)}")
        for (name, how, share), part in there.groupby(["table", "how", "hidden"]):
            of = {m: part.loc[part["method"] == m, score].to_numpy() for m in able}
            cells = (words(values) if len(values) else "" for values in of.values())
            print(f"| {name} | {how} {share:.0%} | {' | '.join(cells)} |")


def loaded(seen: pd.DataFrame, truth: pd.DataFrame, seed: int, *, counts: bool) -> ImageData:
    """The table as data; whole numbers are counts where a method knows what these are.

    Numbers with a point are real, although beside empty cells they may all be whole.
    """
    numbers = "f" if counts else "fi"
    kinds = {c: "real" for c in truth.columns if truth[c].dtype.kind in numbers}
    return load_data(seen, missing="unseen", kinds=kinds, test_fraction=0, seed=seed)


def words(values: np.ndarray) -> str:
    """Mean ± standard error over seeds."""
    if np.isnan(values).any():
        return ""
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{values.mean():.3f} ± {error:.3f}"


if __name__ == "__main__":
    main()
