"""The prior as guide: plain Monte Carlo, to see how it fails."""

from __future__ import annotations

from pyro import poutine

from inference.posterior.guides.encoder import OfPair
from inference.posterior.guides.family import Family
from inference.posterior.log_density import LogDensity

__all__ = ["PRIOR", "PriorGuide"]


class PriorGuide(OfPair):
    """q(z) = p(z) of a pair: nothing is fitted, and x reaches nothing.

    log (1/K) Σ_k p(x | z_k) is then the plain Monte-Carlo estimate of log p(x). Hardly a z of the
    prior explains a given image, so a handful of the K weights carry all of the sum.
    """

    def __init__(self, target: LogDensity) -> None:
        pair = target.pair
        hidden = [n for n, site in pair.latent_sites.items() if site.discrete]
        super().__init__(poutine.block(pair.model.forward, hide=["x", *hidden]))


PRIOR = Family(PriorGuide, fitted=False)
