"""A fitted Gaussian process read from the folder that it was saved in."""

from __future__ import annotations

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
from gp_bo.latent.fitted import LatentGP
from gp_bo.latent.model import LatentGPModel, gp_model
from gp_bo.likelihoods import make_likelihood
from gp_bo.prior_names import rebuild_prior
from gp_bo.saving import FORMAT, SETTINGS, STATISTIC, TENSORS, checksum, save_gp
from gp_bo.scaling import Scaling
from gp_bo.sparse import InducingPoints, SparseGP
from pyro_models import UsageError

__all__ = ["load_gp", "save_gp"]


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
    likelihood = make_likelihood(settings.get("likelihood", "gaussian"))
    model: dict[str, Any] = {"kernel": kernel, "mean": settings["mean"], "likelihood": likelihood}
    gp = gp_model(scaling, X, y, priors=priors, **model)
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
        return (LatentGP if isinstance(gp, LatentGPModel) else FittedGP)(*known)
    points = (tensors[name] for name in ("inducing", "weighted_mean", "precision"))
    return SparseGP(*known, inducing=InducingPoints(*points))
