"""The prior as guide: plain Monte Carlo, to see how it fails."""

from __future__ import annotations

from pyro import poutine
from torch import Tensor, nn

from inference.posterior.guides.family import Family
from inference.posterior.log_density import LogDensity
from pyro_models import Pair

__all__ = ["PRIOR", "PriorGuide"]


class PriorGuide(nn.Module):
    """q(z) = p(z): nothing is fitted, and x reaches nothing.

    log (1/K) Σ_k p(x | z_k) is then the plain Monte-Carlo estimate of log p(x). Hardly a z of the
    prior explains a given image, so a handful of the K weights carry all of the sum.

    Parameters
    ----------
    pair
        Whose prior it is.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        hidden = [n for n, site in pair.latent_sites.items() if site.discrete]
        # a function, not a submodule: the parameters are the pair's
        self._prior = poutine.block(pair.model.forward, hide=["x", *hidden])

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample every continuous site from its prior."""
        self._prior(x, y=y, n=n, mask=mask)


def _make(target: LogDensity) -> PriorGuide:
    return PriorGuide(target.pair)


PRIOR = Family(_make, fitted=False)
