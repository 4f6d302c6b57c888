"""The two chains of a diffusion, each as one distribution over all of its steps."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import _standard_normal

from pyro_models.diffusion.noise import Noise
from pyro_models.errors import UsageError
from pyro_models.likelihoods.likelihood import widened
from pyro_models.seeds import seeded

__all__ = ["NoisingChain", "ReverseChain"]

Denoiser = Callable[[Tensor, Tensor], Tensor]
_DRAWS = 64  # for moments that have no closed form


class _Chain(TorchDistribution):
    """A distribution over z = (z_1, …, z_S), event shape (S, \\*data_shape)."""

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = True

    def __init__(self, noise: Noise, batch_shape: tuple[int, ...], data_shape: tuple[int, ...]):
        self.noise = noise
        event = torch.Size((len(noise), *data_shape))
        super().__init__(torch.Size(batch_shape), event, validate_args=False)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> Any:
        """All real values."""
        return constraints.independent(constraints.real, len(self.event_shape))

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Any:
        """The same chain for a larger batch."""
        new = copy(self)
        new._batch_shape = torch.Size(batch_shape)
        return new

    def _shaped(self, values: Tensor) -> Tensor:
        """Values of the steps, (S,), beside z, (\\*batch, S, \\*data_shape)."""
        return values.reshape(*values.shape, *(1,) * (len(self.event_shape) - 1))

    def _log_normal(self, difference: Tensor, variance: Tensor) -> Tensor:
        """log N(difference; 0, variance) of steps, whose sum is rounded once."""
        each = -0.5 * (difference.square() / variance + (2 * torch.pi * variance).log())
        return widened(each).flatten(-len(self.event_shape)).sum(-1).to(difference.dtype)

    def _standard(self, sample_shape: torch.Size, like: Tensor) -> Tensor:
        shape = self._extended_shape(sample_shape)
        return _standard_normal(shape, dtype=like.dtype, device=like.device)


class NoisingChain(_Chain):
    """q(z_1, …, z_S | x) = Π_t N(z_t; √α_t z_{t−1}, β_t I), z_0 = u.

    u is (\\*batch, \\*data_shape).
    """

    def __init__(self, noise: Noise, u: Tensor, data_shape: tuple[int, ...]) -> None:
        super().__init__(noise, tuple(u.shape[: u.dim() - len(data_shape)]), data_shape)
        self.u = u

    @property
    def mean(self) -> Tensor:
        """√ᾱ_t u, (\\*batch, S, \\*data_shape)."""
        u = self.u.unsqueeze(-len(self.event_shape))
        return (self._shaped(self.noise.alpha_bar.sqrt()) * u).expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """1 − ᾱ_t, (\\*batch, S, \\*data_shape)."""
        return self._shaped(self.noise.remaining).expand(self._extended_shape())

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A chain: z_t/√ᾱ_t = u + Σ_{s ≤ t} √(β_s/ᾱ_s) ε_s."""
        noise = self._standard(sample_shape, self.u)
        dim = -len(self.event_shape)
        steps = self._shaped((self.noise.beta / self.noise.alpha_bar).sqrt()) * noise
        u = self.u.unsqueeze(dim)
        return self._shaped(self.noise.alpha_bar.sqrt()) * (u + steps.cumsum(dim))

    def log_prob(self, value: Tensor) -> Tensor:
        """log q(z | x), nats."""
        dim = -len(self.event_shape)
        u = self.u.unsqueeze(dim).expand(*value.shape[:dim], 1, *self.event_shape[1:])
        before = torch.cat([u, value.narrow(dim, 0, len(self.noise) - 1)], dim)
        alpha, beta = self._shaped(self.noise.alpha), self._shaped(self.noise.beta)
        return self._log_normal(value - alpha.sqrt() * before, beta)


class ReverseChain(_Chain):
    """p(z) = N(z_S; 0, I) Π_{t = 2}^S N(z_{t−1}; μ_t(z_t), η² β̃_t I), by the noise ε̂ that is
    ``predicted`` (:data:`pyro_models.diffusion.PREDICTED`) by a network of z_t and t/T.

    With û = (z_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t, and β̃_t the variance of q(z_{t−1} | z_t, x),

    μ_t = √ᾱ_{t−1} û + √(1 − ᾱ_{t−1} − η² β̃_t) ε̂,

    which at η = 1 is the mean of q(z_{t−1} | z_t, x) at u = û (Ho et al. 2020, eq. 11). At η = 0
    every step but the first is a function of the one above (Song et al. 2021, eq. 12): such a chain
    can be sampled, and has no density. Mean and variance are those of 64 draws, always the same.
    """

    def __init__(
        self,
        noise: Noise,
        denoiser: Denoiser,
        data_shape: tuple[int, ...],
        *,
        predicted: Callable[..., Tensor],
        eta: float = 1.0,
    ) -> None:
        super().__init__(noise, (), data_shape)
        self.denoiser, self.predicted, self.eta = denoiser, predicted, eta

    @property
    def mean(self) -> Tensor:
        """E[z], (\\*batch, S, \\*data_shape)."""
        return self._draws().mean(0).expand(self._extended_shape())

    @property
    def variance(self) -> Tensor:
        """Var[z] of each value, (\\*batch, S, \\*data_shape)."""
        return self._draws().var(0).expand(self._extended_shape())

    @torch.no_grad()
    def _draws(self) -> Tensor:
        with seeded(0, self.noise.beta.device):
            return self.expand(torch.Size()).rsample(torch.Size([_DRAWS]))

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A chain, from the noise down."""
        return self.from_noise(self._standard(sample_shape, self.noise.beta))

    def from_noise(self, noise: Tensor) -> Tensor:
        """The chain of standard normal noise, (\\*batch, S, \\*data_shape); z_S is its last."""
        dim = -len(self.event_shape)
        steps = [noise.select(dim, -1)]
        for t in range(len(self.noise) - 1, 0, -1):
            z = steps[-1]
            scale = self.eta * self.noise.reverse_variance[t].sqrt()
            steps.append(self._mean(z, t) + scale * noise.select(dim, t - 1))
        return torch.stack(steps[::-1], dim)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(z), nats; a ``UsageError`` is raised unless η = 1."""
        if self.eta != 1:
            raise UsageError(
                f"a diffusion with eta {self.eta} is a way to draw samples: its scores are those "
                "of eta 1"
            )
        dim, last = -len(self.event_shape), len(self.noise) - 1
        top = value.select(dim, last)
        ones = torch.ones((), dtype=top.dtype, device=top.device)
        prior = self._log_normal(top.unsqueeze(dim), ones)
        if not last:
            return prior
        z, below = value.narrow(dim, 1, last), value.narrow(dim, 0, last)
        variance = self._shaped(self.noise.reverse_variance[1:])
        return prior + self._log_normal(below - self._mean(z, slice(1, None)), variance)

    def _mean(self, z: Tensor, step: int | slice) -> Tensor:
        """μ_t(z_t) of a step, from 0, or of several that lie along the first dimension of z_t."""
        alpha, alpha_bar, beta, remaining, earlier, time = (
            getattr(self.noise, name)[step]
            for name in ("alpha", "alpha_bar", "beta", "remaining", "earlier", "time")
        )
        event_dims = len(self.event_shape) - 1
        output = self.denoiser(z, time.expand(z.shape[: z.dim() - event_dims]))
        shaped = self._shaped(alpha_bar), self._shaped(remaining)
        error = self.predicted(z, output, *shaped)
        share = (earlier * (1 - self.eta**2 * beta / remaining)).sqrt()  # 1 − ᾱ_{t−1} − η² β̃_t
        weight = share - (remaining / alpha).sqrt()
        return z / self._shaped(alpha.sqrt()) + self._shaped(weight) * error
