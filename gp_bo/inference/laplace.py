"""A Normal at the mode of the hyper-posterior, in unconstrained space."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.maximize import Maximum
from gp_bo.inference.point import modes
from gp_bo.model import GPModel, HyperPosterior
from pyro_models.counts import check_counts

__all__ = ["curvature", "laplace", "laplace_factor"]

_STEP = 1e-4
_WIDEST, _NARROWEST = 5.0, 1e-4  # standard deviations, in u


def laplace(gp: GPModel, *, seed: int = 0, num_draws: int = 256, restarts: int = 8) -> HyperDraws:
    """``num_draws`` of N(û, H⁻¹), û the mode of p(u | y), H = −∇² log p(û | y) (MacKay 1992)."""
    check_counts(num_draws=num_draws)
    found = modes(gp, seed=seed, restarts=restarts, jacobian=True)
    factor, clipped = laplace_factor(HyperPosterior(gp), found)
    generator = torch.Generator().manual_seed(seed)
    normal = torch.randn(num_draws, len(factor), generator=generator, dtype=torch.float64)
    message = (
        f"the density is no hill at its mode: some standard deviations were set to {_WIDEST:g}; "
        "prefer nuts"
    )
    return HyperDraws.equal(
        found.points[0] + normal.to(gp.device) @ factor.mT,
        messages=(message,) if clipped else (),
        details={"mode": found.points[0].tolist(), "log_evidence": log_evidence(found, factor)},
    )


def log_evidence(found: Maximum, factor: Tensor) -> float:
    """Laplace's approximation of log p(y), nats: log p(û, y) + (p/2) log 2π − ½ log |H|."""
    half_log_det = float(torch.linalg.slogdet(factor).logabsdet) if len(factor) else 0.0
    return float(found.values[0]) + 0.5 * len(factor) * math.log(2 * math.pi) + half_log_det


def curvature(density: HyperPosterior, u: Tensor) -> Tensor:
    """−∇² log p at one point (p,), by central differences of the gradient, all at once: (p, p)."""
    size = len(u)
    steps = _STEP * torch.eye(size, dtype=u.dtype, device=u.device)
    _, gradient = density(torch.cat([u + steps, u - steps]))
    H = (gradient[size:] - gradient[:size]) / (2 * _STEP)
    return 0.5 * (H + H.mT)


def laplace_factor(density: HyperPosterior, found: Maximum) -> tuple[Tensor, bool]:
    """A square root R of H⁻¹ = R Rᵀ, (p, p), and whether a deviation had to be held back.

    Along eigenvectors where the density does not fall, or hardly does, the standard deviation is
    set to 5, e⁵ either way for a positive hyper-parameter.
    """
    if not density.size:
        return density.gp.y.new_zeros(0, 0), False
    values, vectors = torch.linalg.eigh(curvature(density, found.points[0]))
    deviation = values.clamp_min(1e-300).rsqrt()
    held = (values <= 0) | (deviation > _WIDEST)
    deviation = torch.where(held, _WIDEST, deviation).clamp(_NARROWEST, _WIDEST)
    return vectors * deviation, bool(held.any())
