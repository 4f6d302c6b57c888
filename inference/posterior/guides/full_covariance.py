"""One multivariate Normal for each datum, over all continuous sites together."""

from __future__ import annotations

import math
from typing import cast

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal
from torch.distributions.kl import register_kl

from inference.posterior.continuous import by_site, side_by_side
from inference.posterior.guides.family import Family
from inference.posterior.guides.normal import NORMAL, NormalGuide, check_scale
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity

__all__ = ["FULL_COVARIANCE", "FullCovarianceGuide", "TriangularNormal", "kl_from_independent"]


class TriangularNormal(dist.MultivariateNormal):
    """N(μ, L Lᵀ), whose divergence from independent Normals is known in closed form."""


def kl_from_independent(loc: Tensor, variance: Tensor, log_det: Tensor, p: Independent) -> Tensor:
    """KL(N(μ, Σ) ‖ p) of μ, the diagonal of Σ and log |Σ|, for p = N(m, diag s²), nats.

    ½ [Σ_d ((Σ_dd + (μ_d − m_d)²) / s_d² − 1 + 2 log s_d) − log |Σ|].
    """
    base = p.base_dist
    if not isinstance(base, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    quadratic = (variance + (loc - base.loc).square()) / base.scale.square() - 1
    return 0.5 * ((quadratic + 2 * base.scale.log()).sum(-1) - log_det)


@register_kl(TriangularNormal, Independent)
def _kl_of_triangular(q: TriangularNormal, p: Independent) -> Tensor:
    tril = q._unbroadcasted_scale_tril
    log_det = 2 * tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return kl_from_independent(q.loc, tril.square().sum(-1), log_det, p)


class FullCovarianceGuide(PerDatumGuide):
    r"""A multivariate Normal, z_b all continuous sites of a datum side by side.

    .. math:: q(z) = \prod_b \N(z_b; μ_b, L_b L_b^⊤)

    L = D (I + Λ/√d) for d latents, D diagonal and positive, Λ strictly lower. A step moves every
    entry of Λ by about the learning rate, and so a row of L by that times D, however many entries
    it has; without √d rows of fifty noisy entries make L too ill-conditioned for float32. Several
    sites are sampled one after the other, each from its Normal given those before: with rows of L
    split by site,

    .. math:: q(z_i | z_{<i}) = \N\Big(μ_i + \sum_{j<i} L_{ij} ε_j, L_{ii} L_{ii}^⊤\Big), \quad
       z_i = μ_i + \sum_{j≤i} L_{ij} ε_j

    Given are the event shapes of the sites in the order of the model, and μ, (B, D), and L,
    (B, D, D), to begin with.
    """

    def __init__(self, shapes: dict[str, torch.Size], loc: Tensor, scale_tril: Tensor) -> None:
        super().__init__()
        self.shapes = shapes
        self.loc = nn.Parameter(loc.clone())
        diagonal = scale_tril.diagonal(dim1=-2, dim2=-1)
        self.log_diagonal = nn.Parameter(diagonal.log())
        lower = (scale_tril / diagonal.unsqueeze(-1)).tril(-1)
        self.lower = nn.Parameter(lower * math.sqrt(loc.shape[-1]))

    def scale_tril(self) -> Tensor:
        """L, (B, D, D)."""
        diagonal = self.log_diagonal.exp()
        rows = diagonal.unsqueeze(-1) / math.sqrt(self.loc.shape[-1])
        return self.lower.tril(-1) * rows + torch.diag_embed(diagonal)

    def sample(self, index: Tensor) -> None:
        """Sample the sites in turn."""
        tril = self.scale_tril()
        noise: list[Tensor] = []  # ε of the sites before
        start = 0
        for i, (name, shape) in enumerate(self.shapes.items()):
            stop = start + math.prod(shape)
            own = tril[:, start:stop, start:stop]
            loc = self.loc[:, start:stop]
            if noise:
                before = torch.cat(noise, -1).unsqueeze(-1)
                loc = loc + (tril[:, start:stop, :start] @ before).squeeze(-1)
            z = pyro.sample(name, _event(TriangularNormal(loc, scale_tril=own), shape))
            if i + 1 < len(self.shapes):
                rest = (z.flatten(-len(shape)) - loc).unsqueeze(-1)
                noise.append(torch.linalg.solve_triangular(own, rest, upper=False).squeeze(-1))
            start = stop

    def marginals(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Mean (B, d) and triangular scale (B, d, d) of every site on its own."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for (name, mean), rows in zip(
            self.means().items(), self.scale_tril().split(sizes, 1), strict=True
        ):
            # Σ_ii = Σ_j L_ij L_ijᵀ
            own = torch.linalg.cholesky(rows @ rows.mT) if found else rows[:, :, : rows.shape[1]]
            found[name] = mean, own
        return found

    def means(self) -> dict[str, Tensor]:
        """E[z] of every site, (B, \\*event_shape)."""
        return by_site(self.loc, self.shapes)


def _event(q: TriangularNormal, shape: torch.Size) -> dist.TorchDistribution:
    """A Normal over vectors as one over arrays."""
    if len(shape) == 1:
        return q
    reshaped = dist.transforms.ReshapeTransform((math.prod(shape),), shape)
    return dist.TransformedDistribution(q, [reshaped])


def _make(target: LogDensity, *, scale: float = 0.1) -> FullCovarianceGuide:
    """The prior's scales times ``scale``, uncorrelated, around where fits begin."""
    start = target.start.items()
    shapes = {name: m.mean.shape[1:] for name, m in start}
    scales = side_by_side({n: m.scale for n, m in start}, shapes) * check_scale(scale)
    loc = side_by_side({n: m.mean for n, m in start}, shapes)
    return FullCovarianceGuide(shapes, loc, torch.diag_embed(scales))


def _within(target: LogDensity, guide: nn.Module, member: nn.Module) -> FullCovarianceGuide:
    """Independent Normals as Normals of diagonal covariance."""
    normal, own = cast(NormalGuide, member), cast(FullCovarianceGuide, guide)
    with torch.no_grad():
        scales = side_by_side({n: s.exp() for n, s in normal.log_scale.items()}, own.shapes)
        loc = side_by_side(normal.means(), own.shapes)
        return FullCovarianceGuide(own.shapes, loc, torch.diag_embed(scales))


FULL_COVARIANCE = Family(_make, contains=NORMAL, within=_within)
