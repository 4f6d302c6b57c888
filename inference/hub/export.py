"""A run as a folder to pass on: weights, configuration, scores, a figure and a model card."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from torch import nn

from inference.evaluation import Evaluation
from inference.experiment import Experiment
from inference.figures.registry import Shown, figure_named
from inference.hub.card import Card
from inference.learning import Fit, Run
from inference.learning.history import History, read_epochs
from pyro_models import Pair, UsageError
from pyro_models.data import Split
from pyro_models.files import holding_folder, is_free, write_atomically

__all__ = ["FILES", "export_run", "run_of"]

FILES = (
    "run.json",
    "weights.safetensors",
    "history.csv",
    "scores.json",
    "figure.png",
    "README.md",
)
"""All that an exported folder holds."""

USUAL = ("class_grid", "prior_samples", "learning_curves")
"""Figures of a card where none is named: the first that the pair has."""

_CAPTIONS = {
    "class_grid": "Samples of the model, a column for each class.",
    "prior_samples": "Samples of the model: pixels' means given latents drawn from the prior.",
    "learning_curves": "The objective by epoch of the training.",
}


def export_run(
    run: str | Path | Fit,
    out: str | Path,
    *,
    evaluation: Evaluation | None = None,
    model: type[nn.Module] | None = None,
    figure: str | None = None,
    license: str | None = None,
    tags: Sequence[str] = (),
    name: str | None = None,
    force: bool = False,
) -> Path:
    """Write a trained pair into a folder to pass on, which the Hub takes as it is.

    It holds ``weights.safetensors``, ``run.json`` (configuration, data by their identity, settings;
    places on this machine are left out), ``history.csv``, ``scores.json``, ``figure.png`` and
    ``README.md``, the model card. Whatever takes a run folder takes it, too.

    Parameters
    ----------
    run
        A run folder, or what :func:`inference.fit` returned with ``out``.
    out
        The folder, which is made.
    evaluation
        Scores for the card, as of :func:`inference.evaluate`; those in ``scores.json`` of the run
        folder unless given.
    model
        The pair's class, where a run folder holds one of your own that is not registered.
    figure
        Name of a figure of the pair; samples, or else its learning curves, unless given.
    license, tags
        Of the weights, as the Hub names it (``"mit"``); and words that it is found by there.
    name
        What the card loads it by, ``owner/name``; the folder's name unless given.
    force
        Replace what an earlier export has written there.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UsageError
        If there is no run, its weights are missing, something else is in the folder, or the figure
        is none of this pair.

    Examples
    --------
    >>> import tempfile
    >>> from inference import evaluate, fit, from_hub
    >>> from pyro_models import PPCA, load_data
    >>> data = load_data("digits", preparation="dequantised")
    >>> few = {"epochs": 1, "curve_size": 0, "progress": False}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = fit(PPCA(data.data_shape, latent_dim=2), data, out=f"{folder}/run", **few)
    ...     scores = evaluate(result.pair, data, num_particles=1, limit=10)
    ...     place = export_run(result, f"{folder}/ppca", evaluation=scores)
    ...     from_hub(place).pair.latent_dim, (place / "README.md").is_file()
    (2, True)
    """
    source, folder = run_of(run), Path(out)
    pair = run.pair if isinstance(run, Fit) else source.load_pair(model=model)
    if folder.resolve() == source.folder.resolve():
        raise UsageError(f"{folder} is the run folder itself: name another folder")
    earlier = Run(folder).exists and "exported" in Run(folder).describe()
    if not is_free(folder) and not (force and earlier):
        raise UsageError(
            f"{folder} already holds an export: replace it with --force, or name another"
            if earlier
            else f"{folder} is not empty: name another folder"
        )
    record = _to_pass_on(source.describe())
    evaluation = evaluation or _scores_beside(source)
    picture = _figure_of(source, pair, figure)
    card = Card(
        name or folder.name,
        pair,
        record,
        evaluation,
        figure="figure.png" if picture else "",
        caption=picture[0] if picture else "",
        experiment=_experiment(record),
        license=license,
        tags=tags,
    )
    contents: dict[str, bytes | str | None] = {
        "weights.safetensors": (source.folder / "weights.safetensors").read_bytes(),
        "history.csv": _history_file(source),
        "scores.json": evaluation.to_json() if evaluation else None,
        "figure.png": picture[1] if picture else None,
        "README.md": card.to_text(),
        "run.json": json.dumps(record, indent=2) + "\n",  # which makes it a run, last
    }
    with holding_folder(folder):
        for file, content in contents.items():
            if content is None:
                (folder / file).unlink(missing_ok=True)
            else:
                write_atomically(folder / file, content)
    return folder


def run_of(run: str | Path | Fit) -> Run:
    """The run folder of a training, if it has one."""
    if not isinstance(run, Fit):
        return Run(run)
    if run.out is None:
        raise UsageError("this training has no run folder to export: fit with out")
    return Run(run.out)


def _history_file(source: Run) -> str | None:
    path = source.folder / "history.csv"
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _scores_beside(source: Run) -> Evaluation | None:
    path = source.folder / "scores.json"
    return Evaluation.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def _to_pass_on(record: Mapping[str, Any]) -> dict[str, Any]:
    """What is on record of a run, without places on this machine, nor who is told of it."""
    found: dict[str, Any] = _without_places(record)
    found["data"] = {**found["data"], "source": None}
    if "experiment" in found:
        found["experiment"] = {k: v for k, v in found["experiment"].items() if k != "track"}
    return {**found, "exported": True}


def _without_places(value: Any) -> Any:
    """The same with the name alone of every file or folder that is named with its place.

    >>> _without_places({"start": "weights of /home/ada/runs/first", "model": "/home/mine.py:Mine"})
    {'start': 'weights of first', 'model': 'mine.py:Mine'}
    """
    if isinstance(value, Mapping):
        return {name: _without_places(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_places(each) for each in value]
    if not isinstance(value, str):
        return value
    for path in (PurePosixPath(value), PureWindowsPath(value)):
        if path.is_absolute() and path.name:
            return path.name
    return re.sub(r"(?<![\w.:/])(?:[A-Za-z]:)?[\\/](?:[^\\/\s]+[\\/])+", "", value)


def _experiment(record: Mapping[str, Any]) -> str:
    """The experiment as a configuration file, of names that are registered."""
    own = record.get("experiment")
    return "" if own is None else Experiment.from_dict(own).to_yaml() if _is_ours(own) else ""


def _is_ours(value: Any) -> bool:
    if isinstance(value, Mapping):
        return all(map(_is_ours, value.values()))
    return not (isinstance(value, str) and ".py:" in value)


def _figure_of(source: Run, pair: Pair, name: str | None) -> tuple[str, bytes] | None:
    """A caption and a PNG file of the figure of that name, or of the first that can be drawn."""
    shown = Shown(
        pair=pair,
        load_test=_no_data,
        load_train=_no_data,
        load_history=lambda: _history_of(source),
    )
    for each in USUAL if name is None else (name,):
        try:
            drawn = figure_named(each)
            figure = drawn.draw(shown)
        except UsageError:
            if name is not None:
                raise
            continue
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
        caption = _CAPTIONS.get(drawn.name, f"{drawn.name.replace('_', ' ').capitalize()}.")
        return caption, content.getvalue()
    return None


def _no_data() -> Split:
    raise UsageError(
        "a card has a figure of the model alone (prior_samples, class_grid, latent_grid, "
        "mixture_means, learning_curves): this one needs data"
    )


def _history_of(source: Run) -> History:
    training = source.describe().get("training", {})
    epochs = read_epochs(_history_file(source) or "")
    if not epochs:
        raise UsageError(f"{source.folder} has no finished epoch to show")
    words = {n: training[n] for n in ("best_epoch", "unit", "remark") if n in training}
    return History(epochs, objective=training.get("objective", ""), **words)
