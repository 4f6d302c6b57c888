"""Markov chains in place of a family, of HMC and NUTS: draws from the posterior itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.family import Family
from inference.posterior.hmc import Draws, hmc
from inference.posterior.log_density import LogDensity, condition
from inference.posterior.nuts import nuts

__all__ = ["HMC", "NUTS_GUIDE"]


def _drawn(sampler: Callable[..., Draws], target: LogDensity, **counts: Any) -> DrawsGuide:
    """All images and chains at once, each image with its own step size."""
    start = _start(target)
    density = condition(target.pair, target.data, guide=start)
    draws = sampler(density, seed=int(torch.randint(2**31, ())), **counts)
    return DrawsGuide(
        draws.latents,
        r_hat=draws.r_hat.amax(-1),
        acceptance=draws.acceptance,
        num_chains=draws.z.shape[1],
        stats={name: values.flatten(0, 1) for name, values in draws.stats.items()},
    )


def _start(target: LogDensity) -> nn.Module | None:
    """Where a pair that knows better than its prior lets chains start."""
    found: nn.Module | None = getattr(target.pair, "chain_start", None)
    return found


def _make_hmc(
    target: LogDensity,
    *,
    num_samples: int = 250,
    num_chains: int = 4,
    warmup: int = 300,
    num_leapfrog: int = 10,
) -> DrawsGuide:
    counts = {"num_samples": num_samples, "num_chains": num_chains, "warmup": warmup}
    return _drawn(hmc, target, num_leapfrog=num_leapfrog, **counts)


def _make_nuts(
    target: LogDensity,
    *,
    num_samples: int = 250,
    num_chains: int = 4,
    warmup: int = 300,
    max_depth: int = 8,
) -> DrawsGuide:
    counts = {"num_samples": num_samples, "num_chains": num_chains, "warmup": warmup}
    metric = getattr(_start(target), "metric", None)
    return _drawn(nuts, target, max_depth=max_depth, metric=metric, **counts)


HMC = Family(_make_hmc, fitted=False, density=False)
NUTS_GUIDE = Family(_make_nuts, fitted=False, density=False)
