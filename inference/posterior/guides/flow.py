"""A normalising flow for each datum: splines between triangular maps."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, cast

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from inference.posterior.given import Given
from inference.posterior.guides.family import Family
from inference.posterior.guides.full_covariance import FULL_COVARIANCE, FullCovarianceGuide
from pyro_models import UsageError
from pyro_models.pair import data_plate

__all__ = ["FLOW", "FlowGuide", "SplineFlow", "flows_package"]


def flows_package(module: str) -> ModuleType:
    """A module of zuko, which is an optional dependency.

    Raises
    ------
    UsageError
        If it is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"zuko.{module}")
    except ImportError as error:
        raise UsageError(
            'flow guides need the package zuko: pip install "pyro-models[flows]"'
        ) from error


class SplineFlow(TorchDistribution):
    """z = μ + D L₂ f₂(L₁ f₁(ε)) with ε ~ N(0, I), on vectors of length d.

    f₁ and f₂ are monotonic rational-quadratic splines on [−5, 5], one for each component (Durkan et
    al. 2019), L₁ and L₂ unit lower triangular, D diagonal and positive. log q(z) =
    log N(ε; 0, I) − Σ log f₁′ − Σ log f₂′ − log |D|; both directions cost one pass.

    Parameters
    ----------
    loc, log_scale
        μ and log D, (\\*batch, d).
    lower
        L₁ and L₂ below their diagonals, (2, \\*batch, d, d).
    splines
        Unconstrained bin widths, heights and slopes of f₁ and f₂, (2, \\*batch, d, 3 bins − 1).
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, loc: Tensor, log_scale: Tensor, lower: Tensor, splines: Tensor) -> None:
        self.loc, self.log_scale = loc, log_scale
        eye = torch.eye(loc.shape[-1], dtype=loc.dtype, device=loc.device)
        self.lower = [part.tril(-1) + eye for part in lower]
        bins = (splines.shape[-1] + 1) // 3
        make = flows_package("transforms").MonotonicRQSTransform
        self.splines = [make(*part.split([bins, bins, bins - 1], -1)) for part in splines]
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> SplineFlow:
        """The same with a larger batch shape; nothing is copied."""
        new: SplineFlow = self._get_checked_instance(SplineFlow, _instance)
        for name in ("loc", "log_scale", "lower", "splines"):
            setattr(new, name, getattr(self, name))
        TorchDistribution.__init__(
            new, torch.Size(batch_shape), self.event_shape, validate_args=False
        )
        return new

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (\\*sample_shape, \\*batch, d)."""
        shape = torch.Size(sample_shape) + self.batch_shape + self.event_shape
        u = torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        for spline, lower in zip(self.splines, self.lower, strict=True):
            u = (lower @ spline(u).unsqueeze(-1)).squeeze(-1)
        return self.loc + self.log_scale.exp() * u

    def log_prob(self, value: Tensor) -> Tensor:
        """log q, nats."""
        u = (value - self.loc) * (-self.log_scale).exp()
        log_det = self.log_scale.sum(-1)
        for spline, lower in reversed(list(zip(self.splines, self.lower, strict=True))):
            batch = torch.broadcast_shapes(u.shape[:-1], lower.shape[:-2])
            v = torch.linalg.solve_triangular(
                lower.expand(*batch, *lower.shape[-2:]),
                u.expand(*batch, -1).unsqueeze(-1),
                upper=False,
                unitriangular=True,
            ).squeeze(-1)
            u = spline.inv(v)
            log_det = log_det + spline.log_abs_det_jacobian(u, v).sum(-1)
        normal = torch.distributions.Normal(torch.zeros_like(u), 1.0, validate_args=False)
        return normal.log_prob(u).sum(-1) - log_det


class FlowGuide(nn.Module):
    """q(z) = Π_b of :class:`SplineFlow`, every site on its own.

    Parameters
    ----------
    normals
        The Normals that it starts as, by site: mean (B, d) and triangular scale (B, d, d).
    bins
        Of each spline.
    """

    def __init__(self, normals: Mapping[str, tuple[Tensor, Tensor]], *, bins: int = 6) -> None:
        super().__init__()
        if bins < 2:
            raise UsageError(f"a spline needs at least 2 bins; got {bins}")
        self.loc, self.log_scale = nn.ParameterDict(), nn.ParameterDict()
        self.lower, self.splines = nn.ParameterDict(), nn.ParameterDict()
        for name, (mean, tril) in normals.items():
            scale = tril.diagonal(dim1=-2, dim2=-1)
            second = tril / scale.unsqueeze(-1)
            self.loc[name] = nn.Parameter(mean.clone())
            self.log_scale[name] = nn.Parameter(scale.log())
            self.lower[name] = nn.Parameter(torch.stack([torch.zeros_like(second), second], 1))
            # equal bins of slope 1: the identity
            size, dim = mean.shape
            self.splines[name] = nn.Parameter(mean.new_zeros(size, 2, dim, 3 * bins - 1))

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample every site; what x is does not matter."""
        with data_plate(x, n, x):
            for name, loc in self.loc.items():
                lower, splines = (p[name].transpose(0, 1) for p in (self.lower, self.splines))
                pyro.sample(name, SplineFlow(loc, self.log_scale[name], lower, splines))


def _make(given: Given, *, start: nn.Module, bins: int = 6) -> FlowGuide:
    """Start as the fitted Normals: from afar the splines would take the part of μ."""
    flows_package("transforms")
    with torch.no_grad():
        normals = cast(FullCovarianceGuide, start).marginals()
    several = [name for name, (mean, _) in normals.items() if mean.dim() != 2]
    if several:
        raise UsageError(f"the guide flow is of vectors, and {several[0]} is none")
    return FlowGuide(normals, bins=bins)


FLOW = Family(_make, begins_with=FULL_COVARIANCE, lr=0.01)
