"""A normalizing flow as prior: one of zuko's families, by its name."""

from __future__ import annotations

import importlib
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import Distribution, constraints

from pyro_models.errors import UsageError
from pyro_models.priors.standard import check_latent_dim
from pyro_models.registry import check_choice
from pyro_models.seeds import seeded

__all__ = ["FLOWS", "FlowDistribution", "FlowPrior"]

FLOWS = ("nsf", "maf", "nice", "realnvp", "sospf", "bpf")
"""Families of zuko that are over all of R^d, of the releases that have them."""

_DRAWS = 4096  # for moments that have no closed form


class FlowDistribution(TorchDistribution):
    """A flow of zuko over R^d, the same for every member of a batch.

    Mean and variance are those of 4,096 draws, always the same ones.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, flow: Distribution, batch_shape: Any = ()) -> None:
        self.flow = flow
        super().__init__(torch.Size(batch_shape), flow.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> FlowDistribution:
        """The same distribution with another batch shape."""
        return FlowDistribution(self.flow, batch_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Draws (\\*sample_shape, \\*batch, d)."""
        drawn: Tensor = self.flow.rsample(torch.Size(sample_shape) + self.batch_shape)
        return drawn

    def log_prob(self, value: Tensor) -> Tensor:
        """log p, nats."""
        shape = torch.broadcast_shapes(value.shape, self.batch_shape + self.event_shape)
        density: Tensor = self.flow.log_prob(value.expand(shape))
        return density

    @property
    def mean(self) -> Tensor:
        """E[z], (\\*batch, d)."""
        return self._draws().mean(0).expand(self.batch_shape + self.event_shape)

    @property
    def variance(self) -> Tensor:
        """Var[z] of each component, (\\*batch, d)."""
        return self._draws().var(0).expand(self.batch_shape + self.event_shape)

    @torch.no_grad()
    def _draws(self) -> Tensor:
        device: torch.device = self.flow.sample().device
        with seeded(0, device):
            drawn: Tensor = self.flow.sample(torch.Size([_DRAWS]))
        return drawn


class FlowPrior(nn.Module):
    """p(z) = N(f(z); 0, I) |det ∂f/∂z| of a normalizing flow f, learned with the rest.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    flow
        A family of zuko: nsf, maf, nice, realnvp, sospf or bpf. The last two are drawn
        from by a search, which takes its time.
    options
        Options of zuko's class, such as ``transforms``, ``bins`` and ``hidden_features``.

    Examples
    --------
    >>> FlowPrior(2, flow="maf", transforms=2)().log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(self, latent_dim: int, *, flow: str = "nsf", **options: Any) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        try:
            zuko = importlib.import_module("zuko.flows")
        except ImportError as error:
            raise UsageError(
                'the prior flow needs the package zuko: pip install "pyro-models[flows]"'
            ) from error
        families = {name: cls for cls in vars(zuko).values() if (name := _name(cls)) in FLOWS}
        check_choice("flow", flow, [name for name in FLOWS if name in families])
        self.flow = families[flow](latent_dim, **options)
        self.numbers_per_particle = max(len(p) for p in self.parameters() if p.dim())

    def forward(self) -> TorchDistribution:
        """The distribution, batch shape (), event shape (latent_dim,)."""
        return FlowDistribution(self.flow())


def _name(of: Any) -> str:
    return of.__name__.lower() if isinstance(of, type) else ""
