"""Two stochastic layers: p(x | z1) p(z1 | z2) p(z2), with the guide q(z1 | x) q(z2 | z1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import Trace_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.autoencoder import start_networks, starts_from_data
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.latents import latent_value
from pyro_models.likelihoods import Likelihood, likelihood_named
from pyro_models.networks import (
    ConvDecoder,
    DenseDecoder,
    Encoder,
    make_decoder,
    make_encoder,
)
from pyro_models.pair import LatentSite, data_plate, fill_unseen, pixel_mask, register_with_svi
from pyro_models.standard_normal import StandardNormal
from pyro_models.units import Units

__all__ = ["TwoLayerVAE"]

OUTPUT_BIASES = ("default", "data")


class TwoLayerModel(nn.Module):
    """p(x, z1, z2) = p(x | z1) N(z1; μ(z2), diag σ(z2)²) N(z2; 0, I)."""

    def __init__(
        self,
        prior: Encoder,
        decoder: DenseDecoder | ConvDecoder,
        likelihood: Likelihood,
        latent_dim: int,
    ) -> None:
        super().__init__()
        self.top = StandardNormal(latent_dim)
        self.prior = prior
        self.decoder = decoder
        self.likelihood = likelihood

    def forward(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The generative story, from the top; labels are ignored."""
        register_with_svi(self)
        x = placed(x, self.top.zeros)
        mask = pixel_mask(mask, self.likelihood.data_shape, x)
        with data_plate(x, n, self.top.zeros):
            z2 = pyro.sample("z2", self.top())
            z1 = pyro.sample("z1", self.prior(z2))
            p_x = self.likelihood(self.decoder(z1), mask)
            return pyro.sample("x", p_x, obs=None if x is None else fill_unseen(x, mask))


class TwoLayerGuide(nn.Module):
    """q(z1 | x) q(z2 | z1), from the bottom; unseen pixels are fed as 0, in units of the data."""

    def __init__(self, encoder: Encoder, top_encoder: Encoder, data_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.encoder = encoder
        self.top_encoder = top_encoder
        self.units = Units(data_shape)

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Sample z1 given x, then z2 given z1; labels are ignored."""
        register_with_svi(self)
        x = placed(x, next(self.parameters()))
        seen = pixel_mask(mask, tuple(x.shape[1:]), x)
        with data_plate(x, n, x):
            z1 = pyro.sample("z1", self.encoder(self.units(x, seen)))
            pyro.sample("z2", self.top_encoder(z1))


class TwoLayerVAE(nn.Module):
    """Variational autoencoder with two stochastic layers (Burda, Grosse & Salakhutdinov 2016).

    z2 ~ N(0, I), z1 | z2 ~ N(μ(z2), diag σ(z2)²), x | z1 from the likelihood; the guide goes the
    other way, q(z1 | x) q(z2 | z1). Per datum, in nats,

    log p(x) ≥ E_q[log p(x | z1) + log p(z1 | z2) + log p(z2) − log q(z1 | x) − log q(z2 | z1)].

    The paper's network for 28 × 28 pixels is 784-200-200-100-100-100-50 with tanh: ``hidden``
    (200, 200), z1 of 100, ``top_hidden`` (100, 100), z2 of 50; its mirror image generates.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    latent_dims
        Dimensions of z1 and z2.
    network, hidden
        As for :class:`pyro_models.vae.VAE`, between x and z1.
    top_hidden
        Sizes of the dense layers between z1 and z2; the model mirrors them.
    activation, likelihood, likelihood_options, output_bias
        As for :class:`pyro_models.vae.VAE`.

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

    num_classes = None
    bias_set: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dims: Sequence[int] = (100, 50),
        network: str = "dense",
        hidden: Sequence[int] = (200, 200),
        top_hidden: Sequence[int] = (100, 100),
        activation: str = "tanh",
        likelihood: str = "bernoulli",
        likelihood_options: Mapping[str, Any] | None = None,
        output_bias: str = "default",
    ) -> None:
        super().__init__()
        if len(latent_dims) != 2 or min(latent_dims) < 1:
            raise UsageError(
                f"latent_dims are those of z1 and of z2, both positive; got {list(latent_dims)}"
            )
        if output_bias not in OUTPUT_BIASES:
            raise UsageError(
                f"unknown output_bias {output_bias!r}: choose from {', '.join(OUTPUT_BIASES)}"
            )
        self.data_shape = tuple(data_shape)
        self.latent_dims = tuple(latent_dims)
        self.network = network
        self.hidden = tuple(hidden)
        self.top_hidden = tuple(top_hidden)
        self.activation = activation
        self.output_bias = output_bias
        self.register_buffer("bias_set", torch.tensor(False))
        z1, z2 = self.latent_dims
        p_x = likelihood_named(likelihood, self.data_shape, dict(likelihood_options or {}))
        out_shape = (p_x.num_parameters, *self.data_shape)
        shared: dict[str, Any] = {"activation": activation}
        # p(z1 | z2) and q(z2 | z1) are Normals given a vector, as an encoder's are
        prior = make_encoder("dense", (z2,), self.top_hidden[::-1], z1, **shared)
        decoder = make_decoder(network, z1, hidden, out_shape, **shared)
        encoder = make_encoder(network, self.data_shape, hidden, z1, **shared)
        top_encoder = make_encoder("dense", (z1,), self.top_hidden, z2, **shared)
        self.model = TwoLayerModel(prior, decoder, p_x, z2)
        self.guide = TwoLayerGuide(encoder, top_encoder, self.data_shape)

    @property
    def likelihood(self) -> Likelihood:
        """p(x | z1)."""
        p_x: Likelihood = self.model.likelihood
        return p_x

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """z1, which is decoded, and z2 above it."""
        return {f"z{i + 1}": LatentSite((dim,)) for i, dim in enumerate(self.latent_dims)}

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | z1) for ``latents["z1"]`` of shape (\\*batch, latent_dims[0])."""
        site = self.latent_sites["z1"]
        z1 = latent_value(latents, "z1", site, self.model.top.zeros)
        return {"x": self.likelihood(self.model.decoder(z1))}

    def elbo(self) -> ELBO:
        """Trace_ELBO.

        The guide samples in the reverse order of the model, so no KL of a site is a term of the
        bound, and TraceMeanField_ELBO would be wrong.
        """
        return Trace_ELBO(max_plate_nesting=1)

    @property
    def started(self) -> bool:
        """Whether nothing is to be started from data (any more)."""
        return bool(self.bias_set) or not starts_from_data(self)

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start from x as :meth:`pyro_models.vae.VAE.start_from` does."""
        return start_networks(self, x)

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair."""
        return {
            "data_shape": list(self.data_shape),
            "latent_dims": list(self.latent_dims),
            "network": self.network,
            "hidden": list(self.hidden),
            "top_hidden": list(self.top_hidden),
            "activation": self.activation,
            "likelihood": self.likelihood.name,
            "likelihood_options": self.likelihood.config(),
            "output_bias": self.output_bias,
        }
