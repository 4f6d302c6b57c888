"""The most probable latents alone (MAP): no density."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from inference.posterior.continuous import Moments
from inference.posterior.guides.family import Family
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity

__all__ = ["POINT", "LocatedGuide", "PointGuide"]


class LocatedGuide(PerDatumGuide):
    """A guide with a location for each datum and site, from where fits begin, by site."""

    def __init__(self, start: Mapping[str, Moments]) -> None:
        super().__init__()
        self.loc = nn.ParameterDict({n: nn.Parameter(m.mean.clone()) for n, m in start.items()})

    def means(self) -> dict[str, Tensor]:
        """E[z] of every site, (B, \\*event_shape)."""
        return dict(self.loc.items())


class PointGuide(LocatedGuide):
    """All mass at one z_b for each datum, at argmax log p(x_seen, z_b) once it is fitted.

    A point has no density relative to that of the prior: its ELBO would be −∞, and none is given.
    """

    def __init__(self, target: LogDensity) -> None:
        super().__init__(target.start)

    def sample(self, index: Tensor) -> None:
        """Every site is at its point."""
        for name, loc in self.loc.items():
            pyro.sample(name, dist.Delta(loc, event_dim=loc.dim() - 1))


POINT = Family(PointGuide, density=False, objective="log_joint")
