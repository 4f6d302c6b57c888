"""A normalising flow for each datum: splines between triangular maps."""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Any, cast

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from inference.posterior.continuous import check_vectors
from inference.posterior.guides.family import Family
from inference.posterior.guides.full_covariance import FULL_COVARIANCE, FullCovarianceGuide
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = ["FLOW", "FlowGuide", "SplineFlow", "flows_package"]


def flows_package(module: str) -> ModuleType:
    """A module of zuko, which is an optional dependency."""
    try:
        return importlib.import_module(f"zuko.{module}")
    except ImportError as error:
        raise UsageError(
            'flow guides need the package zuko: pip install "pyro-models[flows]"'
        ) from error


# bins are wide, so splines move z by more than their parameters move
_SLOWER = 0.2


class SplineFlow(TorchDistribution):
    """z = μ + T f₂(L f₁(ε)) with ε ~ N(0, I), on vectors of length d.

    f₁ and f₂ are monotonic rational-quadratic splines on [−5, 5], one for each component (Durkan et
    al. 2019), L is unit lower triangular, T lower triangular of positive diagonal. log q(z) =
    log N(ε; 0, I) − Σ log f₁′ − Σ log f₂′ − log |T|; both directions cost one pass.

    Given are μ, (\\*batch, d), T, (\\*batch, d, d), L below its diagonal, (\\*batch, d, d), and
    unconstrained bin widths, heights and slopes of f₁ and f₂, (2, \\*batch, d, 3 bins − 1).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, scale_tril: Tensor, lower: Tensor, splines: Tensor) -> None:
        self.loc, self.scale_tril = loc, scale_tril
        eye = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        self.lower = lower.tril(-1) + eye
        bins = (splines.shape[-1] + 1) // 3
        make = flows_package("transforms").MonotonicRQSTransform
        self.splines = [make(*part.split([bins, bins, bins - 1], -1)) for part in splines]
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (\\*sample_shape, \\*batch, d)."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        first, second = self.splines
        eps = torch.randn(shape, device=self.loc.device).to(self.loc)
        v = self.lower @ first(eps).unsqueeze(-1)
        w: Tensor = self.scale_tril @ second(v.squeeze(-1)).unsqueeze(-1)
        return self.loc + w.squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """log q, nats."""
        first, second = self.splines
        w = _solve(self.scale_tril, value - self.loc)
        v = second.inv(w)
        u = _solve(self.lower, v)
        eps = first.inv(u)
        log_det = (
            first.log_abs_det_jacobian(eps, u).sum(-1)
            + second.log_abs_det_jacobian(v, w).sum(-1)
            + self.scale_tril.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        )
        constant = 0.5 * math.log(2 * math.pi) * eps.shape[-1]
        return -0.5 * eps.square().sum(-1) - constant - log_det


def _solve(lower: Tensor, value: Tensor) -> Tensor:
    """L⁻¹ value for lower triangular L."""
    batch = torch.broadcast_shapes(value.shape[:-1], lower.shape[:-2])
    matrix = lower.expand(*batch, *lower.shape[-2:])
    vector = value.expand(*batch, -1).unsqueeze(-1)
    return torch.linalg.solve_triangular(matrix, vector, upper=False).squeeze(-1)


class FlowGuide(PerDatumGuide):
    """q(z) = Π_b of :class:`SplineFlow`, every site on its own.

    All is relative to the Normal N(m, C Cᵀ) that it starts as, so that one learning rate suits wide
    posteriors and narrow ones: μ = m + C δ and T = C D (I + Λ/√d), Λ strictly lower, d latents.

    It starts as the fitted Normals of ``start``: from afar the splines would take the part of μ.
    """

    def __init__(self, target: LogDensity, *, start: nn.Module, bins: int = 6) -> None:
        super().__init__()
        flows_package("transforms")
        with torch.no_grad():
            normals = cast(FullCovarianceGuide, start).marginals()
        check_vectors("flow", {name: m for name, (m, _) in normals.items()})
        check_counts(least=2, bins=bins)
        self.sites = tuple(normals)
        self.per_datum = tuple(f"{kind}_{i}" for i in range(len(normals)) for kind in ("m", "C"))
        self.shift, self.log_scale = nn.ParameterDict(), nn.ParameterDict()
        self.lower, self.splines = nn.ParameterDict(), nn.ParameterDict()
        for i, (name, (m, C)) in enumerate(normals.items()):
            size, dim = m.shape
            self.register_buffer(f"m_{i}", m.clone())
            self.register_buffer(f"C_{i}", C.clone())
            self.shift[name] = nn.Parameter(m.new_zeros(size, dim))
            self.log_scale[name] = nn.Parameter(m.new_zeros(size, dim))
            self.lower[name] = nn.Parameter(m.new_zeros(size, 2, dim, dim))
            # equal bins of slope 1: the identity
            self.splines[name] = nn.Parameter(m.new_zeros(size, 2, dim, 3 * bins - 1))

    def sample(self, index: Tensor) -> None:
        """Sample every site."""
        for i, name in enumerate(self.sites):
            m, C = self.get_buffer(f"m_{i}"), self.get_buffer(f"C_{i}")
            lower, turn = (self.lower[name] / math.sqrt(m.shape[1])).unbind(1)
            eye = torch.eye(m.shape[1], dtype=m.dtype, device=m.device)
            scale = self.log_scale[name].exp().unsqueeze(-1)
            T = C @ (scale * (turn.tril(-1) + eye))
            loc = m + (C @ self.shift[name].unsqueeze(-1)).squeeze(-1)
            slower = _SLOWER / math.sqrt(m.shape[1])
            splines = slower * self.splines[name].transpose(0, 1)
            pyro.sample(name, SplineFlow(loc, T, lower, splines))


FLOW = Family(FlowGuide, begins_with=FULL_COVARIANCE, lr=0.01)
