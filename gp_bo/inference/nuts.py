"""The hyper-posterior by the no-U-turn sampler, several chains in one process and one batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.laplace import laplace_factor
from gp_bo.inference.point import modes
from gp_bo.model import GPModel, HyperPosterior
from inference.mcmc.diagnostics import ESS_PER_CHAIN, RHAT, bulk_ess, r_hat, tail_ess
from inference.mcmc.nuts_tree import State, Transition, transition
from inference.mcmc.warm_up import Chains, check_sampling
from inference.progress import bar, over
from pyro_models import UsageError

__all__ = ["chain_diagnostics", "nuts"]

_COLLAPSED = 1e-3  # a step size, where 1 is the width of the posterior
_TOO_MANY = 0.2  # of the warm-up's transitions diverging
_NOT_CONVERGED = 1.05  # R̂ above it: the draws are not of one distribution
_WINDOWS = (0.25, 0.3, 0.3, 0.15)  # of the warm-up; the metric is learned at the ends of the middle


def nuts(
    gp: GPModel,
    *,
    seed: int = 0,
    num_draws: int = 2000,
    num_chains: int = 4,
    warmup: int = 300,
    target_acceptance: float = 0.9,
    max_depth: int = 8,
    restarts: int = 8,
) -> HyperDraws:
    """Draws of p(u | y) by multinomial NUTS (Hoffman & Gelman 2014; Betancourt 2017).

    All chains go in one batch, with the gradient in closed form. They start from points about the
    mode, spread wider than Laplace's approximation, whose covariance is the first inverse mass
    matrix; during warm-up all chains together learn it anew, twice, and the step size by dual
    averaging. A step size that collapses, or many divergences, restart the warm-up with shorter
    steps. A covariance that rounding made indefinite gets a little jitter; a point where even that
    fails has density 0.

    Parameters
    ----------
    num_draws
        S, the draws of all chains together. Shorter chains of ordinary data often fail the check of
        R̂ by chance: its own noise is then as large as what it is held to.
    num_chains, warmup
        Number of chains, which must share ``num_draws`` evenly, and transitions of each that are
        thrown away, at least 20.
    target_acceptance, max_depth
        The acceptance to which the step size is adapted, and the most doublings of a trajectory.
    """
    check_sampling(
        num_draws=num_draws,
        num_chains=num_chains,
        warmup=warmup,
        target_acceptance=target_acceptance,
        max_depth=max_depth,
        restarts=restarts,
        seed=seed,
    )
    if num_draws < 4 * num_chains or num_draws % num_chains:
        raise UsageError(
            "num_draws is of all chains together, a multiple of num_chains and at least four for "
            f"each; got {num_draws} for {num_chains} chains"
        )
    density = HyperPosterior(gp)
    if not density.size:
        raise UsageError("every hyper-parameter is fixed: nothing is left to sample; use map")
    found = modes(gp, seed=seed, restarts=restarts, jacobian=True)
    factor, _ = laplace_factor(density, found)
    random = np.random.default_rng(seed)
    ends = np.rint(np.cumsum(_WINDOWS) * warmup).astype(int)
    windows = [(int(n), i in (1, 2)) for i, n in enumerate(np.diff(ends, prepend=0))]
    stricter = (1 - (1 - target_acceptance) / share for share in (2, 4))  # of the misses
    for retries, target in enumerate((target_acceptance, *stricter)):  # noqa: B007
        start = _spread_out(density, found.points, factor, num_chains, random)
        metric = (found.points[0].cpu().numpy(), factor.cpu().numpy())
        chains = _HyperChains(density, metric, start, random, max_depth)
        with bar(warmup, unit="transitions", what="warm-up") as moving:
            chains.done = moving.update
            chains.warm_up(windows, target)
        divergent = sum(chains.diverged[windows[0][0] :]) / (num_chains * warmup)
        if chains.step > _COLLAPSED and divergent < _TOO_MANY:
            break
    step = chains.step
    count = range(num_draws // num_chains)
    statistics = [chains.move(step) for _ in over(count, unit="transitions", what="draws")]
    draws = np.stack([chains.unconstrained(t.state.q) for t in statistics], axis=1)
    details, messages = chain_diagnostics(draws, gp.hyperparameters.column_names())
    divergences = sum(int(t.diverged.sum()) for t in statistics)
    details |= {
        "divergences": divergences,
        "step_size": step,
        "retries": retries,
        "acceptance": float(np.mean([t.acceptance for t in statistics])),
        "gradients": int(sum(t.leapfrogs.sum() for t in statistics)),
        "num_chains": num_chains,
        "warmup": warmup,
    }
    if divergences:
        messages.append(
            f"{divergences} of {num_draws} transitions diverged: parts of the posterior may be "
            "missing; raise target_acceptance or take tighter priors"
        )
    if step <= _COLLAPSED:
        messages.append(
            f"the step size collapsed to {step:.1e} in spite of {retries} restarts: data are "
            "near-duplicates, or the noise is too small for them"
        )
    return HyperDraws.equal(
        torch.from_numpy(draws.reshape(-1, density.size)).to(gp.device),
        num_chains=num_chains,
        messages=tuple(messages),
        details=details,
        statistics={n: v.to(gp.device) for n, v in _by_draw(statistics, step).items()},
    )


def _by_draw(done: Sequence[Transition], step: float) -> dict[str, torch.Tensor]:
    """What the transitions did, each (S,), one chain after the other."""
    columns = {
        "lp": [t.state.value for t in done],
        "energy": [t.energy for t in done],
        "diverging": [t.diverged for t in done],
        "acceptance_rate": [t.acceptance for t in done],
        "n_steps": [t.leapfrogs.astype(np.int64) for t in done],
        "tree_depth": [t.depth for t in done],
    }
    found = {name: torch.from_numpy(np.stack(c, 1).reshape(-1)) for name, c in columns.items()}
    return {**found, "step_size": torch.full_like(found["lp"], step)}


def chain_diagnostics(draws: np.ndarray, names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """R̂, bulk and tail ESS per hyper-parameter of draws (chains, N, p), and what they warn of."""
    table = {
        kind: dict(zip(names, measure(draws).tolist(), strict=True))
        for kind, measure in (("rhat", r_hat), ("bulk_ess", bulk_ess), ("tail_ess", tail_ess))
    }
    messages = []
    # a hyper-parameter that never moved has NaN, which is worse than any number
    worst = max(table["rhat"], key=lambda name: np.nan_to_num(table["rhat"][name], nan=np.inf))
    if not table["rhat"][worst] <= RHAT:
        slightly = table["rhat"][worst] <= _NOT_CONVERGED
        words = "do not quite agree" if slightly else "have NOT converged"
        remedy = "draws" if slightly else "warm-up and draws, or tighter priors"
        messages.append(
            f"the chains {words}: R-hat of {worst} is {table['rhat'][worst]:.3f}, and should be "
            f"at most {RHAT}; take more {remedy}"
        )
    enough = ESS_PER_CHAIN * len(draws)
    both = {n: np.nan_to_num(min(table["bulk_ess"][n], table["tail_ess"][n])) for n in names}
    fewest = min(both, key=lambda name: both[name])
    if not both[fewest] >= enough:
        messages.append(
            f"draws of {fewest} are worth only {table['bulk_ess'][fewest]:.0f} independent ones "
            f"(bulk), {table['tail_ess'][fewest]:.0f} in the tails, and should be worth {enough}, "
            f"{ESS_PER_CHAIN} for each chain: take more"
        )
    return table, messages


class _HyperChains(Chains[Transition]):
    """Chains with their dense metric; positions are q, u = center + R q."""

    def __init__(
        self,
        density: HyperPosterior,
        metric: tuple[np.ndarray, np.ndarray],
        start: np.ndarray,
        random: np.random.Generator,
        max_depth: int,
    ) -> None:
        self.density, self.random, self.max_depth = density, random, max_depth
        self.center, self.factor = metric
        self.diverged: list[int] = []  # transition by transition
        self._stand_at(start)

    def _stand_at(self, u: np.ndarray) -> None:
        """Start anew from u, (C, p), with a step that suits the metric as it is."""
        q = np.linalg.solve(self.factor, (u - self.center).T).T
        self.state = State(q, *self._log_density(q, np.arange(len(q))))
        self.step = 1.0 / u.shape[1] ** 0.25

    def _log_density(self, q: np.ndarray, chains: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        u = torch.from_numpy(self.unconstrained(q)).to(self.density.gp.device)
        value, gradient = self.density(u)
        return value.cpu().numpy(), gradient.cpu().numpy() @ self.factor

    def unconstrained(self, q: np.ndarray) -> np.ndarray:
        """u, (C, p), of q."""
        u: np.ndarray = q @ self.factor.T + self.center
        return u

    def move(self, step: float) -> Transition:
        """One tree of each chain."""
        depth = self.max_depth
        done = transition(self._log_density, self.state, step, self.random, max_depth=depth)
        self.state = done.state
        self.diverged.append(int(done.diverged.sum()))
        return done

    def mean_acceptance(self, moved: Transition) -> float:
        return float(moved.acceptance.mean())

    def learn_scale(self, moves: Sequence[Transition]) -> None:
        """R from the covariance of all chains, drawn a little towards the one before."""
        u = np.concatenate([self.unconstrained(moved.state.q) for moved in moves])
        count, size = u.shape
        held = (size + 5) / (count + size + 5)
        covariance = (1 - held) * np.cov(u.T).reshape(size, size)
        covariance += held * self.factor @ self.factor.T
        now = self.unconstrained(self.state.q)
        self.center, self.factor = u.mean(0), np.linalg.cholesky(covariance)
        self._stand_at(now)


def _spread_out(
    density: HyperPosterior,
    modes_found: torch.Tensor,
    factor: torch.Tensor,
    chains: int,
    random: np.random.Generator,
) -> np.ndarray:
    """Starting points wider than the posterior: among good ones, some at random.

    Candidates are the ends of all climbs and draws of twice Laplace's width; good is what is at
    most 3 + p nats below the best.
    """
    size = density.size
    normal = torch.from_numpy(random.standard_normal((16 * chains, size))).to(factor.device)
    candidates = torch.cat([modes_found, modes_found[0] + 2 * normal @ factor.mT])
    value = density(candidates)[0]
    good = (value >= value.max() - 3 - size).nonzero()[:, 0].cpu().numpy()
    picked = random.choice(good, size=chains, replace=len(good) < chains)
    return candidates.cpu()[torch.from_numpy(picked)].numpy()
