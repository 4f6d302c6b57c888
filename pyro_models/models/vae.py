"""VAE: p(x | z) p(z) with an amortised Gaussian guide q(z | x)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import EncoderGuide
from pyro_models.models.model import Model

__all__ = ["VAE"]


class VAEModel(Model):
    """p(x, z) = p(x | z) p(z)."""

    decoder: nn.Module
    prior: nn.Module

    def story(self, y: Tensor | None) -> Tensor:
        """z from the prior, and what the decoder makes of it."""
        return self.decoder(pyro.sample("z", self.prior()))


class VAE(Autoencoder):
    """Variational autoencoder (Kingma & Welling 2014; Rezende et al. 2014).

    log p(x) ≥ E_{q(z|x)}[log p(x | z)] − KL(q(z | x) ‖ p(z)), per datum, in nats.

    Parameters
    ----------
    data_shape, latent_dim
        Shape of one datum, (C, H, W) or (D,), and dimension of z.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`.

    Examples
    --------
    >>> import torch
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[32])
    >>> vae.decode({"z": torch.zeros(5, 3, 2)})["x"].mean.shape
    torch.Size([5, 3, 1, 8, 8])
    """

    in_config = frozenset(("prior",))

    def __init__(self, data_shape: Sequence[int], *, latent_dim: int = 2, **shared: Any) -> None:
        networks = self.networks(data_shape, shared)
        p_z = networks.prior(latent_dim)
        decoder, encoder = networks.decoder(latent_dim), networks.encoder(latent_dim)
        super().__init__(
            VAEModel(networks.likelihood, decoder=decoder, prior=p_z),
            EncoderGuide(networks.data_shape, encoder=encoder, code=None),
        )
