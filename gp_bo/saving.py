"""A fitted Gaussian process written to a folder: JSON and safetensors, no pickled code."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import safetensors.torch as safe
from torch import Tensor

from gp_bo.likelihoods import LIKELIHOODS, Likelihood
from gp_bo.prior_names import describe_prior
from pyro_models import UsageError
from pyro_models.files import holding_folder, write_atomically

if TYPE_CHECKING:
    from gp_bo.fitted import FittedGP

__all__ = ["FORMAT", "SETTINGS", "STATISTIC", "TENSORS", "checksum", "save_gp"]

TENSORS = "gp.safetensors"
SETTINGS = "gp.json"
STATISTIC = "statistics."
FORMAT = 1


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
        "likelihood": _named(gp.likelihood),
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


def _named(likelihood: Likelihood) -> str:
    name = LIKELIHOODS.name_of(type(likelihood))
    if name is None:
        raise UsageError(
            f"the likelihood {type(likelihood).__name__} has no name to be found by again: give it "
            "one by gp_bo.likelihoods.LIKELIHOODS.register"
        )
    return name


def checksum(content: bytes) -> str:
    """By which settings know the tensors that belong to them."""
    return hashlib.sha256(content).hexdigest()
