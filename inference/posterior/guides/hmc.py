"""Hamiltonian Monte Carlo in place of a family: draws from the posterior itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.family import Family
from inference.posterior.hmc import Draws, hmc
from inference.posterior.log_density import LogDensity, condition

__all__ = ["HMC", "HMCGuide"]


class HMCGuide(DrawsGuide):
    """Draws of Hamiltonian Monte Carlo, and how it went.

    Attributes
    ----------
    r_hat
        The largest R̂ of an image's latents, (B,): near 1 where its chains agree.
    acceptance
        Mean acceptance probability, (B,).
    """

    r_hat: Tensor
    acceptance: Tensor

    def __init__(
        self, draws: dict[str, Tensor], *, r_hat: Tensor, acceptance: Tensor, **chains: Any
    ) -> None:
        super().__init__(draws, **chains)
        self.register_buffer("r_hat", r_hat)
        self.register_buffer("acceptance", acceptance)
        self.per_datum = (*self.per_datum, "r_hat", "acceptance")

    @classmethod
    def of(cls, draws: Draws) -> HMCGuide:
        """The guide of some chains' draws."""
        return cls(
            draws.latents,
            r_hat=draws.r_hat.amax(-1),
            acceptance=draws.acceptance,
            num_chains=draws.z.shape[1],
            stats={name: values.flatten(0, 1) for name, values in draws.stats.items()},
        )


def _make(
    target: LogDensity,
    *,
    num_samples: int = 250,
    num_chains: int = 4,
    warmup: int = 300,
    num_leapfrog: int = 10,
) -> nn.Module:
    """All images and chains at once, each image with its own step size."""
    density = condition(target.pair, target.data)
    options: dict[str, Any] = {"seed": int(torch.randint(2**31, ()))}
    draws = hmc(
        density,
        num_samples=num_samples,
        num_chains=num_chains,
        warmup=warmup,
        num_leapfrog=num_leapfrog,
        **options,
    )
    return HMCGuide.of(draws)


HMC = Family(_make, fitted=False, density=False)
