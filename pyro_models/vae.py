"""VAE: p(x | z) p(z) with an amortised Gaussian guide q(z | x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.autoencoder import Autoencoder
from pyro_models.device import placed
from pyro_models.latents import latent_value
from pyro_models.likelihoods import Likelihood
from pyro_models.networks import ConvDecoder, DenseDecoder, Encoder
from pyro_models.pair import data_plate, fill_unseen, pixel_mask, register_with_svi
from pyro_models.standard_normal import StandardNormal
from pyro_models.units import Units

__all__ = ["VAE"]


class VAEModel(nn.Module):
    """p(x, z) = p(x | z) N(z; 0, I)."""

    def __init__(
        self, decoder: DenseDecoder | ConvDecoder, likelihood: Likelihood, latent_dim: int
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.likelihood = likelihood
        self.prior = StandardNormal(latent_dim)

    def forward(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The generative story; labels are ignored."""
        register_with_svi(self)
        x = placed(x, self.prior.zeros)
        mask = pixel_mask(mask, self.likelihood.data_shape, x)
        with data_plate(x, n, self.prior.zeros):
            z = pyro.sample("z", self.prior())
            p_x = self.likelihood(self.decoder(z), mask)
            return pyro.sample("x", p_x, obs=None if x is None else fill_unseen(x, mask))


class VAEGuide(nn.Module):
    """q(z | x) from the encoder, which sees x in its units; unseen pixels are fed to it as 0."""

    def __init__(self, encoder: nn.Module, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.units = Units(data_shape)

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample z given x; labels are ignored."""
        register_with_svi(self)
        x = placed(x, next(self.parameters()))
        seen = pixel_mask(mask, tuple(x.shape[1:]), x)
        with data_plate(x, n, x):
            pyro.sample("z", self.encoder(self.units(x, seen)))


class VAE(Autoencoder):
    """Variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014).

    log p(x) ≥ E_{q(z|x)}[log p(x | z)] − KL(q(z | x) ‖ N(0, I)), per datum, in nats.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    latent_dim
        Dimension of z.
    network
        ``"dense"`` or ``"conv"``.
    hidden
        Layer sizes (dense) or channels (conv) from data to latents; the decoder mirrors them.
    activation
        relu, tanh, softplus, silu, gelu or leaky_relu.
    likelihood
        Name in ``pyro_models.likelihoods.LIKELIHOODS``.
    likelihood_options
        Its options, e.g. ``{"scale": "decoder"}``.
    output_bias
        Where the decoder's outputs start: ``"default"``, as PyTorch makes them, or ``"data"``, at
        the mean of the data, once ``fit`` or :meth:`start_from` has seen them. Then, too, networks
        get the units of data that are far from 0, large or tiny, if the likelihood is Gaussian.

    Examples
    --------
    >>> import torch
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[32])
    >>> vae.decode({"z": torch.zeros(5, 3, 2)})["x"].mean.shape
    torch.Size([5, 3, 1, 8, 8])
    """

    num_classes = None

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dim: int = 2,
        network: str = "dense",
        hidden: Sequence[int] = (400, 100),
        activation: str = "relu",
        likelihood: str = "cross_entropy",
        likelihood_options: Mapping[str, Any] | None = None,
        output_bias: str = "default",
    ) -> None:
        super().__init__(
            data_shape,
            context=0,
            latent_dim=latent_dim,
            network=network,
            hidden=hidden,
            activation=activation,
            likelihood=likelihood,
            likelihood_options=likelihood_options,
            output_bias=output_bias,
        )

    def _make_model(self, decoder: DenseDecoder | ConvDecoder, likelihood: Likelihood) -> VAEModel:
        return VAEModel(decoder, likelihood, self.latent_dim)

    def _make_guide(self, encoder: Encoder) -> VAEGuide:
        return VAEGuide(encoder, self.data_shape)

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | z) for ``latents["z"]`` of shape (\\*batch, latent_dim)."""
        z = latent_value(latents, "z", self.latent_sites["z"], self.model.prior.zeros)
        return {"x": self.likelihood(self.model.decoder(z))}
