"""The hyper-posterior by any guide for Pyro models: a Gaussian process is one."""

from __future__ import annotations

from typing import Any

from gp_bo.inference.draws import HyperDraws
from gp_bo.model import GPModel
from inference.programs.infer import infer_program
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["of_guide"]


def of_guide(
    gp: GPModel, *, guide: str, seed: int = 0, num_draws: int = 256, **options: Any
) -> HyperDraws:
    """``num_draws`` of the posterior that :func:`inference.infer` finds by a guide.

    ``options`` are the guide's. The ELBO is in the details where the guide has a density.
    """
    check_counts(num_draws=num_draws)
    if not gp.hyperparameters.size:
        raise UsageError("every hyper-parameter is fixed: nothing is left to infer; use map")
    found = infer_program(gp, guide=guide, guide_options=options, seed=seed)
    u = gp.hyperparameters.unconstrain(found.sample(num_draws, seed=seed)).detach()
    details = {"elbo": float(found.elbo.value), "k_hat": found.k_hat} if found.density else {}
    return HyperDraws.equal(u.to(gp.X), details=details)
