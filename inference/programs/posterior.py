"""q(θ | x) of a program: draws, moments, intervals and densities in the model's own sites."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inference.evaluation.table import Table
from inference.posterior.bound import Bound
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.posterior import Posterior
from inference.programs.describing import arviz_of, summary_of
from inference.programs.guides.references import GridGuide
from inference.programs.pair import SITE, ProgramPair
from inference.programs.program import Program
from inference.programs.storing import read_posterior, write_posterior
from pyro_models import UsageError
from pyro_models.brief import Brief
from pyro_models.counts import check_counts

__all__ = ["ProgramPosterior"]

_DRAWS = 4000  # behind moments and intervals of a guide with a density


@dataclass(frozen=True, eq=False)
class ProgramPosterior(Brief):
    """q(θ | x) of a Pyro model, as :func:`inference.infer` returns it.

    Draws and moments are by site, in the values that the model has (constrained). Methods that
    sample take a seed and leave the caller's generators alone.

    Attributes
    ----------
    posterior
        The posterior of the program as a pair of one datum, over u in standard units.
    options
        Options that the guide was made with.
    """

    posterior: Posterior
    options: Mapping[str, Any] = field(default_factory=dict)

    def facts(self) -> Mapping[str, object]:
        """The guide, the model, and the bound where there is one."""
        found = {"": f"{self.name} for {self.program.name}"}
        found["dimensions"] = f"{self.program.dim} unconstrained reals"
        if self.density and math.isfinite(float(self.elbo.value)):
            value, error = float(self.elbo.value), float(self.elbo.standard_error)
            found["ELBO"] = f"{value:.2f} ± {error:.2f} nats"
        return found

    @property
    def pair(self) -> ProgramPair:
        """The program as a pair."""
        assert isinstance(self.posterior.pair, ProgramPair)
        return self.posterior.pair

    @property
    def program(self) -> Program:
        """The model with its arguments."""
        return self.pair.program

    @property
    def name(self) -> str:
        """Name of the guide."""
        return self.posterior.name

    @property
    def density(self) -> bool:
        """Whether q has a density."""
        return self.posterior.density

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of the inference."""
        return self.posterior.seconds

    @property
    def num_parameters(self) -> int:
        """Numbers that the guide keeps."""
        return int(self.posterior.num_parameters)

    @property
    def stopped(self) -> str:
        """How the fit ended."""
        return self.posterior.stopped[0]

    @property
    def steps(self) -> int:
        """Steps of the fit."""
        return int(self.posterior.steps[0])

    @property
    def seed(self) -> int:
        """Random seed of the inference."""
        return self.posterior.seed

    def sample(self, n: int, *, seed: int = 0) -> dict[str, Tensor]:
        """n draws of every continuous latent, site → (n, \\*shape)."""
        return self.constrained(self.posterior.sample(n, seed=seed)[SITE][:, 0])

    def constrained(self, u: Tensor) -> dict[str, Tensor]:
        """Values by site, (\\*batch, \\*shape), of u in standard units, (\\*batch, D)."""
        with torch.no_grad():
            return self.program.constrain(self.pair.reals(u))

    @cached_property
    def draws(self) -> dict[str, Tensor]:
        """All draws of a chain or a resampling, all points of a grid, or 4,000 draws of q.

        Site → (n, \\*shape).
        """
        guide = self.posterior.guide
        if isinstance(guide, GridGuide):
            return self.constrained(guide.points[0])
        if isinstance(guide, DrawsGuide):
            return self.constrained(guide.draws[SITE][0])
        return self.sample(_DRAWS)

    @cached_property
    def weights(self) -> Tensor:
        """Shares of ``draws``, (n,): equal but for a grid."""
        guide = self.posterior.guide
        if isinstance(guide, GridGuide):
            return guide.weights[0]
        first = next(iter(self.draws.values()))
        return first.new_full((len(first),), 1 / len(first))

    @cached_property
    def mean(self) -> dict[str, Tensor]:
        """E_q[θ] by site."""
        return {name: self._average(values) for name, values in self.draws.items()}

    @cached_property
    def sd(self) -> dict[str, Tensor]:
        """Standard deviations by site."""
        return {
            name: self._average((values - self.mean[name]).square()).sqrt()
            for name, values in self.draws.items()
        }

    def _average(self, values: Tensor) -> Tensor:
        return torch.einsum("n,n...->...", self.weights.to(values), values)

    def interval(self, level: float = 0.9) -> dict[str, Tensor]:
        """The central interval that holds a share ``level`` of q: site → (2, \\*shape)."""
        if not 0 < level < 1:
            raise UsageError(f"the level of an interval lies between 0 and 1; got {level}")
        ends = [(1 - level) / 2, (1 + level) / 2]
        return {name: self._quantiles(values, ends) for name, values in self.draws.items()}

    def _quantiles(self, values: Tensor, at: list[float]) -> Tensor:
        """Weighted quantiles, (len(at), \\*shape)."""
        ordered, order = values.reshape(len(values), -1).sort(0)
        below = self.weights.to(values)[order].cumsum(0)
        rows = [(below < level).sum(0, keepdim=True).clamp_max(len(values) - 1) for level in at]
        found = torch.cat([ordered.gather(0, row) for row in rows])
        return found.reshape(len(at), *values.shape[1:])

    @property
    def log_evidence(self) -> float | None:
        """log p(x), nats, where the guide knows it: that of ``quadrature`` and ``exact``."""
        if isinstance(self.posterior.guide, GridGuide):
            return self.posterior.guide.log_evidence
        return float(self.elbo.value) if self.name == "exact" else None

    def log_prob(self, values: Mapping[str, Tensor]) -> Tensor:
        """log q(θ | x), (\\*batch,), nats, of values by site, (\\*batch, \\*shape).

        log q(u) − log |dθ/du|.
        """
        with torch.no_grad():
            reals, log_det = self.program.unconstrain(values)
            u = self.pair.standard(reals)
            log_q = self.posterior.log_prob({SITE: u.reshape(-1, 1, u.shape[-1])})
            return log_q.reshape(log_det.shape) - log_det - self.pair.log_det

    @cached_property
    def elbo(self) -> Bound:
        """E_q[log p(x, θ) − log q(θ)] ≤ log p(x) from 1,000 draws, a scalar with its error."""
        return _of_one(self.posterior.elbo(num_particles=1000))

    def importance_bound(self, num_particles: int, *, seed: int = 0) -> Bound:
        """L_K = log (1/K) Σ_k w_k, whose mean is below log p(x)."""
        return _of_one(self.posterior.importance_bound(num_particles, seed=seed))

    def log_weights(self, num_particles: int, *, seed: int = 0) -> Tensor:
        """log w_k = log p(x, θ_k) − log q(θ_k), (K,), nats."""
        return self.posterior.log_weights(num_particles, seed=seed)[:, 0]

    def effective_sample_size(self, num_particles: int = 1000, *, seed: int = 0) -> float:
        """(Σ w)² / Σ w² of K weights."""
        return float(self.posterior.effective_sample_size(num_particles, seed=seed))

    @cached_property
    def k_hat(self) -> float:
        """Pareto k̂ of 1,000 weights: above 0.7 estimates from them cannot be relied upon."""
        return float(self.posterior.k_hat(1000))

    def resampled(self, num_particles: int, *, seed: int = 0) -> ProgramPosterior:
        """Sampling importance resampling of K draws: see :meth:`Posterior.resampled`."""
        return replace(self, posterior=self.posterior.resampled(num_particles, seed=seed))

    def predictive(self, n: int, *, seed: int = 0) -> dict[str, Tensor]:
        """n replications of the data, x ~ p(x | θ), θ ~ q: observed site → (n, \\*shape)."""
        check_counts(n=n)
        return self.program.predict(self.sample(n, seed=seed), seed=seed)

    def chains(self) -> tuple[dict[str, Tensor], dict[str, Tensor]] | None:
        """Draws by site, (C, S, \\*shape), and what is known of each; ``None`` without chains."""
        guide = self.posterior.guide
        if not isinstance(guide, DrawsGuide) or not guide.num_chains:
            return None
        draws, stats = guide.chains()
        return self.constrained(draws[SITE][:, :, 0]), {n: v[:, :, 0] for n, v in stats.items()}

    def summary(self) -> Table:
        """Mean, standard deviation, 5 % and 95 % of every number; R̂ and effective draws of chains.

        The effective number of draws is that of the middle (bulk).
        """
        return summary_of(self)

    def to_arviz(self, *, num_draws: int = 1000, seed: int = 0) -> Any:
        """ArviZ's inference data (a DataTree since ArviZ 1), dimensions named after plates.

        All draws of chains with their statistics, or ``num_draws`` as one chain; and the data.
        """
        return arviz_of(self, num_draws=num_draws, seed=seed)

    def save(self, path: str | Path) -> None:
        """Write it to a file of tensors and plain values; no code is in it."""
        write_posterior(self.posterior, self.options, path)

    @staticmethod
    def load(path: str | Path, program: Program, *, guide: Any = None) -> ProgramPosterior:
        """Read one that was saved; the program is given again, and a guide of one's own.

        Another program, or other data, is refused.
        """
        return ProgramPosterior(*read_posterior(path, program, guide))


def _of_one(bound: Bound) -> Bound:
    return Bound(bound.value[0], bound.standard_error[0], bound.num_particles)
