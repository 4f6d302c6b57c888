"""The prior p(z) = N(0, I)."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.counts import is_count
from pyro_models.errors import UsageError

__all__ = ["StandardNormal", "check_latent_dim"]


def check_latent_dim(latent_dim: int) -> None:
    """Refuse a dimension below 1."""
    if not is_count(latent_dim):
        raise UsageError(f"the latent dimension must be at least 1; got {latent_dim}")


class StandardNormal(nn.Module):
    r"""The standard Normal, batch shape (), event shape (latent_dim,).

    .. math:: p(z) = \N(z; 0, I)
    """

    zeros: Tensor
    ones: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    def forward(self) -> TorchDistribution:
        """The distribution."""
        return dist.Normal(self.zeros, self.ones).to_event(1)
