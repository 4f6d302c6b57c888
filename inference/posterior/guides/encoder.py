"""The pair's own guide as it was trained, and where it is to go on from; the prior as guide."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from inference.posterior.continuous import Moments
from inference.posterior.guides.family import Family
from inference.posterior.guides.normal import NormalGuide
from inference.posterior.log_density import LogDensity
from inference.sites import traced
from pyro_models import UsageError

__all__ = ["ENCODER", "PRIOR", "REFINED", "EncoderGuide", "OfPair", "PriorGuide", "encoder_moments"]

_DRAWS = 64


class OfPair(nn.Module):
    """A guide that is a function of a pair, and no submodule: the weights are the pair's."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor, **conditions: Any) -> None:
        """Sample the latents."""
        self._function(x, **conditions)


class EncoderGuide(OfPair):
    """q(z | x) of the pair's own guide: nothing is fitted.

    Under a mask it gets what the pair's guide gives it, zeros for unseen pixels in most pairs: a
    guide that was trained on whole images is then a wrong one.
    """

    def __init__(self, target: LogDensity) -> None:
        super().__init__(target.pair.guide.forward)


@torch.no_grad()
def encoder_moments(target: LogDensity) -> dict[str, Moments]:
    """Means and scales of the pair's own guide, by continuous site, each (B, \\*event_shape).

    Over 64 draws of whatever a site is conditioned on (another site, a label): exact where it is
    conditioned on nothing but x. A guide that leaves a continuous site out is refused.
    """
    trace = traced(target.pair.guide, target.data, _DRAWS)
    moments = {}
    for name in target.prior:
        if name not in trace.nodes:
            raise UsageError(
                f"the guide of {type(target.pair).__name__} does not sample {name!r}, so there is "
                "nothing to start from: choose the guide normal"
            )
        q = trace.nodes[name]["fn"]
        shape = (_DRAWS, *target.prior[name].mean.shape)
        mean, variance = q.mean.expand(shape), q.variance.expand(shape)
        total = variance.mean(0) + mean.var(0, unbiased=False)
        moments[name] = Moments(mean.mean(0), total.sqrt())
    return moments


def _make_refined(target: LogDensity) -> NormalGuide:
    """Start at the encoder's means and scales (semi-amortised; Kim et al. 2018)."""
    return NormalGuide(encoder_moments(target))


ENCODER = Family(EncoderGuide, fitted=False)
REFINED = Family(_make_refined)


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
