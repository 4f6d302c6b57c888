"""How hyper-parameters are inferred, by name: one file each."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.laplace import laplace
from gp_bo.inference.nuts import nuts
from gp_bo.inference.point import map_estimate, maximum_likelihood
from gp_bo.inference.quadrature import quadrature
from gp_bo.inference.svi import svi
from gp_bo.model import GPModel
from pyro_models import UsageError

__all__ = ["INFERENCES", "HyperDraws", "infer_hyperparameters"]

INFERENCES: dict[str, Callable[..., HyperDraws]] = {
    "maximum_likelihood": maximum_likelihood,
    "map": map_estimate,
    "laplace": laplace,
    "svi": svi,
    "nuts": nuts,
    "quadrature": quadrature,
}


def infer_hyperparameters(gp: GPModel, inference: str, *, seed: int, **options: Any) -> HyperDraws:
    """p(θ | y), or a point in its place, by one of ``INFERENCES``.

    Raises
    ------
    UsageError
        If the name or an option is unknown.
    """
    if inference not in INFERENCES:
        raise UsageError(f"unknown inference {inference!r}: choose from {', '.join(INFERENCES)}")
    infer = INFERENCES[inference]
    known = [name for name in inspect.signature(infer).parameters if name not in ("gp", "seed")]
    unknown = [name for name in options if name not in known]
    if unknown:
        raise UsageError(
            f"inference {inference!r} has no option {', '.join(unknown)}; it has {', '.join(known)}"
        )
    return infer(gp, seed=seed, **options)
