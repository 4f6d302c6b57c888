"""A Normal for each datum whose covariance is diagonal plus a few directions."""

from __future__ import annotations

import math
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent
from torch.distributions.kl import register_kl

from inference.posterior.continuous import check_vectors
from inference.posterior.guides.family import Family
from inference.posterior.guides.full_covariance import kl_from_independent
from inference.posterior.guides.normal import NORMAL, NormalGuide, start_of
from inference.posterior.guides.per_datum import for_data
from inference.posterior.log_density import LogDensity
from pyro_models.counts import check_counts

__all__ = ["LOW_RANK", "LowRankGuide", "LowRankNormal"]


class LowRankNormal(dist.LowRankMultivariateNormal):
    """N(μ, W Wᵀ + diag v), whose divergence from independent Normals is known in closed form."""

    def log_det(self) -> Tensor:
        """log |W Wᵀ + V| = log |V| + log |I + Wᵀ V⁻¹ W|."""
        diagonal = self._capacitance_tril.diagonal(dim1=-2, dim2=-1)
        return self._unbroadcasted_cov_diag.log().sum(-1) + 2 * diagonal.log().sum(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q, nats, in sums of squares: no difference of large numbers where W is far above v.

        (z − μ)ᵀ (W Wᵀ + V)⁻¹ (z − μ) = |a|² + Σ_d r_d² / v_d with r = z − μ − W a and
        a = (I + Wᵀ V⁻¹ W)⁻¹ Wᵀ V⁻¹ (z − μ), which makes the sum least.
        """
        W, v = self._unbroadcasted_cov_factor, self._unbroadcasted_cov_diag
        C = self._capacitance_tril
        away = value - self.loc
        scaled = W.mT @ (away / v).unsqueeze(-1)
        half = torch.linalg.solve_triangular(C, scaled, upper=False)
        a = torch.linalg.solve_triangular(C.mT, half, upper=True)
        rest = away - (W @ a).squeeze(-1)
        quadratic = a.squeeze(-1).square().sum(-1) + (rest.square() / v).sum(-1)
        constant = value.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (quadratic + self.log_det() + constant)


@register_kl(LowRankNormal, Independent)
def _kl_of_low_rank(q: LowRankNormal, p: Independent) -> Tensor:
    W, v = q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag
    return kl_from_independent(q.loc, W.square().sum(-1) + v, q.log_det(), p)


class LowRankGuide(NormalGuide):
    r"""A Normal whose covariance is of low rank and a diagonal, every site on its own.

    .. math:: q(z) = \prod_b \N(z_b; μ_b, W_b W_b^⊤ + \diag v_b)

    W has ``rank`` columns, of which no more than a site has dimensions are used. It begins where
    fits begin, v at ``scale`` times the prior's standard deviations.
    """

    def __init__(self, target: LogDensity, *, rank: int = 2, scale: float = 0.1) -> None:
        check_counts(rank=rank)
        start = start_of(target, scale)
        check_vectors("low_rank", {name: m.mean for name, m in start.items()})
        super().__init__(start)
        self.factor = nn.ParameterDict()
        for name, m in start.items():  # small, and not 0, where its gradient would vanish
            noise = _noise(m.mean, min(rank, m.mean.shape[1]))
            self.factor[name] = nn.Parameter(0.1 * m.scale.unsqueeze(-1) * noise)

    def sample(self, index: Tensor) -> None:
        """Sample every site."""
        for name, loc in self.loc.items():
            variance = (2 * self.log_scale[name]).exp()
            pyro.sample(name, LowRankNormal(loc, self.factor[name], variance))


def _noise(like: Tensor, rank: int) -> Tensor:
    return torch.randn(*like.shape, rank, dtype=like.dtype, device=like.device)


def _within(target: LogDensity, guide: nn.Module, member: nn.Module) -> LowRankGuide:
    """Independent Normals, with a hundredth of their scales in the further directions."""
    normal, own = cast(NormalGuide, member), for_data(cast(LowRankGuide, guide), ..., len(target))
    with torch.no_grad():
        for name, loc in normal.loc.items():
            scale = normal.log_scale[name]
            own.loc[name].copy_(loc)
            own.log_scale[name].copy_(scale)
            rank = own.factor[name].shape[-1]
            own.factor[name].copy_(0.01 * scale.exp().unsqueeze(-1) * _noise(loc, rank))
    return own


LOW_RANK = Family(LowRankGuide, contains=NORMAL, within=_within)
