"""A normalizing flow as prior, by its name."""

from __future__ import annotations

from typing import Any

from pyro.distributions import TorchDistribution
from torch import nn

from pyro_models.errors import UsageError
from pyro_models.flows import FlowDistribution, FlowLike, flow_for
from pyro_models.priors.standard import check_latent_dim

__all__ = ["FlowPrior"]

_DRAWS = 4096  # for moments that have no closed form


class FlowPrior(nn.Module):
    r"""The density of a normalizing flow f, learned with the rest.

    .. math:: p(z) = \N(f(z); 0, I) \left|\det \frac{∂f}{∂z}\right|

    Parameters
    ----------
    latent_dim
        Dimension of z.
    flow
        A flow of vectors, as :func:`pyro_models.flows.flow_for` takes it: nsf, maf, nice, realnvp,
        sospf, bpf (the last two are drawn from by a search, which takes its time), or dense.
    options
        Options of the flow, for zuko's such as ``transforms``, ``bins`` and ``hidden_features``.

    Examples
    --------
    >>> import torch
    >>> FlowPrior(2, flow="maf", transforms=2)().log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(self, latent_dim: int, *, flow: FlowLike = "nsf", **options: Any) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        self.event_shape = (latent_dim,)
        self.layers = flow_for(flow, (latent_dim,), options=options)
        if not list(self.parameters()):
            raise UsageError(f"the flow {type(self.layers).__name__} of a prior has no parameters")
        self.numbers_per_particle = max(len(p) for p in self.parameters() if p.dim())

    def forward(self) -> TorchDistribution:
        """The distribution, batch shape (), event shape (latent_dim,)."""
        like = next(self.parameters())
        return FlowDistribution(self.layers, self.event_shape, like=like, num_draws=_DRAWS)
