"""A fitted Gaussian process written to a folder and read again: no pickled code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch as safe
import torch
from torch import Tensor

from gp_bo.arrays import gp_device
from gp_bo.fitted import FittedGP
from gp_bo.inference.draws import HyperDraws
from gp_bo.kernels import kernel_from_config
from gp_bo.model import GPModel
from gp_bo.prior_files import describe_prior, rebuild_prior
from gp_bo.scaling import Scaling
from gp_bo.sparse import InducingPoints, SparseGP
from pyro_models import UsageError
from pyro_models.files import holding_folder, write_atomically

__all__ = ["load_gp", "save_gp"]

TENSORS = "gp.safetensors"
SETTINGS = "gp.json"
STATISTIC = "statistics."
FORMAT = 1


def load_gp(folder: str | Path, *, device: str | torch.device = "cpu") -> FittedGP:
    """The Gaussian process that :meth:`gp_bo.FittedGP.save` wrote; it predicts the same numbers.

    It does so on ``device``, whatever device it was fitted on.

    Raises
    ------
    UsageError
        If the folder holds none, its two files are of different saves, or this machine has no such
        device.
    """
    folder, place = Path(folder), gp_device(device)
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        content = (folder / TENSORS).read_bytes()
    except (OSError, ValueError) as error:
        raise UsageError(f"no Gaussian process in {folder}: {SETTINGS} is not there") from error
    if not isinstance(settings, dict) or settings.get("format") != FORMAT:
        raise UsageError(f"{folder}: {SETTINGS} holds no Gaussian process of ours; fit again")
    if settings.get("bytes") != checksum(content):
        raise UsageError(f"{folder}: {SETTINGS} and {TENSORS} do not belong together; fit again")
    try:
        tensors = {name: value.to(place) for name, value in safe.load(content).items()}
        return _rebuilt(settings, tensors)
    except UsageError as error:
        raise UsageError(f"{folder}: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        what = f"was changed by hand and cannot be read ({' '.join(str(error).split())})"
        raise UsageError(f"{folder}: {SETTINGS} {what}; fit again") from error


def _rebuilt(settings: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> FittedGP:
    priors: dict[str, Any] = {name: rebuild_prior(d) for name, d in settings["priors"].items()}
    fixed = settings["fixed"].items()
    priors |= {name: torch.tensor(value, dtype=torch.float64) for name, value in fixed}
    X, y = tensors["X"], tensors["y"]
    scaling = Scaling(*(tensors[name] for name in ("lower", "width", "shift", "spread")))
    kernel = kernel_from_config(settings["kernel"])
    gp = GPModel(*scaling.data(X, y), kernel=kernel, mean=settings["mean"], priors=priors)
    draws = HyperDraws(
        tensors["unconstrained"],
        tensors["weights"],
        settings["num_chains"],
        tuple(settings["messages"]),
        settings["details"],
        {n.removeprefix(STATISTIC): v for n, v in tensors.items() if n.startswith(STATISTIC)},
    )
    given = {name: priors[name] for name in settings.get("given", ())}
    known = (gp, scaling, draws, X, y, settings["inference"], settings["seed"], given)
    if "inducing" not in tensors:
        return FittedGP(*known)
    points = (tensors[name] for name in ("inducing", "weighted_mean", "precision"))
    return SparseGP(*known, inducing=InducingPoints(*points))


def save_gp(fitted: FittedGP, folder: Path) -> None:
    """Write ``gp.json`` and ``gp.safetensors``: data, scaling, priors, draws, diagnostics.

    Each file is written beside its place and moved there, the settings last: a folder with settings
    is whole. Both carry one number, so that files of two saves are not read together. A prior that
    cannot be written as a name and numbers is a ``UsageError``.
    """
    draws, gp = fitted.draws, fitted.gp
    tensors = {"X": fitted.X, "y": fitted.y, **vars(fitted.scaling)}
    tensors |= {"unconstrained": draws.unconstrained, "weights": draws.weights}
    tensors |= {f"{STATISTIC}{name}": value for name, value in draws.statistics.items()}
    inducing = getattr(fitted, "inducing", None)
    if inducing is not None:
        held = dict(vars(inducing))
        tensors |= {"inducing": held.pop("Z"), **held}
    priors = {s.parameter.name: describe_prior(s.prior) for s in gp.hyperparameters.sites}
    fixed = {name: value.tolist() for name, value in gp.hyperparameters.fixed.items()}
    content = safe.save({name: value.cpu().contiguous() for name, value in tensors.items()})
    settings = {
        "format": FORMAT,
        "bytes": checksum(content),
        "kernel": gp.kernel.config(),
        "mean": gp.mean,
        "priors": priors,
        "fixed": fixed,
        "given": [name for name in fitted.priors if name in priors or name in fixed],
        "inference": fitted.inference,
        "seed": fitted.seed,
        "num_chains": draws.num_chains,
        "messages": list(draws.messages),
        "details": draws.details,
    }
    written = json.dumps(settings, indent=1, allow_nan=True, default=Tensor.tolist)
    with holding_folder(folder):  # no two saves are mixed
        write_atomically(folder / TENSORS, content)
        write_atomically(folder / SETTINGS, written)


def checksum(content: bytes) -> str:
    """By which settings know the tensors that belong to them."""
    return hashlib.sha256(content).hexdigest()
