"""A generator z → x with Gaussian noise around it: what is trained by an adversarial objective."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.device import device_of
from pyro_models.errors import UsageError
from pyro_models.inserted import inserted
from pyro_models.likelihoods import Gaussian
from pyro_models.models.autoencoder import Networks
from pyro_models.models.guide import PriorGuide
from pyro_models.models.model_and_guide import ModelAndGuide
from pyro_models.models.vae import VAEModel
from pyro_models.networks import Architecture
from pyro_models.observed import training_data
from pyro_models.priors import PRIORS, prior_for
from pyro_models.registry import Registry
from pyro_models.units import set_units

__all__ = ["Generator"]

OUTPUTS: Registry[type[nn.Module]] = Registry(
    "output", {"sigmoid": nn.Sigmoid, "identity": nn.Identity}
)


class RowNorm(nn.BatchNorm1d):
    """Batch norm of rows; one row, which has no spread, is normalised by the running averages."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, features) to the same shape."""
        if len(x) > 1:
            return super().forward(x)
        averages = self.running_mean, self.running_var
        return F.batch_norm(x, *averages, self.weight, self.bias, eps=self.eps)


def _norm_after(layer: nn.Module) -> nn.Module | None:
    if isinstance(layer, nn.Linear):
        return RowNorm(layer.out_features)
    return nn.BatchNorm2d(layer.out_channels) if isinstance(layer, nn.ConvTranspose2d) else None


class _Network(nn.Module):
    """G: a decoder, with batch norm between its layers if asked for, and the range of its output.

    Batch norm stands behind each hidden layer but the one that reads z.
    """

    def __init__(self, decoder: nn.Module, *, batch_norm: bool, output: nn.Module) -> None:
        super().__init__()
        if batch_norm:
            body = getattr(decoder, "body", None)
            if not isinstance(body, nn.Sequential):
                raise UsageError(
                    f"batch_norm goes between the layers of a network, and {type(decoder).__name__}"
                    " is one of your own: put it there yourself"
                )
            layers = [m for m in body if _norm_after(m) is not None]
            ends = layers[-1:] + (layers[:1] if isinstance(layers[0], nn.Linear) else [])
            own = {id(layer) for layer in ends}
            decoder.body = inserted(body, lambda m: None if id(m) in own else _norm_after(m))
        self.decoder, self.output = decoder, output

    def forward(self, z: Tensor) -> Tensor:
        """(\\*batch, latent_dim) to (\\*batch, 1, \\*data_shape)."""
        out = self.output(self.decoder(z.reshape(-1, z.shape[-1])))
        return out.reshape(*z.shape[:-1], *out.shape[1:])


class Generator(ModelAndGuide):
    """Generator of an adversarial game (Goodfellow et al. 2014), as a pair: p(x | z) = N(G(z), σ²).

    x = G(z) + σ ε with z ~ p(z), ε ~ N(0, I). ``fit(pair, data, objective="adversarial")`` trains G
    alone. σ takes no part in that; it makes the generator a density, so that latents of a given
    datum are inferred, half-seen data completed and log p(x) estimated as with any pair (Wu et al.
    2017). There is no encoder: the guide is the prior, and ``infer`` fits one to given data.

    Parameters
    ----------
    data_shape, latent_dim
        Shape of one datum, (C, H, W) or (D,), and dimension of z.
    sigma
        σ > 0, in units of the data: fixed and the same for all values. :meth:`set_sigma` changes it
        later, such as to what is best on validation data.
    prior
        p(z), as for :class:`pyro_models.VAE`; the standard Normal unless given.
    network, hidden, activation, decoder
        As for :class:`pyro_models.models.autoencoder.Networks`: layers from data to latents, which
        G goes through backwards.
    batch_norm
        Normalise each hidden layer but the first over the batch, in training.
    output
        Range of G: ``"sigmoid"``, (0, 1), or ``"identity"``; sigmoid for images unless given.

    Examples
    --------
    >>> gan = Generator((1, 8, 8), latent_dim=3, hidden=[32])
    >>> gan.decode({"z": torch.zeros(5, 3)})["x"].mean.shape
    torch.Size([5, 1, 8, 8])
    >>> gan.set_sigma(0.2)
    >>> gan.config()["sigma"]
    0.2
    """

    called = "generator"

    units_set: Tensor
    latent_dim: int

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dim: int = 10,
        sigma: float = 0.1,
        prior: str | Mapping[str, Any] | type[nn.Module] | nn.Module | None = None,
        network: str | Mapping[str, Any] | Architecture = "dense",
        hidden: Sequence[int] = (256, 128),
        activation: str | Mapping[str, Any] | type[nn.Module] = "leaky_relu",
        batch_norm: bool = False,
        output: str | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        networks = Networks(
            data_shape,
            network=network,
            hidden=hidden,
            activation=activation,
            likelihood=Gaussian(tuple(data_shape), scale=_checked(sigma)),
            decoder=decoder,
        )
        images = len(networks.data_shape) == 3
        out = OUTPUTS[output or ("sigmoid" if images else "identity")]()
        p_z = prior_for("standard" if prior is None else prior, latent_dim)
        body = networks.decoder(latent_dim)
        network_of_z = _Network(body, batch_norm=batch_norm, output=out)
        model = VAEModel(networks.likelihood, decoder=network_of_z, prior=p_z)
        super().__init__(model, PriorGuide(p_z))
        self.register_buffer("units_set", torch.tensor(images))

    @property
    def sigma(self) -> float:
        """σ, in units of the data."""
        p_x: Any = self.likelihood
        return float(p_x.scale)

    def set_sigma(self, sigma: float) -> None:
        """Let σ be this value; a ``UsageError`` is raised if it is not positive."""
        p_x: Any = self.likelihood
        p_x.scale = _checked(sigma)

    @property
    def started(self) -> bool:
        """Whether nothing is to be started from data: images are of pixels in [0, 1]."""
        return bool(self.units_set)

    def start_from(self, x: Tensor, *, seed: int = 0) -> str:
        """Let G and the critic work in units of vectors x, (N, D); returns its name, or nothing."""
        x = training_data(x, self.data_shape).to(device_of(self))
        self.units_set.fill_(True)
        return "units of the data" if set_units(self, x) else ""

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair; what has no name, as it was given."""
        options = {**super().config(), "sigma": self.sigma}
        if isinstance(prior := options["prior"], type):
            options["prior"] = PRIORS.name_of(prior) or prior
        return {k: v for k, v in options.items() if k != "decoder" or v is not None}


def _checked(sigma: float) -> float:
    number = isinstance(sigma, int | float) and not isinstance(sigma, bool)
    if not (number and sigma > 0 and math.isfinite(sigma)):
        raise UsageError(f"sigma, the noise around G(z), is a positive number; got {sigma!r}")
    return float(sigma)
