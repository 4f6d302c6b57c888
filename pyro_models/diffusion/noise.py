"""How much noise there is after each step of a diffusion."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from pyro_models.registry import Registry

__all__ = ["NOISES", "PREDICTED", "Noise"]

_MOST = 0.999  # of β, so that a little of the signal is always left


def cosine(num_steps: int) -> Tensor:
    """β_t of ᾱ_t = cos²((t/T + s)/(1 + s) · π/2) / cos²(s/(1 + s) · π/2), s = 0.008.

    Nichol & Dhariwal 2021, eq. 17.
    """
    s = 0.008
    t = torch.linspace(0, 1, num_steps + 1, dtype=torch.float64)
    alpha_bar = ((t + s) / (1 + s) * math.pi / 2).cos().square()
    return 1 - alpha_bar[1:] / alpha_bar[:-1]


def linear(num_steps: int) -> Tensor:
    """β_t from 10⁻⁴ to 0.02, times 1000/T, so that few steps reach the prior as well.

    Ho et al. 2020, section 4.
    """
    scale = 1000 / num_steps
    return torch.linspace(1e-4 * scale, 0.02 * scale, num_steps, dtype=torch.float64)


NOISES: Registry[Callable[[int], Tensor]] = Registry(
    "noise", {"cosine": cosine, "linear": linear}, hint="give a function of the number of steps"
)
"""Functions of T that return β_1, …, β_T, (T,)."""


def _of_v(z: Tensor, output: Tensor, alpha_bar: Tensor, remaining: Tensor) -> Tensor:
    return remaining.sqrt() * z + alpha_bar.sqrt() * output


def _as_it_is(z: Tensor, output: Tensor, alpha_bar: Tensor, remaining: Tensor) -> Tensor:
    return output


PREDICTED: Registry[Callable[..., Tensor]] = Registry(
    "prediction", {"v": _of_v, "noise": _as_it_is}
)
"""ε̂ of z_t and a network's output, given ᾱ_t and 1 − ᾱ_t.

The output is the noise itself, or v = √ᾱ_t ε − √(1 − ᾱ_t) u (Salimans & Ho 2022), which says as
much of u where there is hardly anything but noise as where there is hardly any.
"""


class Noise(nn.Module):
    """q(z_t | x) = N(√ᾱ_t u, (1 − ᾱ_t) I) for t = 1, …, S, with u = 2 x − 1 in [−1, 1].

    The steps are all T of a noise, or S of them; every step then takes several of the T at once.

    Parameters
    ----------
    betas
        β_1, …, β_T, the share of noise that each of the T steps adds, (T,).
    kept
        The steps of 1, …, T that are taken, in order; all unless given.

    Attributes
    ----------
    alpha, beta
        α_t = ᾱ_t/ᾱ_{t−1} and β_t = 1 − α_t of the steps that are taken, (S,).
    alpha_bar, remaining, earlier
        ᾱ_t, 1 − ᾱ_t and 1 − ᾱ_{t−1}, (S,).
    time
        t/T, which the network is told, (S,).
    """

    alpha: Tensor
    beta: Tensor
    alpha_bar: Tensor
    remaining: Tensor
    earlier: Tensor
    time: Tensor
    reverse_variance: Tensor
    kl_weight: Tensor

    def __init__(self, betas: Tensor, kept: Sequence[int] | None = None) -> None:
        super().__init__()
        betas = betas.double().clamp(max=_MOST)
        steps = torch.arange(1, len(betas) + 1) if kept is None else torch.as_tensor(kept)
        log_alpha_bar = torch.log1p(-betas).cumsum(0)[steps - 1]
        before = torch.cat([log_alpha_bar.new_zeros(1), log_alpha_bar[:-1]])
        log_alpha = log_alpha_bar - before
        beta, remaining = -torch.expm1(log_alpha), -torch.expm1(log_alpha_bar)
        earlier = -torch.expm1(before)
        values = {
            "alpha": log_alpha.exp(),
            "beta": beta,
            "alpha_bar": log_alpha_bar.exp(),
            "remaining": remaining,
            "earlier": earlier,
            "time": steps / len(betas),
            # of q(z_{t−1} | z_t, x), t > 1; and of p(x | z_1), where the first says 0
            "reverse_variance": torch.where(
                earlier > 0, beta * earlier / remaining, remaining / log_alpha_bar.exp()
            ),
            # ½ (SNR_{t−1}/SNR_t − 1), with SNR = ᾱ/(1 − ᾱ)
            "kl_weight": 0.5 * beta / (log_alpha.exp() * earlier.clamp(min=1e-300)),
        }
        values["kl_weight"][0] = 0.0
        for name, value in values.items():
            self.register_buffer(name, value.to(torch.get_default_dtype()), persistent=False)

    def __len__(self) -> int:
        return len(self.beta)

    def at(self, name: str, step: Tensor, like: Tensor) -> Tensor:
        """A value at steps (B,), from 0, shaped so that it broadcasts with ``like``, (B, …)."""
        value: Tensor = getattr(self, name)[step]
        return value.reshape(*step.shape, *(1,) * (like.dim() - step.dim()))

    def noised(self, u: Tensor, step: Tensor, noise: Tensor) -> Tensor:
        """z_t = √ᾱ_t u + √(1 − ᾱ_t) ε at steps (B,), from 0."""
        signal, spread = self.at("alpha_bar", step, u), self.at("remaining", step, u)
        return signal.sqrt() * u + spread.sqrt() * noise

    def kl_to_prior(self, u: Tensor, *, dims: int) -> Tensor:
        """KL(q(z_T | x) ‖ N(0, I)), summed over the last ``dims`` dimensions."""
        signal, spread = self.alpha_bar[-1], self.remaining[-1]
        each = 0.5 * (signal * u.square() + spread - 1 - spread.log())
        return each.flatten(-dims).sum(-1)
