"""Normals that are found, not fitted: Pathfinder's, and the posterior itself where it is one."""

from __future__ import annotations

from dataclasses import replace

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from inference.posterior.guides.family import Family
from inference.posterior.guides.full_covariance import FULL_COVARIANCE, FullCovarianceGuide
from inference.posterior.guides.laplace import hessian
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity
from inference.programs.guides.of_sites import pair_of
from inference.programs.pair import SITE, ProgramPair
from inference.programs.pathfinder import Gaussian, StartOfChains, paths
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["DENSE", "EXACT", "PATHFINDER"]

_PROBES = 64  # points where log p must be quadratic
_ROUNDING = 50  # units in the last place of log p that rounding may make of it


class MixtureGuide(PerDatumGuide):
    """q(u) = (1/P) Σ_p N(u; μ_p, L_p L_pᵀ): the Normals of several paths."""

    def __init__(self, loc: Tensor, scale_tril: Tensor) -> None:
        super().__init__()
        self.loc = nn.Parameter(loc.unsqueeze(0))
        self.scale_tril = nn.Parameter(scale_tril.unsqueeze(0))

    def sample(self, index: Tensor) -> None:
        """Sample u."""
        normals = dist.MultivariateNormal(self.loc, scale_tril=self.scale_tril)
        even = dist.Categorical(logits=torch.zeros_like(self.loc[..., 0]))
        pyro.sample(SITE, dist.MixtureSameFamily(even, normals))

    def means(self) -> dict[str, Tensor]:
        """E[u], (1, D)."""
        return {SITE: self.loc.mean(1)}


def _pathfinder(
    target: LogDensity, *, num_paths: int = 4, max_steps: int = 200
) -> FullCovarianceGuide | MixtureGuide:
    """The best Normal of one path, or an even mixture of those of several.

    ``resample=`` of ``infer`` then redraws it by importance weights (Zhang et al. 2022, section 3).
    """
    check_counts(num_paths=num_paths, max_steps=max_steps)
    pair, seed = pair_of(target), int(torch.randint(2**31, (), device="cpu"))
    found = paths(pair.program, num_paths=num_paths, max_steps=max_steps, seed=seed)
    if not found:
        raise UsageError("no path of pathfinder leads up: name another guide, such as nuts")
    if num_paths == 1:
        return _standard(pair, found[0])
    scale = pair.scale.unsqueeze(-1)
    loc = torch.stack([pair.standard(g.loc) for g in found])
    return MixtureGuide(loc, torch.stack([g.scale_tril / scale for g in found]))


def _standard(pair: ProgramPair, normal: Gaussian) -> FullCovarianceGuide:
    loc, tril = pair.standard(normal.loc), normal.scale_tril / pair.scale.unsqueeze(-1)
    return FullCovarianceGuide({SITE: loc.shape}, loc.unsqueeze(0), tril.unsqueeze(0))


def _exact(target: LogDensity) -> FullCovarianceGuide:
    """N(u* , H⁻¹) where log p(x, u) is quadratic in u, and so is the log of the posterior.

    One Newton step leads to u* = argmax log p(x, u) from anywhere, H = −∇² log p(x, u); log p at 64
    draws must be what the quadratic form says, but for rounding.
    """
    pair = pair_of(target)
    D = pair.program.dim

    def log_p(u: Tensor) -> Tensor:
        return pair.log_terms(u).joint

    origin = torch.zeros_like(pair.loc).unsqueeze(0)
    H = hessian(target, {SITE: origin})[0].detach().double().cpu()
    with torch.enable_grad():
        leaf = origin.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(log_p(leaf).sum(), leaf)
    tril, wrong = torch.linalg.cholesky_ex(H)
    if int(wrong):
        raise UsageError(_not_exact(pair, "its curvature is not that of a maximum"))
    loc = torch.cholesky_solve(gradient[0].double().cpu().unsqueeze(-1), tril).squeeze(-1)
    covariance_tril = torch.linalg.cholesky(torch.cholesky_inverse(tril))
    drawn = torch.randn(_PROBES, D, dtype=torch.float64, device="cpu")
    points = (loc + 2 * drawn @ covariance_tril.T).to(pair.loc)
    with torch.no_grad():
        values, top = log_p(points).double().cpu(), log_p(loc.to(pair.loc).unsqueeze(0))
    away = points.double().cpu() - loc
    says = top.double().cpu() - 0.5 * ((away @ H) * away).sum(-1)
    off = float((values - says).abs().max())
    rounding = _ROUNDING * torch.finfo(pair.loc.dtype).eps * max(1.0, float(values.abs().max()))
    if not off < max(1e-3, rounding):
        raise UsageError(_not_exact(pair, f"it is off a quadratic form by {off:.3g} nats"))
    shape = {SITE: torch.Size((D,))}
    return FullCovarianceGuide(
        shape, loc.to(pair.loc).unsqueeze(0), covariance_tril.to(pair.loc).unsqueeze(0)
    )


def _not_exact(pair: ProgramPair, why: str) -> str:
    return (
        f"the posterior of {pair.program.name} is not normal in unconstrained reals: {why}; name "
        "another guide, such as full_covariance or nuts"
    )


def _dense(target: LogDensity, *, scale: float | None = None) -> nn.Module:
    """The best Normal of Pathfinder to begin with: along a ridge small steps lead nowhere.

    With a ``scale``, or where there is none, uncorrelated as for pairs.
    """
    start = pair_of(target).chain_start
    if scale is not None or not isinstance(start, StartOfChains):
        return FULL_COVARIANCE.make(target, **({} if scale is None else {"scale": scale}))
    loc, tril = start.best
    return FullCovarianceGuide({SITE: loc.shape[1:]}, loc, tril)


DENSE = replace(FULL_COVARIANCE, make=_dense)
PATHFINDER = Family(_pathfinder, fitted=False)
EXACT = Family(_exact, fitted=False)
