"""M2: p(x | y, z) p(y) p(z), with a classifier q(y | x) in the guide; any labels may be missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import TraceEnum_ELBO
from pyro.infer.elbo import ELBO
from torch import Tensor, nn
from torch.nn import functional as F

from pyro_models.counts import is_count
from pyro_models.data.masks import Mask
from pyro_models.device import device_of, placed
from pyro_models.errors import UsageError
from pyro_models.labels import KnownLabels, all_known, are_known, known_labels
from pyro_models.latents import latent_value
from pyro_models.likelihoods import Likelihood
from pyro_models.models.autoencoder import Autoencoder
from pyro_models.models.guide import Guide
from pyro_models.models.model import Model
from pyro_models.observed import checked
from pyro_models.pair import LatentSite, pixel_mask

__all__ = ["SemiSupervisedVAE"]

WHO = "a semi-supervised VAE"
_IMPOSSIBLE = -1e4  # its exponential is 0 in every float type, and 0 times it is no NaN


class SemiSupervisedModel(Model):
    """p(x, y, z) = p(x | y, z) p(z) / C; known labels are what they are."""

    decoder: nn.Module
    prior: nn.Module
    label_logits: Tensor
    num_classes: int
    who = WHO

    def __init__(self, likelihood: Likelihood, *, num_classes: int, **parts: Any) -> None:
        super().__init__(likelihood, num_classes=num_classes, **parts)
        self.register_buffer("label_logits", torch.zeros(num_classes), persistent=False)

    def story(self, y: Tensor | None) -> Tensor:
        """The labels that are missing, z, and what the decoder makes of both."""
        assert y is not None
        p_y = KnownLabels(logits=self.label_logits.expand(len(y), -1), known=y)
        label = pyro.sample("y", p_y, infer={"enumerate": "parallel"})
        z = pyro.sample("z", self.prior())
        return self.decoder(z, F.one_hot(label, self.num_classes))


class SemiSupervisedGuide(Guide):
    """q(y | x) q(z | x, y); a known label has probability 1."""

    encoder: nn.Module
    classifier: nn.Module
    num_classes: int

    def labels(self, y: Tensor | None, size: int) -> Tensor | None:
        """Known labels, (size,), −1 where missing; ``None`` if all are missing."""
        if y is None:
            return None
        known = known_labels(y, self.num_classes, size, device=device_of(self), who=WHO)
        return all_known(known) if are_known(y) else known

    def story(self, x: Tensor, y: Tensor | None) -> None:
        """Infer the missing labels, then z."""
        infer = {"enumerate": "parallel"}
        if y is None:
            logits = self.class_logits(x)
        else:
            known = y.long().clamp(min=0)
            logits = _IMPOSSIBLE * (1 - F.one_hot(known, self.num_classes).to(x.dtype))
            if not are_known(y) and bool((missing := y < 0).any()):
                logits = torch.where(missing.unsqueeze(-1), self.class_logits(x), logits)
            else:
                infer = {}
        label = pyro.sample("y", dist.Categorical(logits=logits), infer=infer)
        pyro.sample("z", self.posterior(x, F.one_hot(label, self.num_classes)))

    def posterior(self, x: Tensor, code: Tensor) -> TorchDistribution:
        """q(z | x, y), x in units of the data, y as one-hot codes."""
        q: TorchDistribution = self.encoder(x, code)
        return q

    def class_logits(self, x: Tensor) -> Tensor:
        """log q(y | x), (B, C), up to a constant, of x in units of the data."""
        logits: Tensor = self.classifier(x)
        return logits.to(x.dtype)


class LabelsApart(TraceEnum_ELBO):
    """TraceEnum_ELBO in two passes: one decoder pass where y is known, C where it is summed out.

    The sum of both is what TraceEnum_ELBO gives for the whole batch, up to its random numbers.
    """

    def __init__(self, num_classes: int, **options: Any) -> None:
        # labelled data leave nothing to enumerate
        super().__init__(strict_enumeration_warning=False, **options)
        self.num_classes = num_classes

    def parts(
        self, x: Tensor, *, y: Tensor | None = None, mask: Tensor | None = None
    ) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """The rows with a label and those without, whichever there are."""
        if y is None or len(y) != len(x):
            yield x, {"y": y, "mask": mask}
            return
        y = known_labels(y, self.num_classes, len(x), device=y.device, who=WHO)
        known = y >= 0
        if len(known.unique()) == 1:
            yield x, {"y": all_known(y) if known[0] else None, "mask": mask}
            return
        mask = pixel_mask(mask, tuple(x.shape[1:]), x)
        for rows in (known, ~known):
            there = rows.to(x.device)
            seen = mask if mask is None or len(mask) != len(x) else mask[there]
            yield x[there], {"y": all_known(y[rows]) if rows is known else None, "mask": seen}

    def differentiable_loss(self, model: Any, guide: Any, x: Tensor, **given: Any) -> Tensor:
        """−bound, summed over data, with its gradient."""
        apart = super().differentiable_loss
        return torch.stack([apart(model, guide, r, **c) for r, c in self.parts(x, **given)]).sum()

    def loss(self, model: Any, guide: Any, x: Tensor, **given: Any) -> float:
        """−bound, summed over data."""
        apart = super().loss
        return math.fsum(apart(model, guide, r, **c) for r, c in self.parts(x, **given))

    def loss_and_grads(self, model: Any, guide: Any, x: Tensor, **given: Any) -> float:
        """−bound, summed over data; its gradient is added to the parameters."""
        apart = super().loss_and_grads
        return math.fsum(apart(model, guide, r, **c) for r, c in self.parts(x, **given))


class SemiSupervisedVAE(Autoencoder):
    """Semi-supervised VAE, the M2 of Kingma, Rezende, Mohamed & Welling (2014).

    p(y) = 1/C, p(x | y, z), and p(z) = N(0, I) unless another ``prior`` is given; guide q(y | x)
    q(z | x, y). Per datum, in nats, with

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
    data_shape, num_classes, latent_dim
        Shape of one datum, (C, H, W) or (D,), number of labels, at least 2, and dimension of z.
    classification_weight
        α ≥ 0. Choose it by the accuracy on validation data.
    classifier_hidden
        Layer sizes or channels of the classifier; as ``hidden`` unless given.
    shared
        Options of :class:`pyro_models.models.autoencoder.Networks`.

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

    called = "semi-supervised VAE"

    num_classes: int
    latent_dim: int
    takes_missing_labels = True
    options_of_guide = ("classifier_hidden", "classification_weight")
    defaults = {"hidden": (500,), "likelihood": "bernoulli"}  # noqa: RUF012

    def __init__(
        self,
        data_shape: Sequence[int],
        *,
        num_classes: int,
        classification_weight: float = 1.0,
        classifier_hidden: Sequence[int] | None = None,
        latent_dim: int = 50,
        **shared: Any,
    ) -> None:
        if not is_count(num_classes, least=2):
            raise UsageError(f"{WHO} needs at least two classes; got {num_classes}")
        if not 0 <= classification_weight < math.inf:
            raise UsageError(
                f"the classification weight α cannot be negative; got {classification_weight}"
            )
        networks = self.networks(data_shape, shared)
        decoder = networks.decoder(latent_dim, context=num_classes)
        encoder = networks.encoder(latent_dim, context=num_classes)
        classifier, shape = networks.classifier(num_classes, classifier_hidden), networks.data_shape
        prior, kind = networks.prior(latent_dim), {"num_classes": num_classes}
        super().__init__(
            SemiSupervisedModel(networks.likelihood, decoder=decoder, prior=prior, **kind),
            SemiSupervisedGuide(shape, encoder=encoder, classifier=classifier, **kind),
        )

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
        return LabelsApart(self.num_classes, max_plate_nesting=1)

    def classify(self, x: Tensor, mask: Mask | None = None) -> Tensor:
        """q(y | x), (B, C)."""
        x, seen = checked(self, x, mask)
        return self.guide.class_logits(self.guide.units(x, seen)).softmax(-1)

    def log_label_prob(self, x: Tensor, y: Tensor) -> Tensor:
        """log q(y | x) of the labels, (B,), nats; 0 where a label is missing."""
        x = placed(x, self.model.label_logits)
        pixel_mask(None, self.data_shape, x)  # a step of training does not wait for more of it
        known = known_labels(y, self.num_classes, len(x), device=x.device, who=WHO)
        if are_known(y):
            return self._log_q(x, known)
        rows = known >= 0
        return x.new_zeros(len(x)).masked_scatter(rows, self._log_q(x[rows], known[rows]))

    def _log_q(self, x: Tensor, known: Tensor) -> Tensor:
        log_q = self.guide.class_logits(self.guide.units(x)).log_softmax(-1)
        return log_q.gather(-1, known.unsqueeze(-1)).squeeze(-1)

    def log_label_prior(self, y: Tensor) -> Tensor:
        """log p(y) = −log C of the labels, (B,), nats; 0 where a label is missing."""
        y = placed(y, self.model.label_logits)
        return torch.where(y < 0, 0.0, -math.log(self.num_classes))
