"""Two stochastic layers that both are decoded: p(x | z1, z2), with q(z2 | x) q(z1 | x, z2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyro
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyro_models.counts import layer_sizes
from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import Guide
from pyro_models.models.hierarchical import TwoLayerModel, TwoLayerVAE, two_dims

__all__ = ["HVAE"]


class TopDownModel(TwoLayerModel):
    """p(x, z1, z2) = p(x | z1, z2) N(z1; μ(z2), diag σ(z2)²) p(z2)."""

    def story(self, y: Tensor | None) -> Tensor:
        """From the top: z2, z1 given z2, and what the decoder makes of both."""
        z2 = pyro.sample("z2", self.top())
        z1 = pyro.sample("z1", self.prior(z2))
        return self.decoder(z1, z2)


class TopDownGuide(Guide):
    """q(z2 | x) q(z1 | x, z2)."""

    encoder: nn.Module
    top_encoder: nn.Module

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """From the top, as the model: z2 given x, then z1 given both."""
        z2 = pyro.sample("z2", self.posterior(x))
        pyro.sample("z1", self.encoder(x, z2))

    def posterior(self, x: Tensor, code: Tensor | None = None) -> TorchDistribution:
        """q(z2 | x), x in units of the data."""
        q: TorchDistribution = self.top_encoder(x)
        return q


class HVAE(Autoencoder):
    """Hierarchical variational autoencoder of two levels (Tomczak & Welling 2018).

    z2 ~ p(z2), z1 | z2 ~ N(μ(z2), diag σ(z2)²), x | z1, z2 from the likelihood; the guide samples
    in the same order, q(z2 | x) q(z1 | x, z2). Per datum, in nats,

    log p(x) ≥ E_q[log p(x | z1, z2) − KL(q(z1 | x, z2) ‖ p(z1 | z2))] − KL(q(z2 | x) ‖ p(z2)).

    As in the paper layers are gated and log σ² is clipped to [−6, 2]; its prior is
    ``prior="vamp"``, of q(z2 | u). Unlike there, a network of two inputs takes them side by side
    from its first layer on.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    latent_dims
        Dimensions of z1 and z2.
    top_hidden
        Sizes of the dense layers of p(z1 | z2), from z1 to z2.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`. An ``encoder`` of one's own is
        that of z1: it takes x, and z2 as its context.

    Examples
    --------
    >>> pair = HVAE((1, 8, 8), latent_dims=[4, 2], hidden=[32], top_hidden=[16])
    >>> pair.model(n=3).shape
    torch.Size([3, 1, 8, 8])
    """

    latent_dims: tuple[int, int]
    latent_sites = TwoLayerVAE.latent_sites
    defaults = {  # noqa: RUF012
        "hidden": (300, 300),
        "activation": "gated",
        "latent_scale": "clipped",
        "likelihood": "bernoulli",
    }

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        latent_dims: Sequence[int] = (40, 40),
        top_hidden: Sequence[int] = (300, 300),
        **shared: Any,
    ) -> None:
        networks = self.networks(data_shape, shared)
        z1, z2 = two_dims(latent_dims)
        model = TopDownModel(
            networks.likelihood,
            top=networks.prior(z2),
            prior=networks.between(z2, z1, layer_sizes(top_hidden, name="top_hidden")[::-1]),
            decoder=networks.decoder(z1, context=z2),
        )
        top_encoder, encoder = networks.normal(z2), networks.encoder(z1, context=z2)
        guide = TopDownGuide(networks.data_shape, encoder=encoder, top_encoder=top_encoder)
        super().__init__(model, guide)
