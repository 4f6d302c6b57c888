"""Chains over z of many data at once: their warm-up, and what they have drawn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from inference.blocks import computed
from inference.chunks import MAX_ELEMENTS
from inference.declared import declared
from inference.mcmc import diagnostics
from inference.mcmc.warm_up import Chains, check_sampling
from inference.posterior.log_density import LogDensity
from inference.progress import bar
from pyro_models.brief import Brief
from pyro_models.likelihoods.likelihood import widened
from pyro_models.moments import spread_of

__all__ = ["Draws", "LatentChains", "Moved", "Sampling", "block_size", "draw"]

BLOCK = 50


@dataclass(frozen=True, eq=False)
class Draws(Brief):
    """Draws of z from p(z | x_seen) by Markov chains.

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
        Seed of all draws.
    stats
        What is known of every draw, (S, C, B): its ``acceptance_rate``, and whether it is
        ``diverging``.
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
        """Rank-normalised split R̂ of every latent, (B, D): near 1 where chains agree."""
        return self._measured(diagnostics.r_hat)

    @cached_property
    def bulk_ess(self) -> Tensor:
        """Effective number of draws for the middle of every latent's posterior, (B, D)."""
        return self._measured(diagnostics.bulk_ess)

    @cached_property
    def tail_ess(self) -> Tensor:
        """Effective number of draws for the 5 % and 95 % quantiles, the smaller of them, (B, D)."""
        return self._measured(diagnostics.tail_ess)

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

    def _measured(self, measure: Callable[[Tensor], Any]) -> Tensor:
        wide = widened(self.z[:0]).dtype  # a device may have no float64
        return torch.as_tensor(measure(self.z.transpose(0, 1)), dtype=wide).to(self.z.device)


class Moved(NamedTuple):
    """One transition of every chain: z, (C, B, D), acceptance and divergence, (C, B)."""

    z: Tensor
    acceptance: Tensor
    diverged: Tensor


class LatentChains(Chains[Moved]):
    """C chains of each of B data; a datum's chains share ε and scale."""

    scale: Tensor
    """Standard deviations that ε is in units of, (B, D)."""
    learns_scale = True
    """Whether the warm-up is to find them."""

    def rescaled(self, z: Tensor) -> None:
        """Go on from z, (C, B, D), in units of a new scale; there the chains stand already."""

    def mean_acceptance(self, moved: Moved) -> Tensor:
        """Mean over the chains of each datum, (B,)."""
        return moved.acceptance.mean(0)

    def learn_scale(self, moves: Sequence[Moved]) -> None:
        """Take the standard deviations of each datum's draws, shrunk towards a common one."""
        found = learned_scale(torch.cat([moved.z for moved in moves]), self.scale)
        self.step = self.step * (self.scale / found).log().mean(-1).exp()
        self.scale = found
        self.rescaled(moves[-1].z)

    def windows(self, warmup: int) -> list[tuple[int, bool]]:
        """The scale is learned from the second quarter of the warm-up."""
        quarter = warmup // 4
        if not self.learns_scale:
            return [(warmup, False)]
        return [(quarter, False), (quarter, True), (warmup - 2 * quarter, False)]

    def sample(self, count: int) -> tuple[Tensor, ...]:
        """Draws, acceptance and divergence of each, (S, C, B); their means, ε and scales."""
        draws, rates, diverging = self.scale.new_empty(0), [], []
        for i in range(count):
            moved = self.move(self.step)
            if not i:
                draws = moved.z.new_empty(count, *moved.z.shape)
            draws[i] = moved.z
            rates.append(moved.acceptance)
            diverging.append(moved.diverged)
            self.done(1)
        accepted, diverged = torch.stack(rates), torch.stack(diverging)
        means = accepted.mean((0, 1)), diverged.to(accepted).mean((0, 1))
        return draws, accepted, diverged, *means, self.step, self.scale


@dataclass(frozen=True)
class Sampling:
    """How chains are warmed up, and how many draws of them are kept."""

    num_samples: int = declared(250, "S draws of each chain are kept.")
    num_chains: int = declared(4, "C chains of each datum.")
    warmup: int = declared(300, "Transitions that are thrown away, at least 20.")
    target_acceptance: float = declared(0.8, "Between 0 and 1; 0.65 to 0.8 is best for HMC.")
    seed: int = declared(0, "Seed of all draws; the caller's generators do not move.")
    max_elements: int = declared(
        MAX_ELEMENTS, "Numbers that may be decoded at once; bounds memory, and changes no draw."
    )
    progress: Callable[[int], object] | None = declared(
        None, "Called with 1 for each datum that is done."
    )


def block_size(target: LogDensity, num_chains: int) -> int:
    """Data whose chains are moved together, by constants alone.

    On a CPU few enough for several processes to have something to do; a GPU, whose random numbers
    are others anyway, is faster with more.
    """
    size = max(1, MAX_ELEMENTS // (target.numbers_per_chain * num_chains))
    return min(size, BLOCK) if target.x.device.type == "cpu" else size


def draw(
    target: LogDensity,
    make: Callable[[slice, LogDensity], LatentChains],
    sampling: Sampling,
    *,
    name: str,
    **counts: int,
) -> Draws:
    """Warm chains up and draw with them, block by block.

    The chains of some data are made given their place among all. The sampler of that name has a
    stream of random numbers of its own, and whole numbers that are checked like those of all.
    """
    checked = {n: v for n, v in vars(sampling).items() if n != "progress"}
    check_sampling(**checked, **counts)
    seed, bounded = sampling.seed, replace(target, max_elements=sampling.max_elements)

    def sample(rows: Any) -> tuple[Tensor, ...]:
        chains = make(rows, bounded.select(rows))
        chains.done = moving.update
        chains.warm_up(chains.windows(sampling.warmup), sampling.target_acceptance)
        return chains.sample(sampling.num_samples)

    size = block_size(target, sampling.num_chains)
    each = sampling.warmup + sampling.num_samples
    with bar(each * math.ceil(len(target) / size), unit="transitions", what=name) as moving:
        parts = computed(
            sample,
            lambda rows: rows,
            pair=target.pair,
            count=len(target),
            size=size,
            seed=seed,
            purpose=name,
            progress=sampling.progress,
        )
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
