"""M2: p(x | y, z) p(y) p(z), with a classifier q(y | x) in the guide; any labels may be missing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import TraceEnum_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.autoencoder import Autoencoder
from pyro_models.device import placed
from pyro_models.errors import UsageError
from pyro_models.labels import KnownLabels, known_labels
from pyro_models.latents import latent_value
from pyro_models.likelihoods import Likelihood
from pyro_models.masks import Mask
from pyro_models.networks import ConvDecoder, DenseDecoder, Encoder, make_classifier
from pyro_models.observed import checked
from pyro_models.pair import (
    LatentSite,
    data_plate,
    fill_unseen,
    pixel_mask,
    register_with_svi,
)
from pyro_models.standard_normal import StandardNormal
from pyro_models.units import Units

__all__ = ["SemiSupervisedVAE"]

WHO = "a semi-supervised VAE"
_IMPOSSIBLE = -1e4  # its exponential is 0 in every float type, and 0 times it is no NaN


class SemiSupervisedModel(nn.Module):
    """p(x, y, z) = p(x | y, z) N(z; 0, I) / C."""

    label_logits: Tensor

    def __init__(
        self,
        decoder: DenseDecoder | ConvDecoder,
        likelihood: Likelihood,
        *,
        latent_dim: int,
        num_classes: int,
    ) -> None:
        super().__init__()
        self.decoder = decoder
        self.likelihood = likelihood
        self.num_classes = num_classes
        self.prior = StandardNormal(latent_dim)
        self.register_buffer("label_logits", torch.zeros(num_classes), persistent=False)

    def forward(
        self,
        x: Tensor | None = None,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """The generative story; known labels are what they are, the others are drawn."""
        register_with_svi(self)
        size = n if x is None else len(x)
        x = placed(x, self.label_logits)
        device = self.label_logits.device
        known = known_labels(y, self.num_classes, size, device=device, who=WHO)
        if y is not None and size is None:
            size = len(known)
        mask = pixel_mask(mask, self.likelihood.data_shape, x)
        with data_plate(x, size, self.label_logits) as rows:
            p_y = KnownLabels(
                logits=self.label_logits.expand(len(rows), -1), known=known.expand(len(rows))
            )
            label = pyro.sample("y", p_y, infer={"enumerate": "parallel"})
            z = pyro.sample("z", self.prior())
            p_x = self.likelihood(self.decoder(z, F.one_hot(label, self.num_classes)), mask)
            return pyro.sample("x", p_x, obs=None if x is None else fill_unseen(x, mask))


class SemiSupervisedGuide(nn.Module):
    """q(y | x) q(z | x, y); a known label has probability 1.

    Unseen pixels are fed as 0, in units of the data.
    """

    def __init__(
        self,
        encoder: nn.Module,
        classifier: nn.Module,
        num_classes: int,
        data_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = classifier
        self.units = Units(data_shape)
        self.num_classes = num_classes

    def forward(
        self,
        x: Tensor,
        *,
        y: Tensor | None = None,
        n: int | None = None,
        mask: Tensor | None = None,
    ) -> None:
        """Infer the missing labels, then z."""
        register_with_svi(self)
        x = placed(x, next(self.parameters()))
        known = known_labels(y, self.num_classes, len(x), device=x.device, who=WHO).expand(len(x))
        u = self.units(x, pixel_mask(mask, tuple(x.shape[1:]), x))
        missing = known < 0
        logits = _IMPOSSIBLE * (1 - F.one_hot(known.clamp(min=0), self.num_classes).to(x.dtype))
        infer = {}
        if bool(missing.any()):
            logits = torch.where(missing.unsqueeze(-1), self.class_logits(u), logits)
            infer = {"enumerate": "parallel"}
        with data_plate(x, n, x):
            label = pyro.sample("y", dist.Categorical(logits=logits), infer=infer)
            pyro.sample("z", self.encoder(u, F.one_hot(label, self.num_classes)))

    def class_logits(self, u: Tensor) -> Tensor:
        """log q(y | x), (B, C), up to a constant, of what the units make of x."""
        logits: Tensor = self.classifier(u)
        return logits.to(u.dtype)


class LabelsApart(TraceEnum_ELBO):
    """TraceEnum_ELBO in two passes: one decoder pass where y is known, C where it is summed out.

    The sum of both is what TraceEnum_ELBO gives for the whole batch, up to its random numbers.
    """

    def __init__(self, **options: Any) -> None:
        # labelled data leave nothing to enumerate
        super().__init__(strict_enumeration_warning=False, **options)

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, **given: Any
    ) -> Tensor:
        """−bound, summed over data, with its gradient."""
        parts = [
            super(LabelsApart, self).differentiable_loss(model, guide, rows, **conditions)
            for rows, conditions in _by_label(x, **given)
        ]
        return torch.stack(parts).sum()

    def loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, **given: Any
    ) -> float:
        """−bound, summed over data."""
        return math.fsum(
            super(LabelsApart, self).loss(model, guide, rows, **conditions)
            for rows, conditions in _by_label(x, **given)
        )

    def loss_and_grads(
        self, model: Callable[..., Any], guide: Callable[..., Any], x: Tensor, **given: Any
    ) -> float:
        """−bound, summed over data; its gradient is added to the parameters."""
        return math.fsum(
            super(LabelsApart, self).loss_and_grads(model, guide, rows, **conditions)
            for rows, conditions in _by_label(x, **given)
        )


def _by_label(
    x: Tensor, *, y: Tensor | None = None, mask: Tensor | None = None
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """The rows with a label and those without, whichever there are."""
    if y is None or len(y) != len(x) or len((y >= 0).unique()) == 1:
        yield x, {"y": y, "mask": mask}
        return
    known = (y >= 0).to(x.device)
    mask = pixel_mask(mask, tuple(x.shape[1:]), x)
    for rows in (known, ~known):
        seen = mask if mask is None or len(mask) != len(x) else mask[rows]
        yield x[rows], {"y": y[rows.to(y.device)], "mask": seen}


class SemiSupervisedVAE(Autoencoder):
    """Semi-supervised VAE, the M2 of Kingma, Rezende, Mohamed & Welling (2014).

    p(y) = 1/C, p(z) = N(0, I), p(x | y, z); guide q(y | x) q(z | x, y). Per datum, in nats, with

    L(x, y) = E_{q(z|x,y)}[log p(x | y, z) + log p(y) + log p(z) − log q(z | x, y)],

    a datum with a label has the bound log p(x, y) ≥ L(x, y), one without has

    log p(x) ≥ Σ_y q(y | x) L(x, y) + H(q(y | x)),

    y summed out, never sampled. A batch may mix both: ``y`` is −1 where a label is missing.

    The bound of labelled data does not contain q(y | x). Training therefore adds α log q(y | x),
    averaged over the labelled data of a batch, to the bound averaged over all of its data (see
    :class:`pyro_models.pair.Classifies`); in the paper's sum over N data that is α N, and the paper
    takes α = 0.1. Scores never contain it.

    Parameters
    ----------
    data_shape
        Shape of one datum, (C, H, W) or (D,).
    num_classes
        Number of labels, at least 2.
    classification_weight
        α ≥ 0. Choose it by the accuracy on validation data.
    classifier_hidden
        Layer sizes or channels of the classifier; as ``hidden`` unless given.
    latent_dim, network, hidden, activation, likelihood, likelihood_options, output_bias
        As for :class:`pyro_models.vae.VAE`.

    Raises
    ------
    UsageError
        For fewer than two classes, or a negative weight.

    Examples
    --------
    >>> import torch
    >>> m2 = SemiSupervisedVAE((1, 8, 8), num_classes=10, latent_dim=4, hidden=[32])
    >>> m2.model(n=3, y=torch.tensor([7, -1, -1])).shape
    torch.Size([3, 1, 8, 8])
    >>> m2.classify(torch.rand(5, 1, 8, 8).round()).shape
    torch.Size([5, 10])
    """

    takes_missing_labels = True
    options_of_guide = ("classifier_hidden", "classification_weight")

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        num_classes: int,
        classification_weight: float = 1.0,
        classifier_hidden: Sequence[int] | None = None,
        latent_dim: int = 50,
        network: str = "dense",
        hidden: Sequence[int] = (500,),
        activation: str = "relu",
        likelihood: str = "bernoulli",
        likelihood_options: Mapping[str, Any] | None = None,
        output_bias: str = "default",
    ) -> None:
        if num_classes < 2:
            raise UsageError(f"{WHO} needs at least two classes; got {num_classes}")
        if not 0 <= classification_weight < math.inf:
            raise UsageError(
                f"the classification weight α cannot be negative; got {classification_weight}"
            )
        self.num_classes = num_classes
        self.classification_weight = classification_weight
        self.classifier_hidden = None if classifier_hidden is None else tuple(classifier_hidden)
        super().__init__(
            data_shape,
            context=num_classes,
            latent_dim=latent_dim,
            network=network,
            hidden=hidden,
            activation=activation,
            likelihood=likelihood,
            likelihood_options=likelihood_options,
            output_bias=output_bias,
        )

    def _make_model(
        self, decoder: DenseDecoder | ConvDecoder, likelihood: Likelihood
    ) -> SemiSupervisedModel:
        return SemiSupervisedModel(
            decoder, likelihood, latent_dim=self.latent_dim, num_classes=self.num_classes
        )

    def _make_guide(self, encoder: Encoder) -> SemiSupervisedGuide:
        classifier = make_classifier(
            self.network,
            self.data_shape,
            self.classifier_hidden or self.hidden,
            self.num_classes,
            activation=self.activation,
        )
        return SemiSupervisedGuide(encoder, classifier, self.num_classes, self.data_shape)

    @property
    def latent_sites(self) -> dict[str, LatentSite]:
        """The label y and z."""
        return {
            "y": LatentSite((), num_values=self.num_classes),
            "z": LatentSite((self.latent_dim,)),
        }

    def decode(
        self, latents: Mapping[str, Tensor], *, y: Tensor | None = None
    ) -> dict[str, TorchDistribution]:
        """p(x | y, z) for ``latents["z"]`` and ``latents["y"]``, which broadcast.

        Without ``latents["y"]`` the labels are ``y``, and none may be missing.
        """
        like = self.model.label_logits
        z = latent_value(latents, "z", self.latent_sites["z"], like)
        labels = placed(y, like)
        if "y" in latents:
            labels = latent_value(latents, "y", self.latent_sites["y"], like)
        if labels is None:
            raise UsageError(f'{WHO} decodes z with a label: give latents["y"], or y')
        if bool((labels < 0).any()) or bool((labels >= self.num_classes).any()):
            raise UsageError(f"{WHO} decodes labels in 0…{self.num_classes - 1} only")
        label = F.one_hot(labels.long(), self.num_classes)
        return {"x": self.likelihood(self.model.decoder(z, label))}

    def elbo(self) -> ELBO:
        """TraceEnum_ELBO, run apart for data with and without a label."""
        return LabelsApart(max_plate_nesting=1)

    def classify(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """q(y | x), (B, C)."""
        x, seen = checked(self, x, mask)
        return self.guide.class_logits(self.guide.units(x, seen)).softmax(-1)

    def log_label_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log q(y | x) of the labels, (B,), nats; 0 where a label is missing."""
        x = placed(x, self.model.label_logits)
        pixel_mask(None, self.data_shape, x)  # a step of training does not wait for more of it
        known = known_labels(y, self.num_classes, len(x), device=x.device, who=WHO).expand(len(x))
        rows = known >= 0
        log_q = self.guide.class_logits(self.guide.units(x[rows])).log_softmax(-1)
        found = log_q.gather(-1, known[rows].unsqueeze(-1)).squeeze(-1)
        return x.new_zeros(len(x)).masked_scatter(rows, found)

    def log_label_prior(self, y: Tensor) -> Tensor:
        """log p(y) = −log C of the labels, (B,), nats; 0 where a label is missing."""
        y = placed(y, self.model.label_logits)
        return torch.where(y < 0, 0.0, -math.log(self.num_classes))

    def config(self) -> dict[str, Any]:
        """Plain values that rebuild the pair."""
        hidden = self.classifier_hidden
        return {
            **super().config(),
            "num_classes": self.num_classes,
            "classification_weight": self.classification_weight,
            "classifier_hidden": None if hidden is None else list(hidden),
        }
