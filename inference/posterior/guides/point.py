"""The most probable latents alone (MAP): no density."""

from __future__ import annotations

from collections.abc import Mapping

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from inference.posterior.guides.family import Family
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity

__all__ = ["POINT", "PointGuide", "make_point"]


class PointGuide(PerDatumGuide):
    """All mass at one z_b for each datum, at argmax log p(x_seen, z_b) once it is fitted.

    A point has no density relative to that of the prior: its ELBO would be −∞, and none is given.

    Parameters
    ----------
    start
        z to begin with, by site, (B, \\*event_shape).
    """

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.loc = nn.ParameterDict({n: nn.Parameter(z.clone()) for n, z in start.items()})

    def sample(self, index: Tensor) -> None:
        """Every site is at its point; what x is does not matter."""
        for name, loc in self.loc.items():
            pyro.sample(name, dist.Delta(loc, event_dim=loc.dim() - 1))

    def means(self) -> dict[str, Tensor]:
        """The points, (B, \\*event_shape)."""
        return dict(self.loc.items())


def make_point(target: LogDensity) -> PointGuide:
    """A point where fits begin."""
    return PointGuide({name: m.mean for name, m in target.start.items()})


POINT = Family(make_point, density=False, objective="log_joint")
