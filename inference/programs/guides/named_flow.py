"""Flows of ``pyro_models.flows`` by name as guides: a flow between two triangular maps."""

from __future__ import annotations

from typing import Any, ClassVar, cast

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Independent, Normal, constraints
from torch.func import functional_call

from inference.posterior.guides.family import Family
from inference.posterior.guides.full_covariance import FULL_COVARIANCE, FullCovarianceGuide
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity
from inference.programs.guides.of_sites import pair_of
from inference.programs.pair import SITE
from pyro_models.flows.named import flow_for

__all__ = ["named_flow_family"]


class NamedFlowGuide(PerDatumGuide):
    """u = m + C f(ε), ε ~ N(0, I), f a flow; m and C are of the Normal that was fitted first.

    log q(u) = log N(ε; 0, I) − log |∂f/∂ε| − log |C|.
    """

    layers: nn.Module
    loc: Tensor
    tril: Tensor

    def __init__(self, layers: nn.Module, loc: Tensor, tril: Tensor) -> None:
        super().__init__()
        vars(self)["layers"] = layers.to(loc)
        self.names = [name for name, _ in layers.named_parameters()]
        self.values = nn.ParameterList(
            nn.Parameter(p.detach().clone().unsqueeze(0)) for p in layers.parameters()
        )
        self.register_buffer("loc", loc)
        self.register_buffer("tril", tril)

    def sample(self, index: Tensor) -> None:
        """Sample u."""
        pyro.sample(SITE, _OfFlow(self, [value[0] for value in self.values]))

    def call(self, values: list[Tensor], inverse: bool, at: Tensor) -> tuple[Tensor, Tensor]:
        """f and log |∂f/∂ε|, or the inverse and minus that."""
        state = dict(zip(self.names, values, strict=True))
        holder = _Holder(self.layers)
        return functional_call(
            holder, {f"layers.{name}": value for name, value in state.items()}, (inverse, at)
        )


class _Holder(nn.Module):
    layers: Any

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, inverse: bool, at: Tensor) -> tuple[Tensor, Tensor]:
        if not inverse:
            return cast(tuple[Tensor, Tensor], self.layers(at))
        noise = self.layers.inverse(at)
        return noise, -self.layers(noise)[1]


class _OfFlow(TorchDistribution):
    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.real_vector
    has_rsample = True

    def __init__(
        self, guide: NamedFlowGuide, values: list[Tensor], batch_shape: tuple[int, ...] = ()
    ) -> None:
        self.guide, self.values = guide, values
        super().__init__(torch.Size(batch_shape), guide.loc.shape[-1:], validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> _OfFlow:
        return _OfFlow(self.guide, self.values, tuple(batch_shape))

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        noise = torch.randn(self.shape(sample_shape), device=self.guide.loc.device)
        moved, _ = self.guide.call(self.values, False, noise.to(self.guide.loc))
        return self.guide.loc + moved @ self.guide.tril.mT

    def log_prob(self, value: Tensor) -> Tensor:
        loc, tril = self.guide.loc, self.guide.tril
        flat = (value - loc).reshape(-1, value.shape[-1])
        inner = torch.linalg.solve_triangular(tril, flat.mT, upper=False).mT.reshape(value.shape)
        noise, log_det = self.guide.call(self.values, True, inner)
        base = Independent(Normal(torch.zeros_like(loc), torch.ones_like(loc)), 1)
        return base.log_prob(noise) + log_det - tril.diagonal().log().sum()


def named_flow_family(name: str) -> Family:
    """A flow of ``pyro_models.flows.named.FLOWS`` as a family; its options are the flow's."""

    def make(target: LogDensity, *, start: nn.Module, **options: Any) -> NamedFlowGuide:
        D = pair_of(target).program.dim
        with torch.no_grad():
            ((loc, tril),) = cast(FullCovarianceGuide, start).marginals().values()
        return NamedFlowGuide(flow_for(name, (D,), options=options), loc[0], tril[0])

    return Family(make, lr=0.003, begins_with=FULL_COVARIANCE)
