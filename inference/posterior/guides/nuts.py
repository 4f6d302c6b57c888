"""The No-U-Turn sampler in place of a family: draws from the posterior itself."""

from __future__ import annotations

import torch
from torch import nn

from inference.posterior.guides.family import Family
from inference.posterior.guides.hmc import HMCGuide
from inference.posterior.log_density import LogDensity, condition
from inference.posterior.nuts import nuts

__all__ = ["NUTS_GUIDE"]


def _make(
    target: LogDensity,
    *,
    num_samples: int = 250,
    num_chains: int = 4,
    warmup: int = 300,
    max_depth: int = 8,
) -> nn.Module:
    """All images and chains at once, each image with its own step size."""
    draws = nuts(
        condition(target.pair, target.data),
        num_samples=num_samples,
        num_chains=num_chains,
        warmup=warmup,
        max_depth=max_depth,
        seed=int(torch.randint(2**31, ())),
    )
    return HMCGuide.of(draws)


NUTS_GUIDE = Family(_make, fitted=False, density=False)
