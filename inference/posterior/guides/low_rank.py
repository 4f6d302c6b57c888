"""A Normal for each datum whose covariance is diagonal plus a few directions."""

from __future__ import annotations

import math
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.distributions.kl import register_kl

from inference.posterior.guides.family import Family
from inference.posterior.guides.normal import NORMAL, NormalGuide, start_of
from inference.posterior.guides.per_datum import PerDatumGuide, for_data
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["LOW_RANK", "LowRankGuide", "LowRankNormal"]


class LowRankNormal(dist.LowRankMultivariateNormal):
    """N(μ, W Wᵀ + diag v), whose divergence from independent Normals is known in closed form."""

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
        log_det = v.log().sum(-1) + 2 * C.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = value.shape[-1] * math.log(2 * math.pi)
        log_prob: Tensor = -0.5 * (quadratic + log_det + constant)
        return log_prob


@register_kl(LowRankNormal, Independent)
def _kl_from_independent(q: LowRankNormal, p: Independent) -> Tensor:
    """½ [Σ_d ((Σ_dd + (μ_d − m_d)²) / s_d² − 1 + 2 log s_d) − log |Σ|] for p = N(m, diag s²)."""
    base = p.base_dist
    if not isinstance(base, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    W, v = q._unbroadcasted_cov_factor, q._unbroadcasted_cov_diag
    variance = W.square().sum(-1) + v
    # |W Wᵀ + V| = |V| |I + Wᵀ V⁻¹ W|
    diagonal = q._capacitance_tril.diagonal(dim1=-2, dim2=-1)
    log_det = v.log().sum(-1) + 2 * diagonal.log().sum(-1)
    quadratic = (variance + (q.loc - base.loc).square()) / base.scale.square() - 1
    kl: Tensor = 0.5 * ((quadratic + 2 * base.scale.log()).sum(-1) - log_det)
    return kl


class LowRankGuide(PerDatumGuide):
    """q(z) = Π_b N(z_b; μ_b, W_b W_bᵀ + diag v_b), W_b of ``rank`` columns, every site on its own.

    Parameters
    ----------
    given
        Whose latents it is for; it begins at their start.
    rank
        Columns of W; no more than a site has dimensions are used.
    scale
        Standard deviations to begin with, as a share of the prior's.
    """

    def __init__(self, target: LogDensity, *, rank: int = 2, scale: float = 0.1) -> None:
        super().__init__()
        check_counts(rank=rank)
        start = start_of(target, scale)
        several = [name for name, m in start.items() if m.mean.dim() != 2]
        if several:
            raise UsageError(f"the guide low_rank is of vectors, and {several[0]} is none")
        self.loc = nn.ParameterDict({n: nn.Parameter(m.mean.clone()) for n, m in start.items()})
        self.log_scale = nn.ParameterDict(
            {name: nn.Parameter(m.scale.log()) for name, m in start.items()}
        )
        # small, and not 0, where its gradient would vanish
        self.factor = nn.ParameterDict(
            {
                name: nn.Parameter(
                    0.1 * m.scale.unsqueeze(-1) * _noise(m.mean, min(rank, m.mean.shape[1]))
                )
                for name, m in start.items()
            }
        )

    def sample(self, index: Tensor) -> None:
        """Sample every site; what x is does not matter."""
        for name, loc in self.loc.items():
            variance = (2 * self.log_scale[name]).exp()
            pyro.sample(name, LowRankNormal(loc, self.factor[name], variance))

    def means(self) -> dict[str, Tensor]:
        """E[z] of every site, (B, \\*event_shape)."""
        return dict(self.loc.items())


def _noise(like: Tensor, rank: int) -> Tensor:
    return torch.randn(*like.shape, rank, dtype=like.dtype, device=like.device)


def _within(target: LogDensity, guide: nn.Module, member: nn.Module) -> LowRankGuide:
    """Independent Normals, with a hundredth of their scales in the further directions."""
    normal, own = (
        cast(NormalGuide, member),
        for_data(cast(LowRankGuide, guide), slice(None), len(target)),
    )
    with torch.no_grad():
        for name, loc in normal.loc.items():
            scale = normal.log_scale[name]
            own.loc[name].copy_(loc)
            own.log_scale[name].copy_(scale)
            rank = own.factor[name].shape[-1]
            own.factor[name].copy_(0.01 * scale.exp().unsqueeze(-1) * _noise(loc, rank))
    return own


LOW_RANK = Family(LowRankGuide, contains=NORMAL, within=_within)
