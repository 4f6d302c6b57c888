"""A run folder: what was trained, how, and the state to go on from.

======================  =============================================================
``run.json``            the pair's configuration, the data, the settings, versions
``weights.safetensors`` the weights after the last epoch (the best, once restored)
``checkpoint.pt``       all that is needed to resume; loaded with weights only
``history.csv``         one row per epoch
``trackers.json``       what trackers know the run by, where it is tracked
======================  =============================================================
"""

from __future__ import annotations

import json
import shutil
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from inference.learning.data_parallel import is_first
from inference.learning.history import History
from inference.learning.own_code import class_of_record, refuse_own_code
from inference.learning.recorded_data import UNKNOWN, differs_from_record, plain_fields
from inference.learning.tempered import remember_beta
from inference.learning.trained_on import note_training
from inference.learning.weights import load_weights
from pyro_models import Pair, UsageError, build
from pyro_models.brief import Brief
from pyro_models.contract import check_pair, module_of
from pyro_models.data import Table
from pyro_models.device import check_device
from pyro_models.files import holding_folder, is_free, write_atomically
from pyro_models.installation import version_of
from pyro_models.models import PAIRS

__all__ = ["Run"]

FORMAT = "pyro-models run 1"
OWN_FILES = ("run.json", "weights.safetensors", "checkpoint.pt", "history.csv", "history.png")
OWN_RESULTS = ("scores.json", "figures", "trackers.json", "tensorboard", "wandb")


class Run(Brief):
    """A run folder on disk.

    Parameters
    ----------
    folder
        Where it is, or is to be.

    Examples
    --------
    >>> import tempfile
    >>> from pyro_models import VAE
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = Run(folder)
    ...     run.create(VAE((1, 8, 8), hidden=[8]), {"data": {}, "settings": {}})
    ...     run.save_weights(VAE((1, 8, 8), hidden=[8]))
    ...     run.load_pair().hidden
    (8,)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def facts(self) -> Mapping[str, object]:
        """The folder, and what was trained in it on what."""
        try:
            record = self.describe()
        except UsageError:
            return {"": self.folder, "holds": "no run"}
        epochs = record.get("training", {}).get("epochs")
        data = record["data"].get("name")
        return {"": self.folder, "model": record["class"], "data": data, "epochs": epochs}

    @property
    def exists(self) -> bool:
        """Whether a run was begun here."""
        return (self.folder / "run.json").is_file()

    def refuse_to_overwrite(self, *, force: bool) -> None:
        """Refuse to write where a run is, unless forced, or where something else is.

        Raises
        ------
        UsageError
            If a run is here and ``force`` is not given, or something else is.
        """
        if self.exists:
            if not force:
                raise UsageError(
                    f"{self.folder} already holds a run: go on with it (--resume), replace it "
                    "(--force), or name another folder (--out)"
                )
        elif not is_free(self.folder):  # drafts of a process that died while it began a run
            raise UsageError(f"{self.folder} is there and is not a run folder: name another one")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder for a training: nobody else may begin or resume one meanwhile.

        Raises
        ------
        UsageError
            If it is no run folder, or another training holds it.
        """
        if not is_first():  # which holds it for all
            yield
            return
        self.refuse_to_overwrite(force=True)
        refusal = f"{self.folder} is being trained by another: wait, or name another folder (--out)"
        with holding_folder(self.folder, refusal=refusal):
            yield

    def clear(self) -> None:
        """Remove the run that is here, if there is one; files of other names stay."""
        for name in (*OWN_RESULTS, *reversed(OWN_FILES)):  # run.json, which marks a run, last
            path = self.folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            for draft in self.folder.glob(f".{name}.*part"):
                draft.unlink(missing_ok=True)

    def refuse_without_checkpoint(self) -> None:
        """Refuse to go on with an exported folder, which holds weights and no checkpoint.

        Raises
        ------
        UsageError
            If it is one.
        """
        if "exported" in self.describe():
            raise UsageError(
                f"{self.folder} was exported, and holds no checkpoint to resume from: begin "
                f"another run with its weights (--init_from {self.folder})"
            )

    def check_same(self, pair: Pair, data: Mapping[str, Any]) -> None:
        """Refuse to go on with another pair or other data than the run was begun with.

        Raises
        ------
        UsageError
            Naming what differs.
        """
        earlier = self.describe()
        data, recorded = json.loads(json.dumps(data)), earlier["data"]
        was = {"class": earlier["class"], **earlier["config"], **plain_fields(recorded, data)}
        now = {"class": type(pair).__name__, **pair.config(), **plain_fields(data, recorded)}
        now = json.loads(json.dumps(now))
        for name in [*was, *now]:
            if was.get(name) != now.get(name):
                raise UsageError(
                    f"this run was begun with {name} {was.get(name)!r}, not {now.get(name)!r}: "
                    "resume it with the same model and data, or start another"
                )
        why = differs_from_record(data, recorded)
        if why is not None:
            raise UsageError(
                f"this run was begun with other data ({why}): resume it with the same model and "
                "data, or start another"
            )
        if recorded and "identity" not in recorded:
            warnings.warn(f"{self.folder}: {UNKNOWN}", stacklevel=4)

    def create(self, pair: Pair, record: Mapping[str, Any]) -> None:
        """Write ``run.json``: the pair's configuration and what goes with it."""
        check_pair(pair)
        description = {
            "format": FORMAT,
            "model": PAIRS.name_of(type(pair)),
            "class": type(pair).__name__,
            "config": _plain(pair),
            **record,
            "versions": {name: version_of(name) for name in ("pyro-models", "pyro-ppl", "torch")},
        }
        write_atomically(self.folder / "run.json", json.dumps(description, indent=2) + "\n")

    def add(self, record: Mapping[str, Any]) -> None:
        """Add to ``run.json``, or replace what it says."""
        description = {**self.describe(), **record}
        write_atomically(self.folder / "run.json", json.dumps(description, indent=2) + "\n")

    def record_end(self, history: History) -> None:
        """Add to ``run.json`` how training ended."""
        names = [
            "curve_data",
            "objective",
            "unit",
            "start",
            "best_epoch",
            "stopped",
            "remark",
            "recorded",
            "not_recorded",
        ]
        if history.at_once > 1 or history.not_at_once:
            names += ["at_once", "not_at_once"]
        if history.beta != 1:
            names.append("beta")
        if history.warnings:
            names += ["warnings", "diverged"]
        ended = {name: getattr(history, name) for name in names}
        if history.epochs and history.epochs[-1].measures:
            ended["measures"] = history.epochs[-1].measures
        self.add({"training": {"epochs": len(history.epochs), **ended}})

    def describe(self) -> dict[str, Any]:
        """The content of ``run.json``.

        Raises
        ------
        UsageError
            If the folder is not a run folder, or the file is damaged.
        """
        path = self.folder / "run.json"
        if not path.is_file():
            seeds = [str(run.parent) for run in self.folder.glob("seed-*/run.json")]
            hint = f", but runs of several seeds: name one, such as {min(seeds)}" if seeds else ""
            raise UsageError(f"{self.folder} is not a run folder: it has no run.json{hint}")
        try:
            description: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            found = description["format"]
            parts = [description[part] for part in ("config", "data", "settings")]
            if not all(isinstance(part, dict) for part in parts):
                raise TypeError("a part is not a mapping")
            description["model"], description["class"]
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{path} is damaged; train again, or restore the file") from error
        if found != FORMAT:
            raise UsageError(f"{path} is of the format {found!r}, not {FORMAT!r}")
        return description

    @property
    def table(self) -> Table | None:
        """What the columns are of the table that it was trained on; ``None`` of other data."""
        record = self.describe()["data"].get("table")
        return None if record is None else Table.from_dict(record)

    def save_weights(self, pair: Pair) -> None:
        """Write the weights of model and guide."""
        check_pair(pair)
        tensors = {k: v.detach().cpu().contiguous() for k, v in pair.state_dict().items()}
        write_atomically(self.folder / "weights.safetensors", safetensors.torch.save(tensors))

    def load_pair(
        self,
        *,
        device: str | torch.device = "cpu",
        model: type[nn.Module] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Pair:
        """Rebuild the pair with its trained weights, on a device, wherever it was trained.

        Parameters
        ----------
        device
            Where it is to be.
        model
            Its class, where that is neither registered nor of a file that is still there.
        options
            Options of it that are not what is on record: an object or a class of your own, say.

        Raises
        ------
        UsageError
            If there is no such device, its class is not to be found, or its weights are missing,
            damaged or another pair's.
        """
        where = check_device(device)
        description = self.describe()
        cls = model or class_of_record(self.folder, description)
        config = {**description["config"], **(options or {})}
        refuse_own_code(self.folder, config)
        try:
            pair = build(cls, **config)
        except (UsageError, TypeError) as error:
            raise UsageError(f"{self.folder / 'run.json'} is damaged ({error})") from error
        path = self.folder / "weights.safetensors"
        try:
            weights = safetensors.torch.load(path.read_bytes())
        except FileNotFoundError as error:
            raise UsageError(f"{self.folder} has no weights yet: no epoch was finished") from error
        except (safetensors.SafetensorError, OSError) as error:
            raise UsageError(f"{path} is damaged: {error}") from error
        floats = (w.dtype for w in weights.values() if w.is_floating_point())
        module_of(pair).to(next(floats, torch.float32))
        load_weights(pair, weights, path)
        module_of(pair).to(where)
        asked = description.get("settings", {}).get("objective_options") or {}
        ended = description.get("training", {"beta": asked.get("beta", 1.0)})  # or was killed
        remember_beta(pair, ended.get("beta", 1.0))
        training = description.get("training", {})
        restored = training.get("best_epoch") if "restored" in training.get("stopped", "") else None
        data, epoch = description["data"].get("name"), restored or training.get("epochs")
        if data is not None:
            note_training(pair, data=str(data), epoch=epoch)
        return pair

    def save_checkpoint(self, state: Mapping[str, Any]) -> None:
        """Write all that is needed to resume."""
        path = self.folder / "checkpoint.pt"
        content = {"format": FORMAT, **state}
        write_atomically(path, lambda file: torch.save(content, file))

    def load_checkpoint(self) -> dict[str, Any] | None:
        """The last checkpoint, or ``None`` if no epoch was finished; nothing pickled is run.

        Raises
        ------
        UsageError
            If it is damaged or not one of ours.
        """
        path = self.folder / "checkpoint.pt"
        if not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:
                if archive.testzip() is not None:  # torch itself does not look at the checksums
                    raise zipfile.BadZipFile("a checksum is wrong")
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged file can fail in any way
            raise UsageError(
                f"{path} is damaged or foreign, and was not loaded; train again with force, or "
                "restore the file"
            ) from error
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise UsageError(f"{path} is not a checkpoint of pyro-models")
        return state


def _plain(pair: Pair) -> dict[str, Any]:
    """The options that rebuild a pair, which a file must be able to hold.

    Raises
    ------
    UsageError
        If one is an object.
    """
    config = pair.config()
    for name, value in config.items():
        try:
            json.dumps(value)
        except TypeError:
            who, what = type(pair).__name__, type(value).__name__
            raise UsageError(
                f"{name} of this {who} is an object ({what}) that no run folder can hold: train "
                "without out, or write a class of pairs that makes it"
            ) from None
    return config
