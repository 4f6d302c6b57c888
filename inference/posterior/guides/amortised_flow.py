"""One normalising flow for all data, told apart by what the pair's encoder says of them."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor, nn
from torch.distributions import AffineTransform

from inference.posterior.continuous import check_vectors
from inference.posterior.guides.encoder import encoder_moments
from inference.posterior.guides.family import Family
from inference.posterior.guides.flow import flows_package
from inference.posterior.guides.per_datum import PerDatumGuide
from inference.posterior.log_density import LogDensity
from pyro_models.counts import check_counts

__all__ = ["AMORTISED_FLOW", "AmortisedFlowGuide"]


class AmortisedFlowGuide(PerDatumGuide):
    r"""A neural spline flow f of coupling layers, given what the encoder says of a datum.

    .. math:: z = μ_b + σ_b f^{-1}(ε; c_b), \quad ε ∼ \N(0, I)

    μ_b, σ_b are the encoder's mean and scale, and c_b = (μ_b, log σ_b) is the context of f, whose
    weights all images share. Every site is on its own.

    There are ``transforms`` coupling layers, with ``bins`` of their splines, and layers of sizes
    ``hidden``.
    """

    shared = True

    def __init__(
        self,
        target: LogDensity,
        *,
        transforms: int = 2,
        bins: int = 8,
        hidden: Sequence[int] = (64, 64),
    ) -> None:
        super().__init__()
        flows, moments = flows_package("flows"), encoder_moments(target)
        check_vectors("amortised_flow", {name: m.mean for name, m in moments.items()})
        check_counts(transforms=transforms)
        check_counts(least=2, bins=bins)
        self.sites = tuple(moments)
        numbers = range(len(moments))
        self.per_datum = tuple(f"{kind}_{i}" for i in numbers for kind in ("mean", "scale"))
        self.flows = nn.ModuleList()
        for i, m in enumerate(moments.values()):
            self.register_buffer(f"mean_{i}", m.mean)
            self.register_buffer(f"scale_{i}", m.scale)
            size = m.mean.shape[1]
            flow = flows.NSF(
                size,
                2 * size,
                transforms=transforms,
                bins=bins,
                passes=2,
                hidden_features=tuple(hidden),
            )
            self.flows.append(flow.to(m.mean.device, m.mean.dtype))

    def sample(self, index: Tensor) -> None:
        """Sample every site."""
        zuko, wrapped = flows_package("distributions"), flows_package("transforms")
        from pyro.contrib.zuko import ZukoToPyro

        for i, (name, flow) in enumerate(zip(self.sites, self.flows, strict=True)):
            mean, scale = self.get_buffer(f"mean_{i}"), self.get_buffer(f"scale_{i}")
            q = flow(torch.cat([mean, scale.log()], -1))
            standardize = AffineTransform(-mean / scale, 1 / scale, event_dim=1)
            f = wrapped.ComposedTransform(standardize, q.transform)
            pyro.sample(name, ZukoToPyro(zuko.NormalizingFlow(f, q.base)))


AMORTISED_FLOW = Family(AmortisedFlowGuide, lr=0.003)
