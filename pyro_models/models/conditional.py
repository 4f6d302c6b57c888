"""CVAE: p(x | z, y) p(z | y) for a known label y, with the guide q(z | x, y)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.counts import is_count
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.labels import check_each, integers
from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import EncoderGuide
from pyro_models.models.model import Model
from pyro_models.networks import NormalHead
from pyro_models.registry import Registry

__all__ = ["CVAE"]

MISSING_LABELS = Registry("missing_label", {"refuse": False, "zeros": True})


class LabelPrior(nn.Module):
    """p(z | y) = N(μ_y, diag σ_y²), one row of μ and σ per label, learned."""

    def __init__(self, num_classes: int, latent_dim: int) -> None:
        super().__init__()
        self.head = NormalHead(num_classes, latent_dim)

    def forward(self, label: Tensor) -> TorchDistribution:
        """One-hot (\\*batch, num_classes) to a Normal over z."""
        return self.head(label.to(self.head.linear.weight.dtype))


class LabelCode(nn.Module):
    """Labels as one-hot vectors; a missing one is refused, or coded as all zeros."""

    indicator: Tensor

    def __init__(self, num_classes: int, missing_label: str) -> None:
        super().__init__()
        self.num_classes, self.missing_label = num_classes, missing_label
        self.register_buffer("indicator", torch.zeros(()), persistent=False)  # knows the device

    def forward(self, y: Tensor | None) -> Tensor:
        """Labels (\\*batch,) to (\\*batch, num_classes); without any, (1, num_classes)."""
        may_miss = MISSING_LABELS[self.missing_label]
        if y is None and not may_miss:
            classes = f"integers 0…{self.num_classes - 1}"
            raise UsageError(f"a CVAE needs labels: pass y, {classes}, one per datum")
        given = torch.full((1,), -1, device=self.indicator.device) if y is None else y
        label = placed(
            integers(given, self.num_classes, who="a CVAE", may_miss=may_miss), self.indicator
        )
        rows = F.one_hot(label.clamp(min=0) if may_miss else label, self.num_classes)
        return rows.to(torch.get_default_dtype()) * (label >= 0).unsqueeze(-1)

    def per_datum(self, y: Tensor | None, size: int | None) -> Tensor:
        """One row per datum (size, num_classes), or (1, num_classes) for one shared by all."""
        code: Tensor = self(y)
        check_each(code.shape[:-1], size, who="a CVAE")
        return code


class CVAEModel(Model):
    """p(x, z | y) = p(x | z, y) p(z | y)."""

    decoder: nn.Module
    code: LabelCode
    standard: nn.Module
    label_prior: nn.Module | None

    def prior(self, label: Tensor) -> TorchDistribution:
        """p(z | y) for one-hot labels."""
        return self.standard() if self.label_prior is None else self.label_prior(label)

    def labels(self, y: Tensor | None, size: int | None) -> Tensor:
        """One-hot labels, (size, C), or (1, C) for one shared by all."""
        return self.code.per_datum(y, size)

    def story(self, y: Tensor | None) -> Tensor:
        """z given the label, and what the decoder makes of both."""
        assert y is not None
        return self.decoder(pyro.sample("z", self.prior(y)), y)


class CVAE(Autoencoder):
    """Conditional variational autoencoder (Sohn, Lee & Yan 2015), given the label.

    log p(x | y) ≥ E_{q(z|x,y)}[log p(x | z, y)] − KL(q(z | x, y) ‖ p(z | y)), per datum, in nats.
    The label enters encoder and decoder as a one-hot vector. A label of a uniform p(y) would add
    −log num_classes to make it a bound on log p(x, y).

    Parameters
    ----------
    data_shape, num_classes, latent_dim
        Shape of one datum, (C, H, W) or (D,), number of labels, and dimension of z.
    learned_prior
        False: p(z | y) = p(z), the ``prior``, N(0, I) unless given. True: a learned Normal per
        label, and no ``prior`` may be given.
    missing_label
        ``"refuse"``, or ``"zeros"``: a missing label (−1) becomes a vector of zeros. That is a
        common mistake, kept to be compared with: "missing" is then one more class with data of its
        own, the unlabelled ones teach p(x | y) of no label, and the bound is one on log p(x | y)
        for some data and on log p(x | missing) for others. Use
        :class:`pyro_models.models.semi_supervised.SemiSupervisedVAE` instead, which sums y out.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`.

    Examples
    --------
    >>> import torch
    >>> cvae = CVAE((1, 8, 8), num_classes=10, latent_dim=4, hidden=[32])
    >>> cvae.model(n=10, y=torch.arange(10)).shape
    torch.Size([10, 1, 8, 8])
    """

    defaults = {"hidden": (256,)}  # noqa: RUF012

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        num_classes: int,
        latent_dim: int = 40,
        learned_prior: bool = False,
        missing_label: str = "refuse",
        **shared: Any,
    ) -> None:
        if not is_count(num_classes):
            raise UsageError(f"a CVAE needs at least one class; got {num_classes}")
        MISSING_LABELS.check(missing_label)
        networks = self.networks(data_shape, shared)
        if learned_prior and networks.given_prior is not None:
            raise UsageError(
                "a CVAE has one prior: leave out prior, or learned_prior, a Normal per label"
            )
        decoder = networks.decoder(latent_dim, context=num_classes)
        encoder = networks.encoder(latent_dim, context=num_classes)
        codes = [LabelCode(num_classes, missing_label) for _ in range(2)]
        model = CVAEModel(
            networks.likelihood,
            num_classes=num_classes,
            decoder=decoder,
            code=codes[0],
            standard=networks.prior(latent_dim),
            label_prior=LabelPrior(num_classes, latent_dim) if learned_prior else None,
        )
        super().__init__(model, EncoderGuide(networks.data_shape, encoder=encoder, code=codes[1]))
        self.takes_missing_labels = MISSING_LABELS[missing_label]

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | z, y) for ``latents["z"]`` (\\*batch, latent_dim) and labels that broadcast."""
        return super().decode(latents, y=self.model.code(y))
