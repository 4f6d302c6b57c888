"""Pyro's No-U-Turn sampler, one image after the other: a check for a few images."""

from __future__ import annotations

import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor, nn

from inference.posterior.given import Given
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.family import Family
from pyro_models import UsageError

__all__ = ["NUTS_GUIDE"]

_MOST = 16


def _make(given: Given, *, num_samples: int = 200, warmup: int = 200) -> nn.Module:
    """One chain for each image: Pyro's sampler has one step size for all that it samples.

    Raises
    ------
    UsageError
        If there are more than 16 images, or a number is out of range.
    """
    if len(given) > _MOST:
        raise UsageError(
            f"the guide nuts takes images one after the other, at most {_MOST}; got {len(given)}: "
            "choose the guide hmc, which takes them all at once"
        )
    if num_samples < 1 or warmup < 1:
        raise UsageError(
            f"num_samples and warmup must be at least 1; got {num_samples} and {warmup}"
        )
    draws: dict[str, list[Tensor]] = {name: [] for name in given.prior}
    for i in range(len(given)):
        one = given.select(slice(i, i + 1))
        with torch.enable_grad():
            chain = MCMC(
                NUTS(given.pair.model, max_plate_nesting=1),
                num_samples=num_samples,
                warmup_steps=warmup,
                disable_progbar=True,
            )
            chain.run(one.x, **one.conditions)
        for name, values in chain.get_samples().items():
            draws[name].append(values)
    return DrawsGuide({name: torch.cat(values, 1) for name, values in draws.items()})


NUTS_GUIDE = Family(_make, fitted=False, density=False)
