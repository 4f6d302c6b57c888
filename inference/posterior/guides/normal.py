"""Independent Normals: a mean and a standard deviation for each datum and latent dimension."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from inference.posterior.continuous import Moments
from inference.posterior.guides.family import Family
from inference.posterior.guides.point import LocatedGuide
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError

__all__ = ["NORMAL", "NormalGuide", "check_scale", "start_of"]


class NormalGuide(LocatedGuide):
    r"""Independent Normals, every site on its own, from the μ and σ of ``start``.

    .. math:: q(z) = \prod_b \prod_d \N(z_{bd}; μ_{bd}, σ_{bd}^2)
    """

    def __init__(self, start: Mapping[str, Moments]) -> None:
        super().__init__(start)
        self.log_scale = nn.ParameterDict(
            {name: nn.Parameter(m.scale.log()) for name, m in start.items()}
        )

    def sample(self, index: Tensor) -> None:
        """Sample every site."""
        for name, loc in self.loc.items():
            q = dist.Normal(loc, self.log_scale[name].exp())
            pyro.sample(name, q.to_event(loc.dim() - 1))


def check_scale(scale: float) -> float:
    """A starting scale, as a share of the prior's, if it is positive."""
    if not 0 < scale < math.inf:
        raise UsageError(f"a guide starts at a positive scale; got {scale}")
    return scale


def start_of(target: LogDensity, scale: float) -> dict[str, Moments]:
    """Where fits begin, and the prior's scales times ``scale``."""
    share = check_scale(scale)
    return {name: Moments(m.mean, m.scale * share) for name, m in target.start.items()}


def _make(target: LogDensity, *, scale: float = 0.1) -> NormalGuide:
    """The prior's scales times ``scale``, around where fits begin."""
    return NormalGuide(start_of(target, scale))


NORMAL = Family(_make)
