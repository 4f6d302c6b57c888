"""The No-U-Turn sampler over z, for many data and chains at once, each datum with its step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.cuda_graph import Launched, launcher_of
from inference.declared import replaced, takes
from inference.mcmc.nuts_tree import State, transition
from inference.posterior.chains import Draws, LatentChains, Moved, Sampling, draw
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError
from pyro_models.seeds import stream

__all__ = ["nuts"]

_CANDIDATES = 4  # for each start of a chain


@takes(Sampling)
def nuts(
    target: LogDensity, *, max_depth: int = 8, metric: Tensor | None = None, **options: Any
) -> Draws:
    """Draw from the posterior of every datum by multinomial NUTS.

    A trajectory is doubled until it turns back, and one of its points is taken (Hoffman & Gelman
    2014; Betancourt 2017). All chains of all data go in step, so that one evaluation serves them
    all. In the warm-up each datum's ε is led to the target acceptance by dual averaging over its
    chains, and its scale is estimated from the second quarter; afterwards both are fixed. Where a
    ``metric`` is given, the covariance is learned instead, anew in each of two windows.

    Parameters
    ----------
    target
        From :func:`inference.posterior.log_density.condition`.
    max_depth
        Doublings of a trajectory at most.
    metric
        R, (B, D, D), lower triangular, with R Rᵀ about the posterior's covariance: the first
        inverse mass matrix, for latents that are correlated.
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
    wanted = (len(target), target.dim, target.dim)
    if metric is not None and tuple(metric.shape) != wanted:
        raise UsageError(f"metric is of the shape {wanted}; got {tuple(metric.shape)}")

    def make(index: slice, some: LogDensity) -> LatentChains:
        random = np.random.default_rng(stream(sampling.seed, f"nuts {index.start}"))
        if metric is None:
            z = some.sample_start(sampling.num_chains)
            return _NUTSChains(some, z, random, max_depth)
        z = _likely(some, sampling.num_chains)
        return _DenseChains(some, z, random, max_depth, metric[index].to(z))

    return draw(target, make, sampling, name="nuts", max_depth=max_depth)


class _NUTSChains(LatentChains):
    """Chains of some data; positions are z / scale, all chains of all data in one array."""

    def __init__(
        self,
        target: LogDensity,
        z: Tensor,
        random: np.random.Generator,
        max_depth: int,
        scale: Tensor | None = None,
    ) -> None:
        self.target, self.random, self.max_depth = target, random, max_depth
        self.like, self.shape = z, tuple(z.shape)  # (C, B, D)
        self.scale = torch.ones_like(z[0]) if scale is None else scale
        self.step = torch.full_like(z[0, :, 0], 0.1)
        self.launched = Launched(self._at, launcher_of(z.device), what="gradients")
        self.rescaled(z)

    def rescaled(self, z: Tensor) -> None:
        """Stand at z, (C, B, D), in units of the scale as it is."""
        self.places = _flat(self._standard(z))
        everyone = np.arange(len(self.places))
        self.state = State(self.places.copy(), *self._density(self.places, everyone))

    def _density(self, q: np.ndarray, chains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(x_seen, z) of some chains; the others are computed beside them, for one shape."""
        self.places[chains] = q
        value, gradient = self.launched(self._z(self.places), self._metric)
        return _flat(value.unsqueeze(-1))[chains, 0], _flat(gradient)[chains]

    @property
    def _metric(self) -> Tensor:
        """What z is made of positions with, and gradients of gradients."""
        return self.scale

    def _standard(self, z: Tensor) -> Tensor:
        """Positions of z, both (C, B, D)."""
        return z / self.scale

    def _times(self, q: Tensor) -> Tensor:
        """z of positions, both (C, B, D)."""
        return q * self.scale

    def _at(self, z: Tensor, metric: Tensor) -> tuple[Tensor, Tensor]:
        at = self.target.at(z)
        return at.joint, at.joint_gradient * metric

    def _z(self, places: np.ndarray) -> Tensor:
        return self._times(torch.from_numpy(places).to(self.like).reshape(self.shape))

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


class _DenseChains(_NUTSChains):
    """Chains in units of a factor R of their covariance, z = R q, learned in two windows."""

    def __init__(
        self,
        target: LogDensity,
        z: Tensor,
        random: np.random.Generator,
        max_depth: int,
        factor: Tensor,
    ) -> None:
        self.factor = factor
        super().__init__(target, z, random, max_depth, _spread(factor))
        self.step = torch.full_like(self.step, factor.shape[-1] ** -0.25)

    @property
    def _metric(self) -> Tensor:
        return self.factor

    def _standard(self, z: Tensor) -> Tensor:
        columns = torch.linalg.solve_triangular(self.factor, z.unsqueeze(-1), upper=False)
        return columns.squeeze(-1)

    def _times(self, q: Tensor) -> Tensor:
        return torch.einsum("bij,cbj->cbi", self.factor, q)

    def _at(self, z: Tensor, metric: Tensor) -> tuple[Tensor, Tensor]:
        at = self.target.at(z)
        return at.joint, torch.einsum("cbi,bij->cbj", at.joint_gradient, metric)

    def windows(self, warmup: int) -> list[tuple[int, bool]]:
        """The covariance is learned at the ends of the two windows in the middle."""
        ends = [round(share * warmup) for share in (0, 0.25, 0.55, 0.85, 1)]
        return [(end - begin, i in (1, 2)) for i, (begin, end) in enumerate(pairwise(ends))]

    def learn_scale(self, moves: Sequence[Moved]) -> None:
        """R from the covariance of all chains, drawn a little towards the one before."""
        seen = torch.cat([moved.z for moved in moves])
        count, size = len(seen), seen.shape[-1]
        held = (size + 5) / (count + size + 5)
        centered = seen - seen.mean(0)
        covariance = torch.einsum("nbi,nbj->bij", centered, centered) / (count - 1)
        covariance = (1 - held) * covariance + held * self.factor @ self.factor.mT
        learned, wrong = torch.linalg.cholesky_ex(covariance)
        self.factor = torch.where((wrong == 0)[:, None, None], learned, self.factor)
        self.scale = _spread(self.factor)
        self.step = torch.full_like(self.step, size**-0.25)
        self.rescaled(moves[-1].z)


@torch.no_grad()
def _likely(target: LogDensity, count: int) -> Tensor:
    """Starts, (C, B, D), none of them where a chain would stand still, far out in the tails.

    At random among draws at most 3 + D nats below the median of all.
    """
    z = target.sample_start(_CANDIDATES * count)
    value = target.log_joint(z).nan_to_num(nan=-math.inf)
    short = value - value.median(0).values + 3 + target.dim
    order = torch.where(short >= 0, torch.rand_like(value), short).topk(count, dim=0).indices
    return z.gather(0, order.unsqueeze(-1).expand(-1, -1, target.dim))


def _spread(factor: Tensor) -> Tensor:
    """Standard deviations, (B, D), of a factor of a covariance."""
    return factor.square().sum(-1).sqrt()


def _flat(values: Tensor) -> np.ndarray:
    """(C, B, D) as an array (C · B, D) in float64; where a density is not defined it is −∞."""
    array: np.ndarray = values.detach().double().flatten(0, 1).cpu().numpy()
    return np.nan_to_num(array, nan=-math.inf, posinf=math.inf, neginf=-math.inf)
