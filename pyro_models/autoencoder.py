"""What the autoencoders (VAE, CVAE) share: one site z between a decoder and an encoder network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from pyro.infer import TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn

from pyro_models.device import device_of
from pyro_models.errors import UsageError
from pyro_models.likelihoods import Likelihood, likelihood_named
from pyro_models.moments import mean_of, spread_of
from pyro_models.networks import ConvDecoder, DenseDecoder, Encoder, make_decoder, make_encoder
from pyro_models.observed import training_data
from pyro_models.pair import LatentSite
from pyro_models.units import set_units

__all__ = ["Autoencoder", "start_networks", "starts_from_data"]

OUTPUT_BIASES = ("default", "data")


def starts_from_data(pair: Any) -> bool:
    """Whether options say so, or data may be in any units; images are of pixels in [0, 1]."""
    any_units = pair.likelihood.of_any_scale and len(pair.data_shape) == 1
    return pair.output_bias == "data" or any_units


def start_networks(pair: Any, x: Tensor) -> str:
    """Start the networks of a pair from x, (N, \\*data_shape); returns what was started.

    A likelihood of data of any scale gives all networks the units of x. The output bias ``"data"``
    starts the decoder at the mean of x, and a learned scale of the likelihood at their spread.
    """
    p_x: Likelihood = pair.likelihood
    x = training_data(x, p_x.data_shape).to(device_of(pair))
    done = []
    if p_x.of_any_scale and set_units(pair, x):
        done.append("units of the data")
    if pair.output_bias == "data":
        if type(p_x).start_at is not Likelihood.start_at:  # of many images a spread takes seconds
            p_x.start_at(spread_of(x))
        pair.model.decoder.set_output_bias(mean_of(x), p_x.outputs_for)
        done.append("output bias from the mean of the data")
    pair.bias_set.fill_(True)
    return ", ".join(done)


class Autoencoder(nn.Module):
    """Options, networks and start of a pair with p(x | z, context) and q(z | x, context).

    A subclass makes ``model`` (with ``decoder`` and ``likelihood``) and ``guide``. Parameters are
    described at :class:`pyro_models.vae.VAE`; ``context`` is the length of the vector that both
    networks are given beside their input, 0 for none.
    """

    bias_set: Tensor

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        context: int,
        latent_dim: int,
        network: str,
        hidden: Sequence[int],
        activation: str,
        likelihood: str,
        likelihood_options: Mapping[str, Any] | None,
        output_bias: str,
    ) -> None:
        super().__init__()
        if output_bias not in OUTPUT_BIASES:
            raise UsageError(
                f"unknown output_bias {output_bias!r}: choose from {', '.join(OUTPUT_BIASES)}"
            )
        self.data_shape = tuple(data_shape)
        self.latent_dim = latent_dim
        self.network = network
        self.hidden = tuple(hidden)
        self.activation = activation
        self.output_bias = output_bias
        self.register_buffer("bias_set", torch.tensor(False))
        p_x = likelihood_named(likelihood, self.data_shape, dict(likelihood_options or {}))
        self.model, self.guide = self._build(p_x, context)

    def _build(self, p_x: Likelihood, context: int) -> tuple[Any, Any]:
        """The modules of p(x, z) and q(z | x)."""
        shared: dict[str, Any] = {"context": context, "activation": self.activation}
        network, hidden, latent_dim = self.network, self.hidden, self.latent_dim
        out_shape = (p_x.num_parameters, *self.data_shape)
        decoder = make_decoder(network, latent_dim, hidden, out_shape, **shared)
        encoder = make_encoder(network, self.data_shape, hidden, latent_dim, **shared)
        return self._make_model(decoder, p_x), self._make_guide(encoder)

    def _make_model(self, decoder: DenseDecoder | ConvDecoder, likelihood: Likelihood) -> Any:
        """The module of p(x, z)."""
        raise NotImplementedError

    def _make_guide(self, encoder: Encoder) -> Any:
        """The module of q(z | x)."""
        raise NotImplementedError

    @property
    def likelihood(self) -> Likelihood:
        """p(x | z)."""
        p_x: Likelihood = self.model.likelihood
        return p_x

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """One continuous site, z."""
        return {"z": LatentSite((self.latent_dim,))}

    def elbo(self) -> ELBO:
        """TraceMeanField_ELBO: the KL term in closed form."""
        return TraceMeanField_ELBO(max_plate_nesting=1)

    @property
    def started(self) -> bool:
        """Whether nothing is to be started from data (any more)."""
        return bool(self.bias_set) or not starts_from_data(self)

    @torch.no_grad()
    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Start from x as the options say; returns a name for the record.

        With the output bias ``"data"`` the decoder starts at the mean of x and need not learn it
        first (as in Burda et al. 2016), and a learned σ of the likelihood at their spread. Under a
        Gaussian likelihood, all networks see and make data that lie far from 0 or are large or tiny
        in units of their own (:func:`pyro_models.units.units_of`).
        """
        return start_networks(self, x)

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair."""
        return {
            "data_shape": list(self.data_shape),
            "latent_dim": self.latent_dim,
            "network": self.network,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "likelihood": self.likelihood.name,
            "likelihood_options": self.likelihood.config(),
            "output_bias": self.output_bias,
        }
