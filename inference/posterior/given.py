"""What posterior inference is given: a pair, data of which some pixels may be unseen, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import constraints

from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair, fulfills
from pyro_models.data import Identity, checksum, weights_checksum
from pyro_models.data.masks import Mask
from pyro_models.observed import Observed, observed
from pyro_models.pair import ConditionsOnPixels

__all__ = [
    "Given",
    "Moments",
    "conditions",
    "frozen",
    "given",
    "given_labels",
    "identity_of",
]


@dataclass(frozen=True)
class Moments:
    """Mean and standard deviation of one latent site, each (B, \\*event_shape)."""

    mean: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class Given:
    """A pair and the data that its latents are inferred from, checked.

    Attributes
    ----------
    pair
        Whose model p(x, z) is conditioned.
    x
        (B, \\*data_shape), on the device and of the float type of the pair; 0 where unseen.
    mask
        True = seen, (B, \\*data_shape); ``None`` if all is seen.
    y
        Labels (B,), or ``None``.
    prior
        Of every continuous site, in the order of the model: mean and scale of its prior, where the
        sites above it are at their means.
    start
        Where fits begin, and the prior's scales: see :func:`inference.posterior.start.begun`.
    weights
        A checksum of the model as it was then.
    """

    pair: Pair
    x: Tensor
    mask: Tensor | None
    y: Tensor | None
    prior: Mapping[str, Moments]
    start: Mapping[str, Moments]
    weights: str

    def __len__(self) -> int:
        return len(self.x)

    @property
    def conditions(self) -> dict[str, Tensor | None]:
        """What model and guide are called with beside x."""
        return {"y": self.y, "mask": self.mask}

    @cached_property
    def identity(self) -> Identity:
        """What was inferred from, by content: data, what is seen, labels, the model's weights."""
        return _identity(self.pair, Observed(self.x, self.mask, self.y), weights=self.weights)

    def differs_from(
        self, pair: Pair, x: Tensor, *, mask: Mask | None = None, y: Tensor | None = None
    ) -> str | None:
        """What of pair, data, what is seen of them and labels is not this; ``None`` if nothing.

        It goes by content. No mask is one that sees all, and no label is −1; labels of a pair that
        has none are nothing.
        """
        return self.identity.differs_from(identity_of(pair, x, mask=mask, y=y))

    def select(self, rows: Tensor | slice) -> Given:
        """Some of the data."""
        prior, start = (
            {n: Moments(m.mean[rows], m.scale[rows]) for n, m in of.items()}
            for of in (self.prior, self.start)
        )
        mask = None if self.mask is None else self.mask[rows]
        y = None if self.y is None else self.y[rows]
        return replace(self, x=self.x[rows], mask=mask, y=y, prior=prior, start=start)


def identity_of(
    pair: Pair, x: Tensor, *, mask: Mask | None = None, y: Tensor | None = None
) -> Identity:
    """What a number of a pair's model on a batch is of, by content: data, mask, labels, weights.

    Parameters
    ----------
    pair
        The pair, whose float type the data are taken in.
    x, mask, y
        Prepared data (B, \\*data_shape), what is seen of them, labels (B,) or one for all.

    Raises
    ------
    UsageError
        If mask or labels do not fit.
    """
    return _identity(pair, observed(pair, x, mask=mask, y=y), weights=model_checksum(pair))


def model_checksum(pair: Pair) -> str:
    """A checksum of p(x, z): the pair's options and the weights of its model, without its guide's.

    An exact guide, or another one, makes no other model: a pair may name the options of its guide
    alone in ``options_of_guide``.
    """
    own = getattr(pair, "options_of_guide", ())
    options = {name: value for name, value in pair.config().items() if name not in own}
    return weights_checksum(pair.model, config=options)


def _identity(pair: Pair, data: Observed, *, weights: str) -> Identity:
    conditioned = None
    if fulfills(pair, ConditionsOnPixels):
        conditioned = checksum(pair.conditioning(data.x, data.mask))
    y = None if pair.num_classes is None else data.y
    return Identity.of_batch(data.x, mask=data.mask, y=y, weights=weights, conditioned=conditioned)


def given(
    pair: Pair, x: Tensor, *, mask: Mask | None = None, y: Tensor | None = None, seed: int = 0
) -> Given:
    """Check data against a pair, and put unseen pixels at 0.

    Raises
    ------
    UsageError
        If shapes do not fit, an image has no seen pixel, a seen one is not what the likelihood is
        of, labels are missing where they are needed, or the pair has no continuous latent.
    """
    check_pair(pair)
    if not any(not site.discrete for site in pair.latent_sites.values()):
        raise UsageError(
            f"{type(pair).__name__} has no continuous latent to infer; its discrete ones are "
            "summed out exactly (exact_posterior)"
        )
    data = observed(pair, x, mask=mask, y=y, seed=seed)
    prior = _prior(pair, data.x, **data.conditions)
    return Given(pair, data.x, data.mask, data.y, prior, start=prior, weights=model_checksum(pair))


def conditions(pair: Pair, y: Tensor | None) -> str | None:
    """What a score of the pair is given: labels, pixels, both or nothing."""
    pixels = pair.given if fulfills(pair, ConditionsOnPixels) else ""
    return ", ".join(part for part in (pixels, given_labels(pair, y)) if part) or None


def given_labels(pair: Pair, y: Tensor | None) -> str:
    """``"y"`` if the pair is given labels that it uses, else nothing."""
    return "" if pair.num_classes is None or y is None else "y"


def is_real(support: constraints.Constraint) -> bool:
    """Whether a support is all real arrays."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support is constraints.real


class _AtMean(Messenger):
    """Puts continuous latents at the means of their priors; notes mean and scale."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self.continuous = {n for n, site in pair.latent_sites.items() if not site.discrete}
        self.noted: dict[str, Moments] = {}

    def _pyro_post_sample(self, msg: Any) -> None:
        if msg["name"] in self.continuous and not site_is_subsample(msg):
            if not is_real(msg["fn"].support):
                raise UsageError(
                    f"the latent {msg['name']!r} is not a real vector; transform it in the model"
                )
            msg["value"] = msg["fn"].mean
            self.noted[msg["name"]] = Moments(msg["fn"].mean.clone(), msg["fn"].stddev.clone())


@torch.no_grad()
def _prior(pair: Pair, x: Tensor, **conditions: Any) -> dict[str, Moments]:
    at_mean = _AtMean(pair)
    with poutine.block(), at_mean:
        pair.model(x, **conditions)
    return at_mean.noted


@contextmanager
def frozen(pair: Pair) -> Iterator[None]:
    """No gradient to any parameter of the pair inside; as before afterwards."""
    learned = [p for p in pair.parameters() if p.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
