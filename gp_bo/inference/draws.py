"""What every way of inferring hyper-parameters returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from pyro_models.brief import Brief

__all__ = ["HyperDraws"]


@dataclass(frozen=True, eq=False)
class HyperDraws(Brief):
    """Weighted points θ_s that stand for p(θ | y), or one point.

    Attributes
    ----------
    unconstrained
        u_s, (S, p); draws of several chains one chain after the other.
    weights
        (S,), summing to 1; equal for draws, the masses of its cells for a quadrature.
    num_chains
        Number of Markov chains; 0 where the draws are of none.
    messages
        What a reader of the results must know: a chain that has not converged, say.
    details
        Numbers of the method by name, for :attr:`gp_bo.fitted.FittedGP.diagnostics`.
    statistics
        What Markov chains say of each draw, by ArviZ's name, (S,); ``lp`` is
        log p(y | θ) p(θ) |dθ/du| in scaled units, up to the evidence the log density of u.
    """

    unconstrained: Tensor
    weights: Tensor
    num_chains: int = 0
    messages: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)
    statistics: Mapping[str, Tensor] = field(default_factory=dict)

    @classmethod
    def equal(cls, u: Tensor, **known: Any) -> HyperDraws:
        """Draws of equal weight."""
        return cls(u, u.new_full((len(u),), 1 / len(u)), **known)
