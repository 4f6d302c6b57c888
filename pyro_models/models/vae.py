"""VAE: p(x | z) p(z) with an amortised Gaussian guide q(z | x)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
from torch import Tensor, nn

from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import EncoderGuide
from pyro_models.models.model import Model
from pyro_models.priors import prior_for

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

    log p(x) ≥ E_{q(z|x)}[log p(x | z)] − KL(q(z | x) ‖ N(0, I)), per datum, in nats.

    Parameters
    ----------
    data_shape, latent_dim
        Shape of one datum, (C, H, W) or (D,), and dimension of z.
    prior
        p(z): a name of ``pyro_models.priors.PRIORS``, a class, or a module whose call returns a
        distribution over z of event shape (latent_dim,); the standard Normal unless given.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`.

    Examples
    --------
    >>> import torch
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[32])
    >>> vae.decode({"z": torch.zeros(5, 3, 2)})["x"].mean.shape
    torch.Size([5, 3, 1, 8, 8])
    """

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dim: int = 2,
        prior: str | Mapping[str, Any] | type[nn.Module] | nn.Module | None = None,
        **shared: Any,
    ) -> None:
        networks = self.networks(data_shape, shared)
        p_z = prior_for("standard" if prior is None else prior, latent_dim)
        decoder, encoder = networks.decoder(latent_dim), networks.encoder(latent_dim)
        super().__init__(
            VAEModel(networks.likelihood, decoder=decoder, prior=p_z),
            EncoderGuide(networks.data_shape, encoder=encoder, code=None),
        )
