"""The No-U-Turn sampler over z, for many data and chains at once, each datum with its step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from inference.chunks import MAX_ELEMENTS
from inference.isolated import isolated
from inference.mcmc.nuts_tree import State, Transition, transition
from inference.posterior.hmc import Draws, DualAveraging, learned_scale
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError
from pyro_models.seeds import stream

__all__ = ["nuts"]


def nuts(
    target: LogDensity,
    *,
    num_samples: int = 250,
    num_chains: int = 4,
    warmup: int = 300,
    target_acceptance: float = 0.8,
    max_depth: int = 8,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: Callable[[int], object] | None = None,
) -> Draws:
    """Draw from the posterior of every datum by multinomial NUTS.

    A trajectory is doubled until it turns back, and one of its points is taken (Hoffman & Gelman
    2014; Betancourt 2017). All chains of all data go in step, so that one evaluation serves them
    all. In the warm-up each datum's ε is led to the target acceptance by dual averaging over its
    chains, and its scale is estimated from the second quarter; afterwards both are fixed.

    Parameters
    ----------
    target
        From :func:`inference.posterior.log_density.condition`.
    num_samples, num_chains
        S draws of each of C chains are kept.
    warmup
        Transitions that are thrown away, at least 20.
    target_acceptance
        Between 0 and 1.
    max_depth
        Doublings of a trajectory at most.
    seed
        Seed of all draws; the caller's generators do not move.
    max_elements
        Numbers that one chunk's reconstructions may hold; bounds memory.
    progress
        Called with the number of data after each chunk.

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
    for name, count in (
        ("num_samples", num_samples),
        ("num_chains", num_chains),
        ("max_depth", max_depth),
    ):
        if count < 1:
            raise UsageError(f"{name} must be at least 1; got {count}")
    if warmup < 20:
        raise UsageError(f"warmup must be at least 20, to find a step size; got {warmup}")
    if not 0 < target_acceptance < 1:
        raise UsageError(f"target_acceptance lies between 0 and 1; got {target_acceptance}")
    chunk = max(1, max_elements // (target.numbers_per_chain * num_chains))
    parts = []
    with isolated(target.pair, seed=stream(seed, "nuts")):
        for i in range(0, len(target), chunk):
            some = target.rows(slice(i, i + chunk))
            random = np.random.default_rng(stream(seed, f"nuts {i}"))
            chains = _Chains(some, some.sample_start(num_chains), random, max_depth)
            chains.warm_up(warmup, target_acceptance)
            parts.append(chains.sample(num_samples))
            if progress is not None:
                progress(len(some))
    draws, rates, diverging, *others = zip(*parts, strict=True)
    acceptance, divergences, steps, scales = (torch.cat(part) for part in others)
    stats = {"acceptance_rate": torch.cat(rates, 2), "diverging": torch.cat(diverging, 2)}
    return Draws(target, torch.cat(draws, 2), acceptance, divergences, steps, scales, seed, stats)


class _Chains:
    """Chains of some data; positions are z / scale, all chains of all data in one array."""

    def __init__(
        self, target: LogDensity, z: Tensor, random: np.random.Generator, max_depth: int
    ) -> None:
        self.target, self.random, self.max_depth = target, random, max_depth
        self.like, self.shape = z, tuple(z.shape)  # (C, B, D)
        self.scale = torch.ones_like(z[0])
        self.step = torch.full_like(z[0, :, 0], 0.1)
        self._stand_at(z)

    def _stand_at(self, z: Tensor) -> None:
        self.places = _flat(z / self.scale)
        everyone = np.arange(len(self.places))
        self.state = State(self.places.copy(), *self._density(self.places, everyone))

    def _density(self, q: np.ndarray, chains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(x_seen, z) of some chains; the others are computed beside them, for one shape."""
        self.places[chains] = q
        at = self.target.at(self._z(self.places))
        value = _flat(at.joint.unsqueeze(-1))[chains, 0]
        return value, _flat(at.joint_gradient * self.scale)[chains]

    def _z(self, places: np.ndarray) -> Tensor:
        return torch.from_numpy(places).to(self.like).reshape(self.shape) * self.scale

    def _of_chains(self, values: np.ndarray) -> Tensor:
        """One number for each chain, (C, B)."""
        return torch.from_numpy(values).to(self.like).reshape(self.shape[:2])

    def _move(self, step: Tensor) -> tuple[Transition, Tensor]:
        steps = step.double().cpu().expand(self.shape[:2]).reshape(-1).numpy()
        done = transition(self._density, self.state, steps, self.random, max_depth=self.max_depth)
        self.state = done.state
        return done, self._z(done.state.q)

    def warm_up(self, count: int, wanted: float) -> None:
        """Find step sizes and scales."""
        self._adapt(count // 4, wanted)
        seen, z = self._adapt(count // 4, wanted)
        found = learned_scale(seen, self.scale)
        self.step = self.step * (self.scale / found).log().mean(-1).exp()
        self.scale = found
        self._stand_at(z)
        self._adapt(count - 2 * (count // 4), wanted)

    def _adapt(self, count: int, wanted: float) -> tuple[Tensor, Tensor]:
        averaging = DualAveraging(self.step, wanted)
        seen = []
        for _ in range(count):
            done, z = self._move(averaging.now.exp())
            averaging.update(self._of_chains(done.acceptance).mean(0))
            seen.append(z)
        self.step = averaging.average.exp()
        return torch.cat(seen), seen[-1]

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """Draws, acceptance and divergence of each, their means, step sizes and scales."""
        draws = torch.empty(count, *self.shape, dtype=self.like.dtype, device=self.like.device)
        rates, diverging = [], []
        for i in range(count):
            done, draws[i] = self._move(self.step)
            rates.append(self._of_chains(done.acceptance))
            diverging.append(self._of_chains(done.diverged.astype(float)))
        accepted, diverged = torch.stack(rates), torch.stack(diverging)
        means = accepted.mean((0, 1)), diverged.mean((0, 1))
        return draws, accepted, diverged > 0, *means, self.step, self.scale


def _flat(values: Tensor) -> np.ndarray:
    """(C, B, D) as an array (C · B, D) in float64; where a density is not defined it is −∞."""
    array: np.ndarray = values.detach().double().flatten(0, 1).cpu().numpy()
    return np.nan_to_num(array, nan=-math.inf, posinf=math.inf, neginf=-math.inf)
