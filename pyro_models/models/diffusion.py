"""Diffusion: a deep hierarchy of latents, with a guide that has nothing to learn."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.counts import check_counts, is_count
from pyro_models.diffusion.chains import NoisingChain, ReverseChain
from pyro_models.diffusion.denoisers import denoiser_for
from pyro_models.diffusion.noise import NOISES, PREDICTED, Noise
from pyro_models.errors import UsageError, in_one_line
from pyro_models.likelihoods import DiscretizedGaussian
from pyro_models.models.guide import Guide
from pyro_models.models.model import Model
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.pair import LatentSite

__all__ = ["Diffusion"]

_OF_A_LEVEL = 2.55  # β_1 = 10⁻⁴ at 256 levels, as in Ho et al. 2020


class DiffusionModel(Model):
    """p(z) as a chain from noise, and p(x | z_1)."""

    denoiser: nn.Module
    noise: Noise
    eta: float
    predicts: str

    def story(self, y: Tensor | None) -> Tensor:
        """Sample the chain; returns μ and s of p(x | z_1)."""
        z = pyro.sample(
            "z",
            ReverseChain(
                self.noise,
                self.denoiser,
                self.data_shape,
                predicted=PREDICTED[self.predicts],
                eta=self.eta,
            ),
        )
        first = z.select(-1 - len(self.data_shape), 0)
        time = self.noise.time[0].expand(first.shape[: first.dim() - len(self.data_shape)])
        alpha_bar, remaining = self.noise.alpha_bar[0], self.noise.remaining[0]
        output = self.denoiser(first, time)
        return self.outputs(first, PREDICTED[self.predicts](first, output, alpha_bar, remaining))

    def outputs(self, z: Tensor, error: Tensor) -> Tensor:
        """Of z_1 and the noise in it: the mean û as pixels, and its σ, √((1 − ᾱ_1)/ᾱ_1)/2."""
        of, dim = self.noise, -len(self.data_shape)
        u = (z - of.remaining[0].sqrt() * error) / of.alpha_bar[0].sqrt()
        sigma = of.reverse_variance[0].sqrt() / 2
        floor: Any = self.likelihood.floor
        raw = torch.log(torch.expm1((sigma - floor).clamp(min=1e-6)))
        return torch.stack([(u + 1) / 2, raw.expand(u.shape)], dim - 1)


class DiffusionGuide(Guide):
    """q(z | x): noise is added, step by step."""

    unseen = "black"

    noise: Noise

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Sample the chain, of u = 2 x − 1."""
        pyro.sample("z", NoisingChain(self.noise, 2 * x - 1, tuple(x.shape[1:])))


class Diffusion(ModelAndGuide):
    """Discrete-time Gaussian diffusion of grey pixels (Ho et al. 2020).

    With u = 2 x − 1 and noise that is added in T steps, q(z_t | z_{t−1}) = N(√α_t z_{t−1}, β_t I),

    p(z_T) = N(0, I), p(z_{t−1} | z_t) = N(μ_t(z_t), β̃_t I), p(x | z_1) a rounded Gaussian,

    where μ_t is the mean of q(z_{t−1} | z_t, x) at the x that a network of z_t and t/T sees there,
    and β̃_t its variance. One site z holds the chain (z_1, …, z_T), so that everything that is known
    of a pair is known of this one: its whole bound and L_K by :func:`inference.particles`, say.
    Training takes one step t of each datum (:meth:`step_bound`), of which the bound is the mean.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    num_steps
        T.
    denoiser
        The network: ``"unet"`` of images, ``"dense"``, a class, or a module that is called with
        z (\\*batch, \\*data_shape) and t/T (\\*batch,).
    hidden
        Channels of the U-Net, halving the image between them, or widths of the dense blocks.
    predicts
        What it says: ``"v"``, √ᾱ_t ε − √(1 − ᾱ_t) u, or ``"noise"``, ε, as in Ho et al. 2020.
    noise
        β_1, …, β_T: ``"cosine"``, ``"linear"``, or a function of T. β_1 is at least
        (2.55/(levels − 1))², which is about the width of a level: less noise would tell the network
        nothing and cost much of the bound.
    levels
        Grey levels of the data.
    sampling_steps, eta
        See :meth:`faster`.

    Raises
    ------
    UsageError
        If a name or an option is unknown, or a number is out of its range.

    Examples
    --------
    >>> pair = Diffusion((1, 8, 8), num_steps=20, levels=17, hidden=[8, 16])
    >>> pair.model(n=3).shape
    torch.Size([3, 1, 8, 8])
    >>> pair.faster(5).latent_sites["z"].event_shape
    (5, 1, 8, 8)
    """

    called = "diffusion"

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        num_steps: int = 1000,
        denoiser: str | Mapping[str, Any] | Callable[..., nn.Module] = "unet",
        hidden: Sequence[int] | None = None,
        predicts: str = "v",
        noise: str | Callable[[int], Tensor] = "cosine",
        levels: int = 256,
        sampling_steps: int | None = None,
        eta: float = 1.0,
    ) -> None:
        check_counts(num_steps=num_steps)
        kept = None
        if sampling_steps is not None:
            check_counts(sampling_steps=sampling_steps)
            if sampling_steps > num_steps:
                raise UsageError(
                    f"of {num_steps} steps at most all are taken; got sampling_steps "
                    f"{sampling_steps}"
                )
            spread = torch.linspace(num_steps, 1, sampling_steps, dtype=torch.float64)
            kept = spread.round().long().flip(0).tolist()
        if isinstance(eta, bool) or not isinstance(eta, int | float) or not 0 <= eta <= 1:
            raise UsageError(f"eta is a number from 0 to 1; got {eta!r}")
        PREDICTED.check(predicts)
        make = NOISES[noise] if isinstance(noise, str) else noise
        with in_one_line(f"the noise {noise}"):
            betas = torch.as_tensor(make(num_steps), dtype=torch.float64).clone()
        if betas.shape != (num_steps,) or not bool(((betas > 0) & (betas < math.inf)).all()):
            raise UsageError(f"noise is {num_steps} positive numbers β; got shape {betas.shape}")
        shape = tuple(data_shape)
        if is_count(levels, least=2):
            betas[0] = betas[0].clamp(min=min(0.5, (_OF_A_LEVEL / (levels - 1)) ** 2))
        network = denoiser_for(denoiser, shape, hidden)
        least = float(Noise(betas, kept).reverse_variance[0].sqrt()) / 4
        likelihood = DiscretizedGaussian(shape, levels=levels, floor=least)
        likelihood.of_these_alone = True
        model = DiffusionModel(
            likelihood,
            noise=Noise(betas, kept),
            denoiser=network,
            eta=float(eta),
            predicts=predicts,
        )
        super().__init__(model, DiffusionGuide(shape, noise=Noise(betas, kept)))

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """One site, the chain."""
        return {"z": LatentSite((len(self.model.noise), *self.data_shape))}

    @property
    def numbers_per_datum(self) -> int:
        """Numbers that the network holds of one datum's chain."""
        size = math.prod(self.data_shape)
        return len(self.model.noise) * max(size, getattr(self.model.denoiser, "numbers", 0))

    def elbo(self) -> ELBO:
        """Trace_ELBO, of all steps: :meth:`step_bound` is the same on average."""
        return Trace_ELBO(max_plate_nesting=1)

    def step_bound(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The bound with one step t of each datum, drawn evenly from 1, …, T; (B,), nats.

        E_t[T L_t] − KL(q(z_T | x) ‖ N(0, I)), where L_1 = log p(x_seen | z_1) and

        L_t = −KL(q(z_{t−1} | z_t, x) ‖ p(z_{t−1} | z_t)) = −½ (SNR_{t−1}/SNR_t − 1) ‖ε − ε̂‖²

        for t > 1. Its mean is the ELBO of model and guide (Ho et al. 2020, eq. 5).
        """
        error, log_p, step, u = self._at_a_step(x, mask)
        noise, dims = self.model.noise, len(self.data_shape)
        chosen = torch.where(step == 0, log_p, -noise.kl_weight[step] * error)
        return len(noise) * chosen - noise.kl_to_prior(u, dims=dims)

    def noise_error(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """‖ε − ε̂(z_t, t)‖² of one step of each datum, (B,): "simple" in Ho et al. 2020, eq. 14."""
        return self._at_a_step(x, mask)[0]

    def _at_a_step(self, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """‖ε − ε̂‖², log p(x_seen | z_t) as if t were 1, the steps from 0, and u; (B,) each."""
        u = 2 * self.guide.units(x, mask) - 1
        noise: Noise = self.model.noise
        # one uniform number, shifted: steps of all sizes in every batch, each still even by itself
        shifts = torch.arange(len(x), dtype=u.dtype, device=u.device) / len(x)
        even = (torch.rand((), dtype=u.dtype, device=u.device) + shifts) % 1
        step = (even * len(noise)).long().clamp(max=len(noise) - 1)
        drawn = torch.randn_like(u)
        z = noise.noised(u, step, drawn)
        output = self.model.denoiser(z, noise.time[step])
        levels = noise.at("alpha_bar", step, u), noise.at("remaining", step, u)
        predicted = PREDICTED[self.model.predicts](z, output, *levels)
        error = (drawn - predicted).square().flatten(1).sum(-1)
        p_x = self.likelihood(self.model.outputs(z, predicted), mask)
        return error, p_x.log_prob(self.guide.units(x, mask)), step, u

    def faster(self, num_steps: int, *, eta: float = 1.0) -> Diffusion:
        """The same networks with a chain of fewer steps, spread evenly over all.

        At η = 1 it is a model with a guide and scores of its own; at η = 0 (Song et al. 2021, DDIM)
        samples follow from z_T alone, which gives better ones in few steps, and no score.
        """
        options = {**self.config(), "sampling_steps": num_steps, "eta": eta}
        made = Diffusion(**{**options, "denoiser": self.model.denoiser})
        made._options["denoiser"] = self.config()["denoiser"]
        return made.to(self.model.noise.beta)
