"""A fitted Gaussian process in a folder: JSON and safetensors, no pickled code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors.torch as safe
import torch
from torch import Tensor

from gp_bo.device import gp_device
from gp_bo.inference.draws import HyperDraws
from gp_bo.kernels import kernel_from_config
from gp_bo.model import GPModel
from gp_bo.prior_files import describe_prior, rebuild_prior
from gp_bo.scaling import Scaling
from pyro_models import UsageError
from pyro_models.files import holding_folder, write_atomically

if TYPE_CHECKING:
    from gp_bo.fitted import FittedGP

__all__ = ["load_gp", "save_gp"]

_TENSORS = "gp.safetensors"
_SETTINGS = "gp.json"
_STATISTIC = "statistics."
_FORMAT = 1


def save_gp(fitted: FittedGP, folder: Path) -> None:
    """Write ``gp.json`` and ``gp.safetensors``: data, scaling, priors, draws, diagnostics.

    Each file is written beside its place and moved there, the settings last: a folder with settings
    is whole. Both carry one number, so that files of two saves are not read together.

    Raises
    ------
    UsageError
        If a prior cannot be written as a name and numbers.
    """
    draws, scaling, gp = fitted.draws, fitted.scaling, fitted.gp
    tensors = {
        "X": fitted.X,
        "y": fitted.y,
        "unconstrained": draws.unconstrained,
        "weights": draws.weights,
        "lower": scaling.lower,
        "width": scaling.width,
        "shift": scaling.shift,
        "spread": scaling.spread,
    }
    tensors |= {f"{_STATISTIC}{name}": value for name, value in draws.statistics.items()}
    inducing = getattr(fitted, "inducing", None)
    if inducing is not None:
        tensors["inducing"] = inducing.Z
        tensors["weighted_mean"] = inducing.weighted_mean
        tensors["precision"] = inducing.precision
    priors = {s.parameter.name: describe_prior(s.prior) for s in gp.hyperparameters.sites}
    fixed = {name: value.tolist() for name, value in gp.hyperparameters.fixed.items()}
    content = safe.save({name: value.cpu().contiguous() for name, value in tensors.items()})
    settings = {
        "format": _FORMAT,
        "bytes": _checksum(content),
        "kernel": gp.kernel.config(),
        "mean": gp.mean,
        "priors": priors,
        "fixed": fixed,
        "given": [name for name in fitted.priors if name in priors or name in fixed],
        "inference": fitted.inference,
        "seed": fitted.seed,
        "num_chains": draws.num_chains,
        "messages": list(draws.messages),
        "details": _plain(draws.details),
    }
    written = json.dumps(settings, indent=1, allow_nan=True)
    with holding_folder(folder):  # no two saves are mixed
        write_atomically(folder / _TENSORS, content)
        write_atomically(folder / _SETTINGS, written)


def load_gp(folder: str | Path, *, device: str | torch.device = "cpu") -> FittedGP:
    """The Gaussian process that :meth:`gp_bo.FittedGP.save` wrote; it predicts the same numbers.

    Parameters
    ----------
    folder
        Where it was saved.
    device
        Where it is to predict, whatever device it was fitted on.

    Raises
    ------
    UsageError
        If the folder holds none, its two files are of different saves, or this machine has no such
        device.
    """
    folder, place = Path(folder), gp_device(device)
    try:
        settings = json.loads((folder / _SETTINGS).read_text(encoding="utf-8"))
        content = (folder / _TENSORS).read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"no Gaussian process in {folder}: {_SETTINGS} is not there") from error
    if not isinstance(settings, dict) or settings.get("format") != _FORMAT:
        raise UsageError(f"{folder}: {_SETTINGS} holds no Gaussian process of ours; fit again")
    if settings.get("bytes") != _checksum(content):
        raise UsageError(f"{folder}: {_SETTINGS} and {_TENSORS} do not belong together; fit again")
    try:
        tensors = {name: value.to(place) for name, value in safe.load(content).items()}
        return _rebuilt(settings, tensors)
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        what = " ".join(str(error).split())
        raise UsageError(
            f"{folder}: {_SETTINGS} was changed by hand and cannot be read ({what}); fit again"
        ) from error


def _rebuilt(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FittedGP:
    from gp_bo.fitted import FittedGP
    from gp_bo.inducing import InducingPoints
    from gp_bo.sparse import SparseGP

    priors: dict[str, Any] = {name: rebuild_prior(d) for name, d in settings["priors"].items()}
    fixed = {n: torch.tensor(v, dtype=torch.float64) for n, v in settings["fixed"].items()}
    X, y = tensors["X"], tensors["y"]
    scaling = Scaling(*(tensors[name] for name in ("lower", "width", "shift", "spread")))
    gp = GPModel(
        *scaling.data(X, y),
        kernel=kernel_from_config(settings["kernel"]),
        mean=settings["mean"],
        priors={**priors, **fixed},
    )
    draws = HyperDraws(
        tensors["unconstrained"],
        tensors["weights"],
        settings["num_chains"],
        tuple(settings["messages"]),
        settings["details"],
        {n.removeprefix(_STATISTIC): v for n, v in tensors.items() if n.startswith(_STATISTIC)},
    )
    given = {name: {**priors, **fixed}[name] for name in settings.get("given", ())}
    known = (gp, scaling, draws, X, y, settings["inference"], settings["seed"], given)
    if "inducing" not in tensors:
        return FittedGP(*known)
    points = (tensors[name] for name in ("inducing", "weighted_mean", "precision"))
    return SparseGP(*known, inducing=InducingPoints(*points))


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _plain(value: Any) -> Any:
    """Tensors and tuples as lists, so that JSON can hold them."""
    if isinstance(value, Mapping):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, Tensor):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
