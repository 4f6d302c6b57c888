"""A mixture of Gaussians as prior, its weights, means and scales learned."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_models.counts import check_counts
from pyro_models.priors.standard import check_latent_dim

__all__ = ["LatentMixture", "MixturePrior"]


class LatentMixture(dist.MixtureSameFamily):
    """A mixture of Normals over R^d, its component summed out."""

    support = constraints.real_vector

    @classmethod
    def of(cls, components: TorchDistribution, logits: Tensor) -> LatentMixture:
        """That of components of batch shape (K,) with weights softmax(logits)."""
        weights = dist.Categorical(logits=logits, validate_args=False)
        return cls(weights, components, validate_args=False)


class MixturePrior(nn.Module):
    r"""A mixture of K Normals, event shape (latent_dim,).

    .. math:: p(z) = \sum_k π_k \N(z; μ_k, \diag σ_k^2)

    Weights, means and scales are learned with the rest. At the start the weights are equal and the
    whole is near N(0, I): μ_k ~ N(0, I/2), σ_k² = 1/2.

    >>> MixturePrior(3, num_components=5)().log_prob(torch.zeros(7, 3)).shape
    torch.Size([7])
    """

    def __init__(self, latent_dim: int, *, num_components: int = 10) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_counts(num_components=num_components)
        half = math.sqrt(0.5)
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(half * torch.randn(num_components, latent_dim))
        self.log_scale = nn.Parameter(torch.full((num_components, latent_dim), math.log(half)))
        self.numbers_per_particle = self.loc.numel()

    def forward(self) -> TorchDistribution:
        """The distribution."""
        components = dist.Normal(self.loc, self.log_scale.exp(), validate_args=False).to_event(1)
        return LatentMixture.of(components, self.logits)
