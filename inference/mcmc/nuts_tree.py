"""One transition of the no-U-turn sampler, many chains in one batch.

Multinomial NUTS (Hoffman & Gelman 2014; Betancourt 2017) with an identity mass matrix, its trees
built iteratively (Phan, Pradhan & Jankowiak 2019): chains go in step, and only those whose tree
still grows are evaluated. Arrays are NumPy's: they are small, and its calls cost least.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from inference.mcmc.leapfrog import leapfrog

__all__ = ["State", "Transition", "transition"]


LogDensity = Callable[..., tuple[np.ndarray, np.ndarray]]
"""Positions ``q``, (C', p), and numbers ``chains``, (C',), to log densities and gradients."""

_DIVERGENCE = 1000.0  # nats by which the energy may be wrong


@dataclass
class State:
    """Where C chains stand: positions, (C, p), log density, (C,), and its gradient, (C, p)."""

    q: np.ndarray
    value: np.ndarray
    gradient: np.ndarray

    def select(self, index: np.ndarray) -> State:
        """Some of the chains."""
        return State(self.q[index], self.value[index], self.gradient[index])

    def put(self, index: np.ndarray, other: State) -> None:
        """Overwrite some of the chains."""
        self.q[index], self.value[index] = other.q, other.value
        self.gradient[index] = other.gradient

    def copy(self) -> State:
        """A state of its own."""
        return State(self.q.copy(), self.value.copy(), self.gradient.copy())


@dataclass(frozen=True)
class Transition:
    """What one transition did, (C,) of each but the state."""

    state: State
    """The new state."""
    acceptance: np.ndarray
    """Mean of min(1, exp(−ΔH)) over the tree."""
    diverged: np.ndarray
    """Whether the energy was wrong by more than 1000 nats."""
    leapfrogs: np.ndarray
    """Gradients taken."""
    energy: np.ndarray
    """H = ½ rᵀ r − log density of the new state, with the momentum it was reached with."""
    depth: np.ndarray
    """Doublings that were kept."""


@np.errstate(invalid="ignore", over="ignore")  # a diverging chain leaves the numbers
def transition(
    density: LogDensity,
    state: State,
    step: float | np.ndarray,
    random: np.random.Generator,
    *,
    max_depth: int,
) -> Transition:
    """Double each chain's trajectory until it turns back, and take one of its points.

    The density is of positions (C', p) of any of the chains, by their numbers. A leapfrog step is
    of one length for all chains or for each, (C,). Doublings are at most ``max_depth``.
    """
    chains, size = state.q.shape
    r = random.standard_normal((chains, size))
    energy = 0.5 * (r * r).sum(1) - state.value
    ends = [(state.copy(), r.copy()), (state.copy(), r.copy())]  # backward, forward
    proposal, energy_there = state.copy(), energy.copy()
    log_weight, doublings = np.zeros(chains), np.zeros(chains, dtype=np.int64)
    r_sum = r.copy()
    accepted, count = np.zeros(chains), np.zeros(chains)
    diverged = np.zeros(chains, dtype=bool)
    steps = np.broadcast_to(np.asarray(step, dtype=float), (chains,))
    index = np.arange(chains)
    for depth in range(max_depth):
        forward = random.random(len(index)) < 0.5
        start = ends[1][0].select(index)
        start.put(~forward, ends[0][0].select(index[~forward]))
        r_start = np.where(forward[:, None], ends[1][1][index], ends[0][1][index])
        signed = np.where(forward, steps[index], -steps[index])
        tree = _Subtree(start, r_start, signed, energy[index], 2**depth, random, index)
        tree.grow(density)
        accepted[index] += tree.accepted
        count[index] += tree.count
        diverged[index] |= tree.diverged
        good = ~(tree.turned | tree.diverged)
        index, kept = index[good], good.nonzero()[0]
        if not len(index):
            break
        # biased progressive sampling: the new half is preferred when it weighs more
        take = random.random(len(index)) < np.exp(tree.log_weight[kept] - log_weight[index])
        proposal.put(index[take], tree.proposal.select(kept[take]))
        energy_there[index[take]] = tree.energy_there[kept[take]]
        doublings[index] += 1
        log_weight[index] = np.logaddexp(log_weight[index], tree.log_weight[kept])
        r_sum[index] += tree.r_sum[kept]
        for side, chosen in ((1, forward[kept]), (0, ~forward[kept])):
            ends[side][0].put(index[chosen], tree.end.select(kept[chosen]))
            ends[side][1][index[chosen]] = tree.r_end[kept[chosen]]
        index = index[~_turns(ends[0][1][index], ends[1][1][index], r_sum[index])]
        if not len(index):
            break
    acceptance = accepted / np.maximum(count, 1)
    return Transition(proposal, acceptance, diverged, count, energy_there, doublings)


@dataclass
class _Subtree:
    """2^depth leaves grown from one end of a trajectory, for several chains."""

    end: State
    r_end: np.ndarray
    step: np.ndarray
    energy: np.ndarray
    leaves: int
    random: np.random.Generator
    chains: np.ndarray

    def __post_init__(self) -> None:
        count, r = len(self.r_end), self.r_end
        self.proposal, self.energy_there = self.end.copy(), self.energy.copy()
        self.log_weight = np.full(count, -np.inf)
        self.r_sum = np.zeros_like(r)
        self.turned, self.diverged = np.zeros((2, count), dtype=bool)
        self.accepted, self.count = np.zeros((2, count))
        # what a later leaf needs to see whether a subtree that it closes has turned
        depth = max(1, self.leaves.bit_length() - 1)
        self._r_kept, self._sum_kept = np.zeros((2, depth, *r.shape))

    def grow(self, density: LogDensity) -> None:
        """Take the leaves one after the other; a chain stops when it turns or diverges."""
        index = np.arange(len(self.r_end))
        for leaf in range(self.leaves):
            start = self.end.select(index)
            q, r, value, gradient = leapfrog(
                partial(density, chains=self.chains[index]),
                start.q,
                self.r_end[index],
                start.gradient,
                size=self.step[index][:, None],
            )
            state = State(q, value, gradient)
            self.end.put(index, state)
            self.r_end[index] = r
            self._weigh(index, state, r)
            self._check_turns(index, leaf, r)
            index = index[~(self.turned[index] | self.diverged[index])]
            if not len(index):
                break

    def _weigh(self, index: np.ndarray, state: State, r: np.ndarray) -> None:
        weight = self.energy[index] - 0.5 * (r * r).sum(1) + state.value  # −ΔH
        weight = np.where(np.isfinite(weight), weight, -np.inf)
        self.diverged[index] = weight < -_DIVERGENCE
        self.accepted[index] += np.exp(np.minimum(weight, 0.0))
        self.count[index] += 1
        total = np.logaddexp(self.log_weight[index], weight)
        take = np.log(self.random.random(len(index))) < weight - total
        self.proposal.put(index[take], state.select(take))
        self.energy_there[index[take]] = (self.energy[index] - weight)[take]
        self.log_weight[index] = total
        self.r_sum[index] += r

    def _check_turns(self, index: np.ndarray, leaf: int, r: np.ndarray) -> None:
        """Every balanced subtree that ends in this leaf is checked (Phan et al. 2019, alg. 2)."""
        last = (leaf >> 1).bit_count()
        if leaf % 2 == 0:
            self._r_kept[last, index] = r
            self._sum_kept[last, index] = self.r_sum[index]
            return
        closed = (~leaf & (leaf + 1)).bit_length() - 1  # trailing ones: subtrees closed here
        for i in range(last, last - closed, -1):
            first = self._r_kept[i, index]
            between = self.r_sum[index] - self._sum_kept[i, index] + first
            self.turned[index] |= _turns(first, r, between)


def _turns(first: np.ndarray, last: np.ndarray, r_sum: np.ndarray) -> np.ndarray:
    """Whether a trajectory's end momenta point back along its sum of momenta, (C,)."""
    between = r_sum - 0.5 * (first + last)
    return ((first * between).sum(1) <= 0) | ((last * between).sum(1) <= 0)
