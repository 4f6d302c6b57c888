"""Thompson sampling: one function drawn from the posterior, and where it is least."""

from __future__ import annotations

import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["MOST", "ThompsonSampling", "joint_draw"]

MOST = 4000
"""Points of one joint draw: their covariance and its factor take M² numbers each."""


def joint_draw(mean: Tensor, covariance: Tensor, *, generator: torch.Generator) -> Tensor:
    """One draw (M,) from N(mean, covariance): all M values together, never one by one.

    The generator is the CPU's: a seed gives the same numbers on every device. A covariance that
    rounding left singular is helped by a growing share of its scale on the diagonal, 1e-10 of the
    mean variance and up; one that 1e-4 does not mend is a ``UsageError``.
    """
    scale = covariance.diagonal().mean().clamp_min(1e-300)
    eye = torch.eye(len(mean), dtype=covariance.dtype, device=mean.device)
    normal = torch.randn(len(mean), generator=generator, dtype=covariance.dtype).to(mean.device)
    factor, failed = cholesky(covariance + 1e-10 * scale * eye, jitters=(1e-8, 1e-6, 1e-4))
    if failed is not None:
        raise UsageError("the covariance of the candidates is not positive semi-definite")
    return mean + factor @ normal


class ThompsonSampling:
    """θ from its posterior, f* from the GP's joint posterior at candidates under this θ, argmin f*.

    A batch takes a new θ and a new f* for each point (Thompson 1933; Hernández-Lobato et al. 2017).

    Parameters
    ----------
    candidates
        M, number of Sobol candidates in a space that is not a small finite set; half as many lie
        around the best evaluations. Of more than 4,000 points, a large set of candidates, say, so
        many are drawn at random, anew each time.
    """

    def __init__(self, *, candidates: int = 1000) -> None:
        check_counts(candidates=candidates)
        self.candidates = candidates

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """The candidate where the draw is least, (D,)."""
        generator = torch.Generator().manual_seed(seed)
        points = region.candidates(self.candidates, seed=seed, most=MOST)
        draw = int(torch.randint(surrogate.draws, (), generator=generator))
        mean, covariance = surrogate.joint(points, draw)
        return points[joint_draw(mean, covariance, generator=generator).argmin()]
