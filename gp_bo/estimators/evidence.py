"""log p(y | X, θ) of a fitted Gaussian process, in the unit of its data."""

from __future__ import annotations

import torch

from gp_bo.fitted import FittedGP
from gp_bo.sparse import SparseGP

__all__ = ["log_evidence"]

_MAX_ELEMENTS = 2**22  # numbers in the covariances of one chunk


def log_evidence(fitted: FittedGP) -> float:
    """Σ_s w_s log p(y | X, θ_s), nats; of a sparse one its bound.

    >>> import torch
    >>> from gp_bo import fit_gp
    >>> X = torch.linspace(0, 1, 5, dtype=torch.float64)
    >>> fitted = fit_gp(X, X.sin(), inference="map", noise=1e-2)
    >>> log_evidence(fitted) > 0
    True
    """
    per_row = float(fitted.scaling.spread.log())
    if isinstance(fitted, SparseGP):
        return float(fitted.diagnostics["bound_per_row"][-1]) * len(fitted.y)
    at_once = max(1, _MAX_ELEMENTS // len(fitted.gp.y) ** 2)
    with torch.no_grad():
        values = [
            fitted.gp.evidence.value({n: v[rows] for n, v in fitted.scaled_hyperparameters.items()})
            for rows in torch.arange(fitted.num_draws, device=fitted.device).split(at_once)
        ]
    return float(fitted.weights @ torch.cat(values)) - len(fitted.gp.y) * per_row
