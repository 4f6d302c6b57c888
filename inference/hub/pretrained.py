"""A trained pair from a folder or from the Hub, without running any code that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from inference.evaluation import Evaluation
from inference.experiment import Experiment
from inference.hub.repository import download
from inference.learning import Run
from pyro_models import Pair, UsageError
from pyro_models.registry import registered_only

__all__ = ["Pretrained", "check_names", "from_hub"]

_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
_NO_CODE = ("data", "label", "columns", "kinds", "name", "stopped", "start", "versions", "training")
"""Parts of a record that name files, columns or words, and never a class."""


@dataclass(frozen=True)
class Pretrained:
    """A trained pair, and what came with it.

    Attributes
    ----------
    pair
        The pair with its weights.
    folder
        Where its files are; whatever takes a run folder takes it.
    evaluation
        Its scores as they were exported, if they were.
    """

    pair: Pair
    folder: Path
    evaluation: Evaluation | None = None

    @property
    def experiment(self) -> Experiment:
        """What it follows from: model, data, settings. One that names code is refused."""
        check_names(Run(self.folder).describe(), who=str(self.folder), files=True)
        return Experiment.load(self.folder)


def from_hub(
    source: str | Path,
    *,
    revision: str | None = None,
    model: type[nn.Module] | None = None,
    options: Mapping[str, Any] | None = None,
    device: str | torch.device = "cpu",
    token: str | None = None,
    endpoint: str | None = None,
) -> Pretrained:
    """A trained pair from a repository of the Hugging Face Hub, or from an exported folder.

    Only the files of an export are taken: weights (safetensors), configuration, scores, card. No
    code comes with them, and none that they name is run: a class of your own is passed.

    Parameters
    ----------
    source
        ``"owner/name"``, or the path of a folder, which wins if there is one.
    revision
        The branch, tag or commit of a repository; ``main`` unless given.
    model
        The pair's class, where that is none of the registered ones.
    options
        Options of it that are classes or objects of your own, in the place of those on record.
    device
        Where the pair is to be.
    token, endpoint
        As for :func:`inference.push_to_hub`.

    Raises
    ------
    UsageError
        In one line: no such folder, repository or revision; no connection; damaged files; names of
        code.

    Examples
    --------
    ``pair = from_hub("owner/name").pair``, or of a folder, as :func:`inference.export_run` shows.
    """
    folder = Path(source)
    if folder.is_dir():
        if revision is not None:
            raise UsageError(f"{source} is a folder here, which has no revisions: leave it out")
    elif isinstance(source, Path) or not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise UsageError(f"there is no folder {source}; a repository of the Hub is owner/name")
    else:
        folder = download(str(source), revision=revision, token=token, endpoint=endpoint)
    with registered_only(str(source)):
        pair = Run(folder).load_pair(device=device, model=model, options=options)
    scores = folder / "scores.json"
    found = Evaluation.from_json(scores.read_text(encoding="utf-8")) if scores.is_file() else None
    return Pretrained(pair, folder, found)


def check_names(record: Mapping[str, Any], *, who: str, files: bool) -> None:
    """Refuse a record that names a module's class or function, or, if asked, a Python file's.

    Raises
    ------
    UsageError
        Naming the first.
    """
    for name in _names(record):
        if (_DOTTED.fullmatch(name) and not name.endswith(".py")) or (files and ".py:" in name):
            raise UsageError(f"{who} names {name!r}, and code that a folder names is never run")


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from () if name in _NO_CODE else _names(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _names(each)
    elif isinstance(value, str):
        yield value
