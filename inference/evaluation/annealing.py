"""Annealed importance sampling: log p(x_seen) from chains that cool from q to the posterior.

On the path π_β(z) ∝ q(z)^{1−β} p(x, z)^β from β_0 = 0 to β_T = 1, with q the prior or a guide, a
chain z_0 ~ q, z_t ~ T_t(· | z_{t−1}), where T_t leaves π_{β_t} as it is, has the weight (Neal 2001)

    log w = Σ_{t=1}^{T} (β_t − β_{t−1}) (log p(x, z_{t−1}) − log q(z_{t−1})),

and E[w] = p(x): the log of the mean weight is a lower bound on log p(x) in expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from inference.blocks import HERE, Blocks, computed
from inference.chunks import MAX_ELEMENTS
from inference.cuda_graph import Launched, launcher_of
from inference.mcmc.hmc import At, transition
from inference.mcmc.warm_up import check_acceptance
from inference.particles import effective_sample_size, log_mean_exp, relative_weights
from inference.posterior.chains import block_size
from inference.posterior.log_density import LogDensity
from inference.progress import bar
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts
from pyro_models.likelihoods.likelihood import widened
from pyro_models.moments import spread_of
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed

__all__ = ["SCHEDULES", "Annealed", "anneal", "log_ratio", "relative_error", "schedule_of"]

SCHEDULES = ("sigmoidal", "linear", "geometric")

GRADIENTS = 40
"""Leapfrog steps of one launch on a device, where a transition has fewer."""


@dataclass(frozen=True, eq=False)
class Annealed(Brief):
    """What the chains of annealed importance sampling came to.

    Attributes
    ----------
    log_weights, z
        log w of every chain, (C, B), nats, and where they ended, (C, B, D): with these weights,
        draws from p(z | x_seen).
    acceptance, betas, seed
        Mean acceptance over transitions and chains, (B,); β_0 = 0, …, β_T = 1, (T + 1,); and the
        seed of all draws.
    step_sizes, scale
        ε of every transition, (T − 1, B), in units of the standard deviations ``scale``, (B, D).
    stopped
        log w of every chain at each of the stops, (S, C, B), nats: E[w] = ∫ q^{1−β} p(x, z)^β dz.
    """

    log_weights: Tensor
    z: Tensor
    acceptance: Tensor
    step_sizes: Tensor
    betas: Tensor
    scale: Tensor
    seed: int
    stopped: Tensor | None = None

    @property
    def estimate(self) -> Tensor:
        """log (1/C) Σ w, (B,): at most log p(x_seen) in expectation, nats."""
        return log_mean_exp(self.log_weights)

    @property
    def standard_error(self) -> Tensor:
        """Of ``estimate``, (B,), see :func:`relative_error`; NaN for one chain."""
        return relative_error(self.log_weights)

    @property
    def effective_sample_size(self) -> Tensor:
        """(Σ w)² / Σ w² over chains, (B,), between 1 and C."""
        return effective_sample_size(self.log_weights)


def relative_error(log_weights: Tensor) -> Tensor:
    """The error of log (1/K) Σ w, (B,), from log-weights (K, B), nats; NaN for K = 1, and where
    every weight is 0.

    √(Var w / K) / mean w by the delta method, or what the estimate loses without its heaviest
    weight, whichever is larger: where a few weights carry it, the first never says more than one
    nat, and the estimate may be too high by luck as well as too low.
    """
    if len(log_weights) == 1:
        return torch.full_like(log_weights[0], math.nan)
    relative = relative_weights(log_weights)
    delta = relative.std(0) / relative.mean(0) / math.sqrt(len(relative))
    others = relative.scatter(0, log_weights.argmax(0, keepdim=True), 0.0).sum(0)
    without = (relative.mean(0) / (others / (len(relative) - 1))).log()
    return torch.maximum(delta, without)


def schedule_of(name: str, num_temperatures: int) -> Tensor:
    """β_0 = 0 < β_1 < … < β_T = 1, (T + 1,), float64, by the name of the schedule.

    ``"linear"``: β_t = t / T. ``"sigmoidal"``: with s_t = σ(4 (2t / T − 1)) it is β_t = (s_t − s_0)
    / (s_T − s_0), slow at both ends (Grosse et al. 2015). ``"geometric"``: β_t = (e^{k t / T} − 1)
    / (e^k − 1) with k = 10: steps in proportion to β, for likelihoods that say far more than the
    prior, such as N(G(z), σ² I) of a small σ.
    """
    check_counts(num_temperatures=num_temperatures)
    check_choice("schedule", name, SCHEDULES)
    t = torch.linspace(0, 1, num_temperatures + 1, dtype=torch.float64)
    if name == "linear":
        return t
    s = torch.expm1(10 * t) if name == "geometric" else torch.sigmoid(4 * (2 * t - 1))
    return (s - s[0]) / (s[-1] - s[0])


def anneal(
    target: LogDensity,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    schedule: str = "sigmoidal",
    stops: Sequence[float] = (),
    num_leapfrog: int = 10,
    num_pilots: int = 4,
    target_acceptance: float = 0.65,
    seed: int = 0,
    max_elements: int = MAX_ELEMENTS,
    progress: Callable[[int], object] | None = None,
    blocks: Blocks = HERE,
) -> Annealed:
    r"""Annealed importance sampling with HMC transitions, images × chains at once.

    .. math:: \log w = \sum_t (β_t − β_{t−1}) \log \frac{p(x, z_{t−1})}{q(z_{t−1})}, \quad
       0 = β_0 < … < β_T = 1, \quad \E[w] = p(x)

    with z_0 drawn from q, the prior or a guide, and z_t from a transition that leaves
    q^(1 − β_t) p(x, ·)^β_t invariant.

    Each datum's step size follows the acceptance of its *pilots*: chains of their own that run
    beside the weighted ones, are thrown away, and alone decide. The weighted chains never influence
    their own transitions, so given the pilots every transition is fixed, and E[w] = p(x) exactly
    (adapting from the weighted chains themselves would bias it). The step after temperature t is
    log ε ← log ε + g_t (ā − a*) with ā the pilots' mean acceptance and g_t from 0.5 down to 0.1.

    Parameters
    ----------
    target
        From :func:`inference.posterior.log_density.condition`; its guide, or else the prior, is q.
    num_chains, num_pilots
        Weighted chains of each datum, C, and those that find the step sizes.
    num_temperatures, schedule
        T, of which twice as many halve the bias, more or less; and how they are spaced, see
        :func:`schedule_of`.
    stops
        Further temperatures, S numbers between 0 and 1 that rise: the weights there are kept.
    num_leapfrog, target_acceptance
        Leapfrog steps in a transition, and a*.
    seed
        Seed of all draws; the caller's generators do not move.
    max_elements, progress, blocks
        Numbers that may be decoded at once, which bounds memory; called with 1 for each datum that
        is done; and who computes. None of them changes a number.

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
    >>> found = anneal(condition(ppca, x[:3]), num_temperatures=100)
    >>> bool((found.estimate - ppca.exact_log_prob(x[:3])).abs().max() < 0.1)
    True
    """
    betas = schedule_of(schedule, num_temperatures)
    stopping = betas.new_tensor(stops)
    if not bool((torch.cat([betas[:1], stopping, betas[-1:]]).diff() > 0).all()):
        raise UsageError(f"stops are temperatures between 0 and 1 that rise; got {list(stops)}")
    betas = torch.cat([betas, stopping]).unique()
    kept = torch.searchsorted(betas, stopping).tolist()
    check_counts(
        num_chains=num_chains,
        num_leapfrog=num_leapfrog,
        num_pilots=num_pilots,
        max_elements=max_elements,
    )
    check_acceptance(target_acceptance)
    check_seed(seed)
    together, at_once = num_chains + num_pilots, max(1, GRADIENTS // num_leapfrog)
    gains = betas.new_tensor([min(0.5, max(0.1, t**-0.5)) for t in range(1, len(betas) - 1)])

    def forward(some: LogDensity) -> tuple[Tensor, ...]:
        """Log-weights (C, B), z (C, B, D), acceptance (B,), step sizes (T − 1, B), scale (B, D).

        And, where there are stops, the log-weights there, (S, C, B).
        """
        drawn = some.sample_start(64)  # of which no chain starts at one: standard deviations of q
        scale = torch.where(spread_of(drawn) > 0, drawn.std(0), torch.ones_like(drawn[0]))
        z = some.sample_start(together)  # the pilots first
        at = some.at(z)
        log_step = torch.full_like(z[0, :, 0], math.log(0.5 * some.dim**-0.25))
        wide = widened(z[:0])  # a device may have no float64
        path, rates = betas.to(wide), gains.to(wide)
        steps = torch.empty(len(rates), len(some), dtype=z.dtype, device=z.device)

        def cooled(
            path: Tensor, gains: Tensor, scale: Tensor, *state: Tensor
        ) -> tuple[Tensor, ...]:
            """The state after some temperatures, their steps, and the weights at each of them."""
            log_weights, acceptance, log_step, z, *densities = state
            at, used, weights = At(*densities), [], []
            for before, beta, gain in zip(path, path[1:], gains, strict=False):
                log_weights = log_weights + (beta - before) * log_ratio(at)
                weights.append(log_weights)
                used.append(log_step.exp())
                moved = transition(
                    some, z, at, step=used[-1], num_leapfrog=num_leapfrog, beta=beta, scale=scale
                )
                z, at, taken = moved.z, moved.at, moved.acceptance
                log_step = log_step + gain * (taken[:num_pilots].mean(0) - target_acceptance)
                acceptance = acceptance + taken[num_pilots:].mean(0) / len(steps)
            state = log_weights, acceptance, log_step, z, *vars(at).values()
            return torch.stack(used), torch.stack(weights), *state

        launched = Launched(cooled, launcher_of(z.device), what="temperatures")
        zeros = torch.zeros_like(at.joint), torch.zeros_like(log_step)
        state, stopped = [*zeros, log_step, z, *vars(at).values()], []
        with bar(len(steps), unit="temperatures", what="annealing") as cooling:
            for t in range(0, len(steps), at_once):
                some_of = slice(t, t + at_once)
                given = path[t : t + at_once + 1], rates[some_of], scale
                steps[some_of], weights, *state = launched(*given, *state)
                stopped += [weights[i - t - 1] for i in kept if t < i <= t + len(weights)]
                cooling.update(len(weights))
        # a transition at β = 1 would change no weight
        log_weights, acceptance, _, z, *densities = state
        log_weights = log_weights + (path[-1] - path[-2]) * log_ratio(At(*densities))
        found = log_weights[num_pilots:], z[num_pilots:], acceptance, steps, scale
        return (*found, torch.stack(stopped)[:, num_pilots:]) if kept else found

    parts = computed(
        forward,
        replace(target, max_elements=max_elements).select,
        pair=target.pair,
        count=len(target),
        size=block_size(target, together),
        seed=seed,
        purpose="annealing",
        blocks=blocks,
        progress=progress,
    )
    log_weights, z, acceptance, steps, scale, *stopped = zip(*parts, strict=True)
    of_chains = torch.cat(log_weights, 1), torch.cat(z, 1), torch.cat(acceptance)
    at_stops = torch.cat(stopped[0], 2) if stopped else None
    return Annealed(*of_chains, torch.cat(steps, 1), betas, torch.cat(scale), seed, at_stops)


def log_ratio(at: At) -> Tensor:
    """log p(x, z) − log q(z), (C, B); −∞ where z is impossible under the model."""
    return (at.joint - at.start).nan_to_num(nan=-math.inf, neginf=-math.inf, posinf=math.inf)
