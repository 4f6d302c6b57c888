"""The No-U-Turn sampler over z, for many data and chains at once, each datum with its step."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.cuda_graph import Launched, launcher_of
from inference.declared import replaced, takes
from inference.mcmc.nuts_tree import State, transition
from inference.posterior.chains import Draws, LatentChains, Moved, Sampling, draw
from inference.posterior.log_density import LogDensity
from pyro_models.seeds import stream

__all__ = ["nuts"]


@takes(Sampling)
def nuts(target: LogDensity, *, max_depth: int = 8, **options: Any) -> Draws:
    """Draw from the posterior of every datum by multinomial NUTS.

    A trajectory is doubled until it turns back, and one of its points is taken (Hoffman & Gelman
    2014; Betancourt 2017). All chains of all data go in step, so that one evaluation serves them
    all. In the warm-up each datum's ε is led to the target acceptance by dual averaging over its
    chains, and its scale is estimated from the second quarter; afterwards both are fixed.

    Parameters
    ----------
    target
        From :func:`inference.posterior.log_density.condition`.
    max_depth
        Doublings of a trajectory at most.
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
    >>> draws = nuts(condition(ppca, x[:3]), num_samples=100, warmup=100)
    >>> bool(draws.r_hat.max() < 1.1)
    True
    """
    sampling = replaced(Sampling(), options, who="nuts")

    def make(index: slice, some: LogDensity) -> LatentChains:
        random = np.random.default_rng(stream(sampling.seed, f"nuts {index.start}"))
        return _NUTSChains(some, some.sample_start(sampling.num_chains), random, max_depth)

    return draw(target, make, sampling, name="nuts", max_depth=max_depth)


class _NUTSChains(LatentChains):
    """Chains of some data; positions are z / scale, all chains of all data in one array."""

    def __init__(
        self, target: LogDensity, z: Tensor, random: np.random.Generator, max_depth: int
    ) -> None:
        self.target, self.random, self.max_depth = target, random, max_depth
        self.like, self.shape = z, tuple(z.shape)  # (C, B, D)
        self.scale = torch.ones_like(z[0])
        self.step = torch.full_like(z[0, :, 0], 0.1)
        self.launched = Launched(self._at, launcher_of(z.device), what="gradients")
        self.rescaled(z)

    def rescaled(self, z: Tensor) -> None:
        """Stand at z, (C, B, D), in units of the scale as it is."""
        self.places = _flat(z / self.scale)
        everyone = np.arange(len(self.places))
        self.state = State(self.places.copy(), *self._density(self.places, everyone))

    def _density(self, q: np.ndarray, chains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(x_seen, z) of some chains; the others are computed beside them, for one shape."""
        self.places[chains] = q
        value, gradient = self.launched(self._z(self.places), self.scale)
        return _flat(value.unsqueeze(-1))[chains, 0], _flat(gradient)[chains]

    def _at(self, z: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        at = self.target.at(z)
        return at.joint, at.joint_gradient * scale

    def _z(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(places).to(self.like).reshape(self.shape) * self.scale

    def _of_chains(self, values: np.ndarray) -> Tensor:
        """One number for each chain, (C, B)."""
        return torch.from_numpy(values).to(self.like).reshape(self.shape[:2])

    def move(self, step: Tensor) -> Moved:
        """One tree of each chain."""
        steps = step.double().cpu().expand(self.shape[:2]).reshape(-1).numpy()
        done = transition(self._density, self.state, steps, self.random, max_depth=self.max_depth)
        self.state = done.state
        diverged = self._of_chains(done.diverged.astype(float)) > 0
        return Moved(self._z(done.state.q), self._of_chains(done.acceptance), diverged)


def _flat(values: Tensor) -> np.ndarray:
    """(C, B, D) as an array (C · B, D) in float64; where a density is not defined it is −∞."""
    array: np.ndarray = values.detach().double().flatten(0, 1).cpu().numpy()
    return np.nan_to_num(array, nan=-math.inf, posinf=math.inf, neginf=-math.inf)
