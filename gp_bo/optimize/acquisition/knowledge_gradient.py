"""Knowledge gradient: by how much the least posterior mean will fall when z is evaluated."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gp_bo.optimize.acquisition.multistart import maximize_by_multistart
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models.counts import check_counts

__all__ = ["KnowledgeGradient"]


class KnowledgeGradient:
    r"""How much lower the least mean will get, the a_i a finite set that includes z.

    .. math:: \E_θ\Big[\min_i m_θ(a_i) − \E \min_i m'_θ(a_i)\Big], \quad
       m'(a) = m(a) + \frac{k(a, z | D)}{\sqrt{v(z) + σ^2}} Z, \quad Z ∼ \N(0, 1)

    After y at z the mean m' at a is a line in Z; the expectation of the least of the lines is taken
    by Gauss–Hermite quadrature (Scott, Frazier and Powell 2011, on a set of points fixed during the
    search).

    Parameters
    ----------
    points
        Candidates in the set, beside the data and z itself; of a finite set, drawn at random.
    nodes
        Number of nodes of the quadrature.
    """

    def __init__(self, *, points: int = 64, nodes: int = 32) -> None:
        check_counts(least=0, points=points)
        check_counts(least=2, nodes=nodes)
        self.points, self.nodes = points, nodes

    def value(self, surrogate: Surrogate, z: Tensor, *, among: Tensor) -> Tensor:
        """(M, D) → (M,), in standard deviations of y; ``among`` (A, D) is the finite set."""
        nodes = np.polynomial.hermite_e.hermegauss(self.nodes)
        at, weights = (torch.as_tensor(v).to(surrogate.device) for v in nodes)
        weights = weights / weights.sum()
        mean_z, variance = surrogate.moments(z)
        mean_a, _ = surrogate.moments(among)
        spread = (variance + surrogate.noise[:, None]).sqrt()
        slopes = surrogate.cross_covariance(among, z) / spread[:, None]
        intercept = torch.cat([mean_a[..., None].expand_as(slopes), mean_z[:, None]], 1)
        slopes = torch.cat([slopes, (variance / spread)[:, None]], 1)
        # one node at a time: (S, A + 1, M) numbers at once
        pairs = zip(at, weights, strict=True)
        least = sum(w * (intercept + slopes * node).amin(1) for node, w in pairs)
        return (intercept.amin(1) - least).mean(0)

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """The point of the region that promises the lowest mean, (D,)."""
        among = surrogate.x
        if self.points:
            most = None if region.allowed is None else self.points
            extra = region.candidates(self.points, seed=seed, most=most)[: self.points]
            among = torch.cat([among, extra.to(among)])
        return maximize_by_multistart(
            lambda z: self.value(surrogate, z, among=among), region, seed=seed, raw=128, starts=4
        )
