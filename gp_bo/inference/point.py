"""One value of the hyper-parameters: maximum likelihood and maximum a posteriori."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.maximize import Maximum, maximize, starting_points
from gp_bo.likelihoods import Gaussian
from gp_bo.model import GPModel, HyperPosterior
from gp_bo.scaling import widths
from pyro_models import UsageError
from pyro_models.counts import check_counts
from pyro_models.seeds import seeded

__all__ = ["map_estimate", "maximum_likelihood", "modes"]

_WALL = math.log(1e6)


class _Walled:
    """Log evidence, less ½ (|u − c| − log 10⁶)² beyond a factor 10⁶ from the data's own scale.

    Without a prior the evidence may rise forever: towards no noise, or an endless length-scale.
    """

    def __init__(self, gp: GPModel) -> None:
        self.evidence = HyperPosterior(gp, prior=False)
        width, spread = widths(gp.X)[1], gp.spread
        self.center = gp.y.new_zeros(gp.hyperparameters.size)
        self.held = torch.ones_like(self.center, dtype=torch.bool)
        for site in gp.hyperparameters.sites:
            own = slice(site.start, site.stop)
            self.held[own] = site.kind != "identity"
            if site.kind == "exp":
                self.center[own] = site.parameter.log_unit(width, spread).reshape(-1)

    def __call__(self, u: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = self.evidence(u)
        offset = u - self.center
        beyond = torch.where(self.held, (offset.abs() - _WALL).clamp_min(0.0), 0.0)
        return value - 0.5 * beyond.square().sum(-1), gradient - beyond * offset.sign()


def maximum_likelihood(gp: GPModel, *, seed: int = 0, restarts: int = 8) -> HyperDraws:
    """argmax_θ log p(y | X, θ), by BFGS from several starts, all in one batch.

    A hyper-parameter that the data would send off to 0 or ∞ ends about a factor 10⁶ from the
    data's own scale. Where no start has a finite evidence there is a ``UsageError``.
    """
    check_counts(restarts=restarts)
    if not gp.hyperparameters.size:
        return _single(_nothing_to_maximize(gp), gp)
    starts = starting_points(gp, restarts, generator=torch.Generator().manual_seed(seed))
    return _single(maximize(_Walled(gp), starts), gp)


def map_estimate(gp: GPModel, *, seed: int = 0, restarts: int = 8) -> HyperDraws:
    """argmax_θ p(θ | y), the mode of the density of θ itself, as of Pyro's ``AutoDelta``."""
    return _single(modes(gp, seed=seed, restarts=restarts, jacobian=False), gp)


def modes(gp: GPModel, *, seed: int, restarts: int, jacobian: bool) -> Maximum:
    """Ends of climbs on the hyper-posterior: half from the data's own scale, half from the prior.

    With the Jacobian the density is that of u, without it that of θ.
    """
    check_counts(restarts=restarts)
    hyper = gp.hyperparameters
    if not hyper.size:
        return _nothing_to_maximize(gp)
    starts = starting_points(gp, restarts, generator=torch.Generator().manual_seed(seed))
    with seeded(seed, gp.device):
        drawn = hyper.unconstrain(hyper.sample(restarts // 2))
    starts[: len(drawn)] = drawn.clamp(-_WALL, _WALL)
    return maximize(HyperPosterior(gp, jacobian=jacobian), starts)


def _nothing_to_maximize(gp: GPModel) -> Maximum:
    return Maximum(gp.y.new_zeros(1, 0), gp.y.new_zeros(1), 0, 0.0)


def _single(found: Maximum, gp: GPModel) -> HyperDraws:
    if not bool(found.values[0].isfinite()):
        raise UsageError(
            "the covariance has no Cholesky factor at any starting point: allow some noise"
        )
    message = (
        f"the maximum was not reached: a gradient of {found.gradient:.1e} is left after "
        f"{found.steps} steps"
    )
    if isinstance(gp.likelihood, Gaussian) and bool((gp.y == gp.y[0]).all()):
        message = (
            "y is the same in every row: ever smaller variances fit it better, so no maximum was "
            "reached, and hyper-parameters mean little"
        )
    messages = (message,) if found.gradient > 1e-2 else ()
    details = {"objective": float(found.values[0]), "steps": found.steps}
    return HyperDraws.equal(found.points[:1], messages=messages, details=details)
