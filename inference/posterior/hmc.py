"""Hamiltonian Monte Carlo over z, for many data and chains at once, each datum with its step."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from inference.chunks import MAX_ELEMENTS
from inference.isolated import isolated
from inference.posterior.log_density import LogDensity
from inference.posterior.transition import Transition, transition
from pyro_models import UsageError
from pyro_models.device import placed
from pyro_models.likelihoods.likelihood import widened
from pyro_models.moments import spread_of
from pyro_models.seeds import stream

__all__ = ["Draws", "DualAveraging", "hmc", "learned_scale", "r_hat"]


class DualAveraging:
    """log ε of each datum, led to a target acceptance (Hoffman & Gelman 2014, eq. 6)."""

    def __init__(self, step: Tensor, wanted: float) -> None:
        self.centre = step.log() + math.log(10)
        self.wanted = wanted
        self.now, self.average = step.log(), step.log()
        self.error = torch.zeros_like(step)
        self.count = 0

    def update(self, acceptance: Tensor) -> None:
        """Take in the mean acceptance over the chains of each datum, (B,)."""
        self.count += 1
        t = self.count
        self.error += (self.wanted - acceptance - self.error) / (t + 10)
        self.now = self.centre - math.sqrt(t) / 0.05 * self.error
        weight = t**-0.75
        self.average = weight * self.now + (1 - weight) * self.average


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of z from p(z | x_seen) by Hamiltonian Monte Carlo.

    Attributes
    ----------
    target
        What was drawn from.
    z
        (S, C, B, D): S draws of each of C chains, after warm-up.
    acceptance
        Mean acceptance probability after warm-up, (B,).
    divergences
        Share of transitions after warm-up whose energy error is above 1000, (B,).
    step_size, scale
        ε, (B,), and the standard deviations it is in units of, (B, D).
    seed
        Of all draws.
    stats
        Of every draw, (S, C, B): ``acceptance_rate``, and whether it is ``diverging``.
    """

    target: LogDensity
    z: Tensor
    acceptance: Tensor
    divergences: Tensor
    step_size: Tensor
    scale: Tensor
    seed: int
    stats: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def latents(self) -> dict[str, Tensor]:
        """All draws by site, (S · C, B, \\*event_shape)."""
        return self.target.unpack(self.z.flatten(0, 1))

    @cached_property
    def r_hat(self) -> Tensor:
        """Potential scale reduction of every latent, (B, D): near 1 where chains agree."""
        return r_hat(self.z)

    @property
    def mean(self) -> Tensor:
        """Mean of z, (B, D)."""
        return self.z.mean((0, 1))

    @property
    def mean_error(self) -> Tensor:
        """Standard error of ``mean``, (B, D), from the means of the chains; NaN for one chain."""
        return self.z.mean(0).std(0) / math.sqrt(self.z.shape[1])

    @property
    def covariance(self) -> Tensor:
        """Covariance of z, (B, D, D)."""
        centred = (self.z - self.mean).flatten(0, 1)
        return torch.einsum("nbi,nbj->bij", centred, centred) / (len(centred) - 1)


def r_hat(z: Tensor) -> Tensor:
    """Split-R̂ = √((W (n − 1)/n + V) / W) (Gelman et al. 2013, section 11.4).

    Each chain is cut in two halves of n draws; W is the mean variance within, V the variance of the
    means of the halves.

    Parameters
    ----------
    z
        (S, C, \\*shape), at least four draws.

    Returns
    -------
    Tensor
        (\\*shape), float64; NaN for fewer than four draws, and where nothing varies but rounding.
    """
    half = len(z) // 2
    if half < 2:
        return torch.full_like(z[0, 0], math.nan)
    halves = torch.cat([z[:half], z[-half:]], 1)
    width = halves.amax((0, 1)) - halves.amin((0, 1))
    still = width <= 4 * torch.finfo(z.dtype).eps * halves.abs().amax((0, 1))
    halves = widened(halves)
    within, between = halves.var(0).mean(0), halves.mean(0).var(0)
    found = ((within * (half - 1) / half + between) / within).sqrt()
    return found.masked_fill(still, math.nan)


def hmc(
    target: LogDensity,
    *,
    num_samples: int = 500,
    num_chains: int = 4,
    warmup: int = 300,
    num_leapfrog: int = 10,
    target_acceptance: float = 0.75,
    scale: Tensor | None = None,
    start: Tensor | None = None,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: Callable[[int], object] | None = None,
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
    num_samples, num_chains
        S draws of each of C chains are kept.
    warmup
        Transitions that are thrown away.
    num_leapfrog
        L leapfrog steps make one transition.
    target_acceptance
        Between 0 and 1; 0.65 to 0.8 is best.
    scale
        Rough posterior standard deviations, (B, D), such as those of a guide.
    start
        Where the chains start, (C, B, D); from the guide of the target, or the prior, unless given.
    seed
        Of all draws; the caller's generators do not move.
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
    >>> draws = hmc(condition(ppca, x[:3]), num_samples=100, num_chains=8, warmup=100)
    >>> exact = ppca.exact_posterior(x[:3]).mean
    >>> bool(((draws.mean - exact).abs() < 5 * draws.mean_error).all())
    True
    """
    for name, count in (
        ("num_samples", num_samples),
        ("num_chains", num_chains),
        ("num_leapfrog", num_leapfrog),
    ):
        if count < 1:
            raise UsageError(f"{name} must be at least 1; got {count}")
    if warmup < 20:
        raise UsageError(f"warmup must be at least 20, to find a step size; got {warmup}")
    if not 0 < target_acceptance < 1:
        raise UsageError(f"target_acceptance lies between 0 and 1; got {target_acceptance}")
    chunk = max(1, max_elements // (target.numbers_per_chain * num_chains))
    start, scale = placed(start, target.x), placed(scale, target.x)
    parts = []
    with isolated(target.pair, seed=stream(seed, "hmc")):
        for i in range(0, len(target), chunk):
            rows = slice(i, i + chunk)
            some = target.rows(rows)
            z = some.sample_start(num_chains) if start is None else start[:, rows]
            known = None if scale is None else scale[rows]
            sampler = _Sampler(some, z, num_leapfrog, target_acceptance, known)
            sampler.warm_up(warmup)
            parts.append(sampler.sample(num_samples))
            if progress is not None:
                progress(len(some))
    draws, rates, diverging, *others = zip(*parts, strict=True)
    acceptance, divergences, steps, scales = (torch.cat(part) for part in others)
    stats = {"acceptance_rate": torch.cat(rates, 2), "diverging": torch.cat(diverging, 2)}
    return Draws(target, torch.cat(draws, 2), acceptance, divergences, steps, scales, seed, stats)


def learned_scale(seen: Tensor, before: Tensor) -> Tensor:
    """Standard deviations of each datum's draws, (N, B, D), shrunk towards a common one, (B, D).

    Where they are of no use, as of draws that all stand still, it is those from ``before``.
    """
    n = len(seen)
    variance = seen.var(0)
    pooled = variance.log().mean(-1, keepdim=True).exp()
    learned = ((n * variance + 5 * pooled) / (n + 5)).sqrt()
    usable = learned.isfinite() & (spread_of(seen) > 0)
    return torch.where(usable.all(-1, keepdim=True), learned, before)


class _Sampler:
    """Chains of some data, with what they have learned of their posterior."""

    def __init__(
        self, target: LogDensity, z: Tensor, num_leapfrog: int, wanted: float, scale: Tensor | None
    ) -> None:
        self.target, self.z, self.at = target, z.clone(), target.at(z)
        self.num_leapfrog, self.wanted = num_leapfrog, wanted
        self.learns_scale = scale is None
        self.scale = torch.ones_like(z[0]) if scale is None else scale
        self.step = torch.full_like(z[0, :, 0], 0.1 if scale is None else 0.5)

    def _move(self, step: Tensor) -> Transition:
        jitter = 0.8 + 0.4 * torch.rand_like(self.at.joint)
        moved = transition(
            self.target,
            self.z,
            self.at,
            step=step * jitter,
            num_leapfrog=self.num_leapfrog,
            scale=self.scale,
        )
        self.z, self.at = moved.z, moved.at
        return moved

    def warm_up(self, count: int) -> None:
        """Find step sizes and, unless they are given, scales."""
        if self.learns_scale:
            self._adapt(count // 4)
            seen = self._adapt(count // 4)
            found = learned_scale(seen, self.scale)
            self.step = self.step * (self.scale / found).log().mean(-1).exp()
            self.scale = found
            count = count - 2 * (count // 4)
        self._adapt(count)

    def _adapt(self, count: int) -> Tensor:
        averaging = DualAveraging(self.step, self.wanted)
        seen = []
        for _ in range(count):
            moved = self._move(averaging.now.exp())
            averaging.update(moved.acceptance.mean(0))
            seen.append(self.z)
        self.step = averaging.average.exp()
        return torch.cat(seen)

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """Draws, acceptance and divergence of each, their means, step sizes and scales."""
        rates, diverging = [], []
        draws = torch.empty(count, *self.z.shape, dtype=self.z.dtype, device=self.z.device)
        acceptance = torch.zeros_like(self.step)
        divergences = torch.zeros_like(self.step)
        for i in range(count):
            moved = self._move(self.step)
            draws[i] = moved.z
            rates.append(moved.acceptance)
            diverging.append(moved.diverged)
            acceptance += moved.acceptance.mean(0) / count
            divergences += moved.diverged.to(self.step).mean(0) / count
        of_each = torch.stack(rates), torch.stack(diverging)
        return draws, *of_each, acceptance, divergences, self.step, self.scale
