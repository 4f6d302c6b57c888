"""``gp-bo fit``, ``predict`` and ``plot``: a Gaussian process of a table."""

from __future__ import annotations

import inspect
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gp_bo.arrays import gp_device
from gp_bo.commands.tables import Table, numbers, read_table, write_table
from gp_bo.figures.bands import slice_figure
from gp_bo.fit import InferenceWarning, fit_gp
from gp_bo.fitted import FittedGP
from gp_bo.latent.fitted import LatentGP
from gp_bo.optimize import Optimizer
from gp_bo.optimize.figures import search_figure
from gp_bo.storing import load_gp
from inference.commands.files import (
    free_figure_path,
    free_folder,
    free_path,
    printed_after,
    save_figure,
)
from pyro_models import UsageError
from pyro_models.files import holding_folder, write_atomically
from pyro_models.seeds import check_seed

__all__ = ["fit", "plot", "predict"]

_COLUMNS = "columns.json"


def fit(
    data: str,
    target: str,
    out: str,
    inputs: list[str] | None = None,
    kernel: str = "matern52",
    inference: str = "nuts",
    noise: float | str = "learned",
    mean: str = "constant",
    likelihood: str = "gaussian",
    priors: dict[str, Any] | None = None,
    seed: int = 0,
    device: str = "cpu",
    options: dict[str, Any] | None = None,
    force: bool = False,
    progress: bool = True,
) -> None:
    """Fit a Gaussian process to a CSV file and save it in a folder.

    Args:
        data: CSV file; the first line names the columns.
        target: Column to predict.
        out: Folder to write.
        inputs: Columns to predict from; all others unless given.
        kernel: One of {kernels}, or a formula such as "rbf + periodic".
        inference: How hyper-parameters are inferred: {inferences}, or, for ten thousand rows and
            more, sparse_variational.
        noise: "learned", or a variance in the target's unit squared.
        mean: One of {means}.
        likelihood: What the data are, given the function: {likelihoods}. Labels are 0 and 1, counts
            whole numbers.
        priors: Priors of hyper-parameters, in original units: a number, which fixes it, or one of
            {priors} with its numbers, --priors.lengthscale "lognormal(0, 1)", or as in a file,
            --priors.lengthscale.class_path LogNormal --priors.lengthscale.init_args.loc 0.
        seed: Random seed of all draws.
        device: cpu, cuda, or cuda:1 and so on; float64 is needed, which mps does not have.
        options: Options of the inference: --options.num_draws 2000, --options.num_inducing 300.
        force: Replace what is in the folder.
        progress: Show how far the inference is.
    """
    folder = free_folder(out, force=force)
    place = gp_device(device)
    table = read_table(data)
    chosen = _chosen(table, target, inputs)
    y = numbers(table, [target])[:, 0]
    X = numbers(table, chosen)
    own = {"progress": progress, **(options or {})}
    for name in {*own} - {"progress"}:
        if name in inspect.signature(fit_gp).parameters:
            raise UsageError(f"{name} is no option of the inference: give --{name} itself")
    how: dict[str, Any] = {"kernel": kernel, "inference": inference, "noise": noise}
    how |= {"mean": mean, "likelihood": likelihood, "priors": priors}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InferenceWarning)
        fitted = fit_gp(X, y, **how, seed=seed, device=place, **own)
    kind = "" if likelihood == "gaussian" else f", {likelihood} likelihood"
    lines = [
        *(f"warning: {warning.message}" for warning in caught),
        f"{target} from {', '.join(chosen)}: {len(y)} rows, {kernel}, {inference}{kind}",
        *_described(fitted, chosen),
    ]
    named = json.dumps({"inputs": chosen, "target": target}, ensure_ascii=False)
    with printed_after(lambda: "\n".join(lines)), holding_folder(folder):
        fitted.save(folder)
        write_atomically(folder / _COLUMNS, named)
    print(f"written to {folder}")


def predict(
    gp: str,
    data: str,
    out: str | None = None,
    include_noise: bool = False,
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Predict the target for the rows of a CSV file: probabilities of labels, rates of counts.

    Args:
        gp: Folder that "gp-bo fit" wrote.
        data: CSV file with the input columns.
        out: CSV file to write; printed unless given.
        include_noise: Spread of a new measurement, rather than of the function.
        device: Where to compute, whatever device it was fitted on: cpu, cuda, cuda:1 …
        force: Replace the file.
    """
    fitted, inputs, target = _opened(gp, device)
    path = free_path(out, force=force)
    X = numbers(read_table(data), inputs)
    prediction = fitted.predict(X, include_noise=include_noise)
    mean, low, high = fitted.band(X, include_noise=include_noise)
    columns = torch.stack([mean, prediction.variance.sqrt(), low, high], 1).cpu()
    ends = ["low_95", "high_95"] if isinstance(fitted, LatentGP) else ["minus_2sd", "plus_2sd"]
    head = [*inputs, target, "standard_deviation", *ends]
    write_table(path, head, [[*x, *p] for x, p in zip(X.tolist(), columns.tolist(), strict=True)])


def plot(
    gp: str,
    out: str,
    input_name: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    force: bool = False,
) -> None:
    """Draw the prediction along one input; of a search, log expected improvement below it.

    Other inputs stand at their medians, or, of a search, at the best point.

    Args:
        gp: Folder that "gp-bo fit" wrote, or state file of "gp-bo ask".
        out: Figure to write: .png, .pdf or .svg.
        input_name: Input to vary; the first unless given.
        seed: Random seed of the functions that are drawn.
        device: Where to compute: cpu, cuda, cuda:1 …
        force: Replace the figure.
    """
    path = free_figure_path(out, option="--out", force=force)
    check_seed(seed)
    if Path(gp).is_file():
        figure = search_figure(Optimizer.resume(gp, device=device), input_name=input_name)
    else:
        fitted, inputs, target = _opened(gp, device)
        name = inputs[0] if input_name is None else input_name
        if name not in inputs:
            raise UsageError(f"{name!r} is no input; choose from {', '.join(inputs)}")
        figure = slice_figure(fitted, inputs, target, column=inputs.index(name), seed=seed)
    save_figure(figure, path)
    print(f"written to {path}")


def _chosen(table: Table, target: str, inputs: list[str] | None) -> list[str]:
    """The columns to predict from."""
    chosen = [name for name in table.columns if name != target] if inputs is None else inputs
    if target in chosen or not chosen:
        raise UsageError(f"inputs are one or more columns other than {target}")
    if len(set(chosen)) < len(chosen):
        raise UsageError(f"inputs are different columns; got {', '.join(chosen)}")
    return chosen


def _described(fitted: FittedGP, inputs: list[str]) -> Iterator[str]:
    """A line for each hyper-parameter, or for each input that it is of."""
    for name, draws in fitted.hyperparameters.items():
        for i, value in enumerate(draws.reshape(len(draws), -1).T):
            index = f"[{inputs[i]}]" if draws.dim() > 1 else ""
            low, middle, high = np.quantile(value.cpu().numpy(), (0.05, 0.5, 0.95))
            spread = f" (5 % – 95 %: {low:.3g} – {high:.3g})" if fitted.num_draws > 1 else ""
            yield f"  {name}{index} {middle:.4g}{spread}"


def _opened(folder: str, device: str) -> tuple[FittedGP, list[str], str]:
    fitted = load_gp(folder, device=device)
    for message in fitted.diagnostics["messages"]:
        print(f"warning: {fitted.inference}: {message}", file=sys.stderr)
    try:
        columns = json.loads((Path(folder) / _COLUMNS).read_text(encoding="utf-8"))
        inputs = [str(name) for name in columns["inputs"]]
        if len(inputs) != fitted.X.shape[1]:
            raise ValueError
        return fitted, inputs, str(columns["target"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{folder} does not name its columns: fit it with gp-bo fit") from None
