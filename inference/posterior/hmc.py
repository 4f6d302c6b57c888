"""Hamiltonian Monte Carlo over z, for many data and chains at once, each datum with its step."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from inference.cuda_graph import Launched, launcher_of
from inference.declared import replaced, takes
from inference.mcmc.hmc import At, transition
from inference.posterior.chains import Draws, LatentChains, Moved, Sampling, draw
from inference.posterior.log_density import LogDensity
from pyro_models.device import placed
from pyro_models.moved import renamed_arguments

__all__ = ["Draws", "hmc"]


@renamed_arguments(start="initial_state")
@takes(Sampling)
def hmc(
    target: LogDensity,
    *,
    num_samples: int = 500,
    num_leapfrog: int = 10,
    target_acceptance: float = 0.75,
    scale: Tensor | None = None,
    initial_state: Tensor | None = None,
    **options: Any,
) -> Draws:
    """Draw from the posterior of every datum.

    In the warm-up each datum's ε is led to the target acceptance by dual averaging, over all its
    chains; afterwards it is fixed, but for a factor between 0.8 and 1.2 drawn anew each time,
    without which a chain may turn in circles. Where ``scale`` is not given, it is estimated from
    the second quarter of the warm-up.

    Parameters
    ----------
    target
        From :func:`inference.posterior.log_density.condition`.
    num_samples
        S draws of each chain are kept.
    num_leapfrog
        L leapfrog steps make one transition.
    target_acceptance
        Between 0 and 1; 0.65 to 0.8 is best.
    scale
        Rough posterior standard deviations, (B, D), such as those of a guide.
    initial_state
        Where the chains start, (C, B, D); from the guide of the target, or the prior, unless given.
    options

    Raises
    ------
    UsageError
        If a number is out of range.

    Examples
    --------
    >>> from inference.posterior.log_density import condition
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)
    >>> draws = hmc(condition(ppca, x[:3]), num_samples=100, num_chains=8, warmup=100)
    >>> exact = ppca.exact_posterior(x[:3]).mean
    >>> bool(((draws.mean - exact).abs() < 5 * draws.mean_error).all())
    True
    """
    own = Sampling(num_samples=num_samples, target_acceptance=target_acceptance)
    sampling = replaced(own, options, who="hmc")
    start, scale = placed(initial_state, target.x), placed(scale, target.x)

    def make(index: slice, some: LogDensity) -> LatentChains:
        z = some.sample_start(sampling.num_chains) if start is None else start[:, index]
        return _HMCChains(some, z, num_leapfrog, None if scale is None else scale[index])

    return draw(target, make, sampling, name="hmc", num_leapfrog=num_leapfrog)


class _HMCChains(LatentChains):
    """Chains of L leapfrog steps, positions in units of z."""

    def __init__(
        self, target: LogDensity, z: Tensor, num_leapfrog: int, scale: Tensor | None
    ) -> None:
        self.target, self.z, self.at = target, z.clone(), target.at(z)
        self.num_leapfrog = num_leapfrog
        self.learns_scale = scale is None
        self.scale = torch.ones_like(z[0]) if scale is None else scale
        self.step = torch.full_like(z[0, :, 0], 0.1 if scale is None else 0.5)
        self.launched = Launched(self._moved, launcher_of(z.device), what="transitions")

    def move(self, step: Tensor) -> Moved:
        """One transition of each chain, its ε times a number between 0.8 and 1.2."""
        given = step, self.scale, self.z, *vars(self.at).values()
        acceptance, diverged, self.z, *at = self.launched(*given)
        self.at = At(*at)
        return Moved(self.z, acceptance, diverged)

    def _moved(self, step: Tensor, scale: Tensor, z: Tensor, *at: Tensor) -> tuple[Tensor, ...]:
        jitter = 0.8 + 0.4 * torch.rand_like(at[0])
        moved = transition(
            self.target,
            z,
            At(*at),
            step=step * jitter,
            num_leapfrog=self.num_leapfrog,
            scale=scale,
        )
        return moved.acceptance, moved.diverged, moved.z, *vars(moved.at).values()
