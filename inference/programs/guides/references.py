"""References that other guides are measured by: a grid for few unknowns, and Pyro's own NUTS."""

from __future__ import annotations

from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

from inference.even_grid import even_grid
from inference.mcmc import diagnostics
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.guides.family import Family
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity, condition
from inference.programs.guides.of_sites import pair_of
from inference.programs.pair import SITE
from inference.progress import bar
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["PYRO_NUTS", "QUADRATURE", "GridGuide"]

_NEGLIGIBLE = 1e-12  # weight of a point that is left out
_AT_ONCE = 2**14  # points


class GridGuide(PerDatumGuide):
    """Points of a grid with the shares of the posterior that they stand for.

    Given are u, (N, D), weights (N,), and log p(x), nats.
    """

    per_datum = ("points", "weights")
    points: Tensor
    weights: Tensor

    def __init__(self, points: Tensor, weights: Tensor, log_evidence: float) -> None:
        super().__init__()
        self.register_buffer("points", points.unsqueeze(0))
        self.register_buffer("weights", weights.unsqueeze(0))
        self.log_evidence = log_evidence

    def sample(self, index: Tensor) -> None:
        """Sample u."""
        which = pyro.sample(
            "_which_point", dist.Categorical(self.weights), infer={"is_auxiliary": True}
        )
        value = self.points[index.to(which.device), which]
        pyro.sample(SITE, dist.Delta(value, event_dim=1))

    def means(self) -> dict[str, Tensor]:
        """E[u], (1, D)."""
        return {SITE: (self.weights.unsqueeze(-1) * self.points).sum(1)}


def _quadrature(target: LogDensity, *, num_points: int = 0) -> GridGuide:
    """p(u | x) of one or two unknowns on an even grid that grows until it holds the posterior.

    ``num_points`` on each axis are 801 for one unknown and 101 for each of two unless given.
    """
    pair = pair_of(target)
    D = pair.program.dim
    if D > 2:
        raise UsageError(
            f"quadrature is for one or two unknowns, and {pair.program.name} has {D}: name nuts"
        )
    num_points = num_points or (801 if D == 1 else 101)
    check_counts(least=5, num_points=num_points)

    def log_density(u: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [pair.log_terms(part.to(pair.loc)).joint for part in u.split(_AT_ONCE)]
        return torch.cat(parts).to(u).nan_to_num(nan=-torch.inf)

    wide = torch.float64 if pair.loc.device.type != "mps" else pair.loc.dtype
    ends = pair.loc.new_full((D,), 5.0, dtype=wide)
    grid = even_grid(log_density, -ends, ends, num_points=num_points)
    if not grid.whole:
        raise UsageError(
            f"the posterior of {pair.program.name} does not fall off: there is mass beyond every "
            "grid; look at an improper prior"
        )
    weights = grid.weights
    kept = weights > _NEGLIGIBLE
    shares = (weights[kept] / weights[kept].sum()).to(pair.loc)
    return GridGuide(grid.points[kept].to(pair.loc), shares, float(grid.log_total))


def _pyro_nuts(
    target: LogDensity, *, num_samples: int = 250, num_chains: int = 4, warmup: int = 300
) -> DrawsGuide:
    """Pyro's NUTS, one chain after the other: a cross-check of ``nuts`` with another sampler."""
    check_counts(num_samples=num_samples, num_chains=num_chains, warmup=warmup)
    pair = pair_of(target)
    start = getattr(pair, "chain_start", None)
    begin = condition(pair, target.data, guide=start).sample_start(num_chains)[:, 0]

    def potential(values: dict[str, Tensor]) -> Tensor:
        return -pair.log_terms(values[SITE].unsqueeze(0)).joint.sum()

    chains, diverging = [], []
    moving = bar(num_chains * (warmup + num_samples), unit="transitions", what="pyro_nuts")
    for u in begin:
        kernel = NUTS(potential_fn=potential)
        run = MCMC(
            kernel,
            num_samples=num_samples,
            warmup_steps=warmup,
            initial_params={SITE: u},
            disable_progbar=True,
            hook_fn=lambda *_: moving.update(),
        )
        with torch.enable_grad():
            run.run()
        chains.append(run.get_samples()[SITE].detach())
        wrong: Any = run.diagnostics()["divergences"]["chain 0"]
        diverging.append(
            torch.zeros_like(chains[-1][:, 0]).index_fill(
                0, torch.as_tensor(wrong, dtype=torch.long, device=u.device), 1.0
            )
        )
    moving.close()
    draws = torch.stack(chains, 1)  # (S, C, D)
    r_hat = torch.as_tensor(diagnostics.r_hat(draws.transpose(0, 1)).max())
    return DrawsGuide(
        {SITE: draws.flatten(0, 1).unsqueeze(1)},
        num_chains=num_chains,
        stats={"diverging": torch.stack(diverging, 1).flatten().unsqueeze(1) > 0},
        r_hat=r_hat.reshape(1),
    )


QUADRATURE = Family(_quadrature, fitted=False, density=False)
PYRO_NUTS = Family(_pyro_nuts, fitted=False, density=False)
