"""Two stochastic layers: p(x | z1) p(z1 | z2) p(z2), with the guide q(z1 | x) q(z2 | z1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.counts import is_count, layer_sizes
from pyro_models.device import like_of
from pyro_models.errors import UsageError
from pyro_models.latents import latent_value
from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import Guide
from pyro_models.models.model import Model
from pyro_models.networks import Encoder
from pyro_models.pair import LatentSite

__all__ = ["TwoLayerVAE"]


def two_dims(latent_dims: Sequence[int]) -> tuple[int, int]:
    """The dimensions of z1 and z2."""
    if len(latent_dims) != 2 or not all(map(is_count, latent_dims)):
        raise UsageError(
            f"latent_dims are those of z1 and of z2, both positive; got {list(latent_dims)}"
        )
    return latent_dims[0], latent_dims[1]


class TwoLayerModel(Model):
    """p(x, z1, z2) = p(x | z1) N(z1; μ(z2), diag σ(z2)²) p(z2)."""

    top: nn.Module
    prior: Encoder
    decoder: nn.Module

    def story(self, y: Tensor | None) -> Tensor:
        """From the top: z2, z1 given z2, and what the decoder makes of z1."""
        z2 = pyro.sample("z2", self.top())
        z1 = pyro.sample("z1", self.prior(z2))
        return self.decoder(z1)


class TwoLayerGuide(Guide):
    """q(z1 | x) q(z2 | z1)."""

    encoder: nn.Module
    top_encoder: Encoder

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """From the bottom: z1 given x, then z2 given z1."""
        z1 = pyro.sample("z1", self.encoder(x))
        pyro.sample("z2", self.top_encoder(z1))


class TwoLayerVAE(Autoencoder):
    """Variational autoencoder with two stochastic layers (Burda, Grosse & Salakhutdinov 2016).

    z2 ~ p(z2), N(0, I) unless another ``prior`` is given, z1 | z2 ~ N(μ(z2), diag σ(z2)²), x | z1
    from the likelihood; the guide goes the other way, q(z1 | x) q(z2 | z1). Per datum, in nats,

    log p(x) ≥ E_q[log p(x | z1) + log p(z1 | z2) + log p(z2) − log q(z1 | x) − log q(z2 | z1)].

    The paper's network for 28 × 28 pixels is 784-200-200-100-100-100-50 with tanh: ``hidden``
    (200, 200), z1 of 100, ``top_hidden`` (100, 100), z2 of 50; its mirror image generates.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    latent_dims
        Dimensions of z1 and z2.
    top_hidden
        Sizes of the dense layers between z1 and z2; the model mirrors them.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`.

    Raises
    ------
    UsageError
        If ``latent_dims`` are not two positive numbers, or an option is unknown.

    Examples
    --------
    >>> pair = TwoLayerVAE((1, 8, 8), latent_dims=[4, 2], hidden=[32], top_hidden=[16])
    >>> pair.model(n=3).shape
    torch.Size([3, 1, 8, 8])
    """

    called = "two-layer VAE"

    latent_dims: tuple[int, int]
    defaults = {"hidden": (200, 200), "activation": "tanh", "likelihood": "bernoulli"}  # noqa: RUF012

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dims: Sequence[int] = (100, 50),
        top_hidden: Sequence[int] = (100, 100),
        **shared: Any,
    ) -> None:
        networks = self.networks(data_shape, shared)
        z1, z2 = two_dims(latent_dims)
        # p(z1 | z2) and q(z2 | z1) are Normals given a vector, as an encoder's are
        prior = networks.between(z2, z1, layer_sizes(top_hidden, name="top_hidden")[::-1])
        decoder, encoder = networks.decoder(z1), networks.encoder(z1)
        top_encoder = networks.between(z1, z2, top_hidden)
        super().__init__(
            TwoLayerModel(
                networks.likelihood, top=networks.prior(z2), prior=prior, decoder=decoder
            ),
            TwoLayerGuide(networks.data_shape, encoder=encoder, top_encoder=top_encoder),
        )

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """z1, which is decoded, and z2 above it."""
        return {f"z{i + 1}": LatentSite((dim,)) for i, dim in enumerate(self.latent_dims)}

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | z1) for ``latents["z1"]`` of shape (\\*batch, latent_dims[0])."""
        z1 = latent_value(latents, "z1", self.latent_sites["z1"], like_of(self))
        return {"x": self.likelihood(self.model.decoder(z1))}

    def elbo(self) -> ELBO:
        """Trace_ELBO.

        The guide samples in the reverse order of the model, so no KL of a site is a term of the
        bound, and TraceMeanField_ELBO would be wrong.
        """
        return Trace_ELBO(max_plate_nesting=1)
