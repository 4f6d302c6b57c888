"""The Pyro model of a Gaussian process that data depend on by a likelihood of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from gp_bo.cholesky import cholesky
from gp_bo.inference.draws import HyperDraws
from gp_bo.kernels import Kernel
from gp_bo.latent.evidence import LaplaceEvidence
from gp_bo.likelihoods import Gaussian, Likelihood
from gp_bo.model import GPModel
from gp_bo.scaling import Scaling

__all__ = ["LatentGPModel", "gp_model"]

_LOOKED_AT = 32


class LatentGPModel(GPModel):
    """θ ~ p(θ), f | θ ~ N(m_θ(X), K_θ), y_i ~ p(y_i | f_i, θ).

    Called without arguments it is the model of θ alone, in which f is integrated out by Laplace's
    approximation; :meth:`joint` is the whole model, f among its latents.

    >>> from gp_bo.kernels import RBF
    >>> from gp_bo.likelihoods import Bernoulli
    >>> X, y = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None], torch.tensor([0.0, 0, 1, 1])
    >>> gp = LatentGPModel(X, y, kernel=RBF(), mean="zero", priors={}, likelihood=Bernoulli())
    >>> gp.evidence.value(gp.hyperparameters.constrain(torch.zeros(3, 2).double())).shape
    torch.Size([3])
    """

    evidence: LaplaceEvidence

    def __init__(
        self,
        X: Tensor,
        y: Tensor,
        *,
        kernel: Kernel,
        mean: str,
        priors: Mapping[str, Any],
        likelihood: Likelihood,
    ) -> None:
        super().__init__(X, y, kernel=kernel, mean=mean, priors=priors, likelihood=likelihood)
        self.evidence = LaplaceEvidence(X, y, kernel, likelihood)

    @property
    def location(self) -> float:
        """About where f lies."""
        return self.likelihood.location(self.y)

    @property
    def spread(self) -> float:
        """The unit of f: 1 where it has not that of the outputs."""
        return super().spread if self.likelihood.in_unit_of_outputs else 1.0

    def with_data(self, X: Tensor, y: Tensor) -> LatentGPModel:
        """The same model with other data, (n, d) and (n,)."""
        own = {"kernel": self.kernel, "mean": self.mean, "likelihood": self.likelihood}
        return LatentGPModel(X, y, priors=self.priors, **own)  # type: ignore[arg-type]

    def forward(self) -> dict[str, Tensor]:
        """Sample every hyper-parameter and observe y, f integrated out; returns θ by name."""
        theta, flat, batch = self._sampled()
        pyro.factor("y", self.evidence.value(flat).reshape(batch))
        return theta

    def joint(self) -> dict[str, Tensor]:
        """The whole Pyro model: ``v`` ~ N(0, I), f = m + L v with L Lᵀ = K, y ~ p(y | f)."""
        theta, flat, batch = self._sampled()
        mean, K = self.evidence.moments(flat)
        zeros = torch.zeros_like(self.y)
        v = pyro.sample("v", dist.Normal(zeros, torch.ones_like(zeros)).to_event(1))
        rise = (cholesky(K)[0] @ v.expand(*batch, -1).reshape(len(K), -1, 1))[..., 0]
        f = pyro.deterministic("f", (mean + rise).reshape(*batch, -1), event_dim=1)
        own = {h.name: theta[h.name] for h in self.likelihood.hyperparameters()}
        pyro.sample("y", self.likelihood.distribution(f, own).to_event(1), obs=self.y)
        return theta

    def looked_at(self, draws: HyperDraws) -> HyperDraws:
        """The same draws, with what is not certain of f at some of them."""
        few = draws.unconstrained[:: max(1, len(draws.weights) // _LOOKED_AT)]
        said = self.evidence.messages(self.hyperparameters.constrain(few))
        return replace(draws, messages=(*draws.messages, *said))


def gp_model(
    scaling: Scaling,
    X: Tensor,
    y: Tensor,
    *,
    kernel: Kernel,
    mean: str,
    priors: Mapping[str, Any],
    likelihood: Likelihood,
) -> GPModel:
    """The model of data in original units, (n, d) and (n,), in those of the scaling."""
    inputs, outputs = scaling.data(X, y)
    if type(likelihood) is Gaussian:
        return GPModel(inputs, outputs, kernel=kernel, mean=mean, priors=priors)
    outputs = outputs if likelihood.in_unit_of_outputs else y
    own: dict[str, Any] = {"kernel": kernel, "mean": mean, "likelihood": likelihood}
    return LatentGPModel(inputs, outputs, priors=priors, **own)
