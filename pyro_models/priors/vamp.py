"""VampPrior: the mixture of the encoder's posteriors at learned pseudo-inputs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.counts import check_counts
from pyro_models.errors import UsageError
from pyro_models.priors.mixture import LatentMixture
from pyro_models.priors.standard import check_latent_dim
from pyro_models.seeds import stream

__all__ = ["VampPrior"]

_JITTER = 0.01  # between pseudo-inputs that start at the same datum


class VampPrior(nn.Module):
    r"""The guide's posteriors at K pseudo-inputs u_k, mixed (Tomczak & Welling 2018).

    .. math:: p(z) = \frac{1}{K} \sum_k q(z | u_k)

    q is the guide of the pair: the prior is a function of the encoder's weights and is learned
    with them. They stay the guide's, which alone holds them as parameters; the model holds the
    pseudo-inputs, and calls the guide. Pseudo-inputs are what the encoder is fed, data in its
    units, and unbounded. Where the encoder is given a label, each has a vector of num_classes
    numbers in the place of the one-hot code, learned too.

    They start at data, K of the training data drawn by the seed, once ``fit`` or the pair's
    ``start_from`` has seen them; the labels start at 1/num_classes.

    Parameters
    ----------
    latent_dim
        Dimension of z.
    num_pseudo_inputs
        K.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> prior = {"class_path": "vamp", "init_args": {"num_pseudo_inputs": 3}}
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[16], prior=prior)
    >>> vae.model.prior.pseudo_inputs.shape
    torch.Size([3, 1, 8, 8])
    """

    pseudo_inputs: Tensor
    pseudo_labels: Tensor | None
    _posterior: Callable[..., TorchDistribution] | None

    def __init__(self, latent_dim: int, *, num_pseudo_inputs: int = 500) -> None:
        super().__init__()
        check_latent_dim(latent_dim)
        check_counts(num_pseudo_inputs=num_pseudo_inputs)
        self.num_pseudo_inputs = num_pseudo_inputs
        self.numbers_per_particle = num_pseudo_inputs * latent_dim
        self._posterior = None
        self.register_parameter("pseudo_labels", None)

    def attach(self, guide: Any, *, num_classes: int | None) -> None:
        """Let q be a guide's ``posterior(u, code)``; ``guide.units`` knows the shape of data."""
        posterior, K = getattr(guide, "posterior", None), self.num_pseudo_inputs
        if posterior is None:
            raise UsageError(
                f"a VampPrior is the guide's q(z | x) at pseudo-inputs, and {type(guide).__name__} "
                "has no such density: choose another prior"
            )
        if self._posterior is not None:
            raise UsageError("a VampPrior is of one pair's guide: make another for another pair")
        self._posterior = posterior  # a method: the guide does not become a submodule
        like = guide.units.centre
        self.pseudo_inputs = nn.Parameter(torch.rand(K, *like.shape, device=like.device))
        if num_classes is not None:
            equal = torch.full((K, num_classes), 1 / num_classes, device=like.device)
            self.pseudo_labels = nn.Parameter(equal)

    @torch.no_grad()
    def start_from(self, u: Tensor, *, seed: int) -> str:
        """Let the pseudo-inputs be some of data (N, \\*data_shape), in units of the encoder."""
        generator = torch.Generator().manual_seed(stream(seed, "pseudo-inputs"))
        K, size = self.num_pseudo_inputs, len(u)
        rows = torch.randperm(size, generator=generator).repeat(math.ceil(K / size))[:K]
        self.pseudo_inputs.copy_(u[rows.to(u.device)])
        if size < K:  # what starts as a copy must not remain one
            again = self.pseudo_inputs[size:]
            again += _JITTER * torch.randn(again.shape, generator=generator).to(again)
        return "pseudo-inputs from data"

    def forward(self) -> TorchDistribution:
        """The distribution, batch shape (), event shape (latent_dim,)."""
        if self._posterior is None:
            raise UsageError(
                "a VampPrior is made of a guide's encoder, and this pair's has none: choose "
                "another prior"
            )
        components = self._posterior(self.pseudo_inputs, self.pseudo_labels)
        equal = self.pseudo_inputs.new_zeros(self.num_pseudo_inputs)
        return LatentMixture.of(components, equal)
