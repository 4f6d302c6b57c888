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

from inference.posterior.guides.family import Family
from inference.posterior.guides.normal import NORMAL, NormalGuide, check_scale
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity

__all__ = ["FULL_COVARIANCE", "FullCovarianceGuide", "TriangularNormal"]


class TriangularNormal(dist.MultivariateNormal):
    """N(μ, L Lᵀ), whose divergence from independent Normals is known in closed form."""


@register_kl(TriangularNormal, Independent)
def _kl_from_independent(q: TriangularNormal, p: Independent) -> Tensor:
    """½ Σ_d [(Σ_dd + (μ_d − m_d)²) / s_d² − 1] + Σ_d log s_d − log |L| for p = N(m, diag s²)."""
    base = p.base_dist
    if not isinstance(base, Normal) or p.reinterpreted_batch_ndims != 1:
        raise NotImplementedError
    tril = q._unbroadcasted_scale_tril
    variance = tril.square().sum(-1)
    quadratic = (variance + (q.loc - base.loc).square()) / base.scale.square() - 1
    log_det = tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    kl: Tensor = (0.5 * quadratic + base.scale.log()).sum(-1) - log_det
    return kl


class FullCovarianceGuide(PerDatumGuide):
    """q(z) = Π_b N(z_b; μ_b, L_b L_bᵀ), z_b all continuous sites of a datum side by side.

    L = D (I + Λ/√d) for d latents, D diagonal and positive, Λ strictly lower. A step moves every
    entry of Λ by about the learning rate, and so a row of L by that times D, however many entries
    it has; without √d rows of fifty noisy entries make L too ill-conditioned for float32. Several
    sites are sampled one after the other, each from its Normal given those before: with rows of L
    split by site,

    q(z_i | z_<i) = N(μ_i + Σ_{j<i} L_ij ε_j, L_ii L_iiᵀ), z_i = μ_i + Σ_{j≤i} L_ij ε_j.

    Parameters
    ----------
    shapes
        Event shape of every site, in the order of the model.
    loc
        μ to begin with, (B, D).
    scale_tril
        L to begin with, (B, D, D).
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
        """Sample the sites in turn; what x is does not matter."""
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
        rows = self.scale_tril().split(sizes, 1)
        found, start = {}, 0
        for (name, mean), part in zip(self.means().items(), rows, strict=True):
            own = part[:, :, start : start + part.shape[1]]
            if start:  # Σ_ii = Σ_j L_ij L_ijᵀ
                own = torch.linalg.cholesky(part @ part.mT)
            found[name] = mean, own
            start += part.shape[1]
        return found

    def means(self) -> dict[str, Tensor]:
        """E[z] of every site, (B, \\*event_shape)."""
        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = self.loc.split(sizes, -1)
        return {n: p.unflatten(-1, s) for (n, s), p in zip(self.shapes.items(), parts, strict=True)}


def _event(q: TriangularNormal, shape: torch.Size) -> dist.TorchDistribution:
    """A Normal over vectors as one over arrays."""
    if len(shape) == 1:
        return q
    reshaped = dist.transforms.ReshapeTransform((math.prod(shape),), shape)
    return dist.TransformedDistribution(q, [reshaped])


def _make(target: LogDensity, *, scale: float = 0.1) -> FullCovarianceGuide:
    """The prior's scales times ``scale``, uncorrelated, around where fits begin."""
    scales = side_by_side({n: m.scale for n, m in target.start.items()}) * check_scale(scale)
    loc = side_by_side({n: m.mean for n, m in target.start.items()})
    shapes = {name: m.mean.shape[1:] for name, m in target.start.items()}
    return FullCovarianceGuide(shapes, loc, torch.diag_embed(scales))


def side_by_side(values: dict[str, Tensor]) -> Tensor:
    """Sites (B, \\*event_shape) as one vector (B, D)."""
    return torch.cat([value.flatten(1) for value in values.values()], -1)


def _within(target: LogDensity, guide: nn.Module, member: nn.Module) -> FullCovarianceGuide:
    """Independent Normals as Normals of diagonal covariance."""
    normal, own = cast(NormalGuide, member), cast(FullCovarianceGuide, guide)
    with torch.no_grad():
        scales = side_by_side({n: s.exp() for n, s in normal.log_scale.items()})
        loc = side_by_side(normal.means())
        return FullCovarianceGuide(own.shapes, loc, torch.diag_embed(scales))


FULL_COVARIANCE = Family(_make, contains=NORMAL, within=_within)
