"""The leapfrog integrator of Hamiltonian dynamics, for arrays and tensors alike."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["leapfrog"]


def leapfrog(
    evaluate: Callable[[Any], tuple[Any, Any]],
    q: Any,
    r: Any,
    gradient: Any,
    *,
    size: Any,
    num_steps: int = 1,
) -> tuple[Any, Any, Any, Any]:
    """Follow H(q, r) = −log π(q) + ½ rᵀ r for L steps of size ε (Neal 2011, section 2.3).

    r ← r + (ε/2) ∇log π(q), then L times q ← q + ε r and r ← r + ε ∇log π(q), the last of these
    with ε/2.

    Parameters
    ----------
    evaluate
        Positions to whatever is to be known there, and ∇log π.
    q, r, gradient
        Positions, momenta, and ∇log π at the positions, (\\*chains, D).
    size, num_steps
        ε, broadcast to the positions, whose sign is the direction in time; and L.

    Returns
    -------
    tuple
        Positions, momenta, what ``evaluate`` said of these positions, and ∇log π there.
    """
    known = None
    r = r + 0.5 * size * gradient
    for i in range(num_steps):
        q = q + size * r
        known, gradient = evaluate(q)
        r = r + (1.0 if i + 1 < num_steps else 0.5) * size * gradient
    return q, r, known, gradient
