"""What posterior inference is given: a pair, data of which some pixels may be unseen, labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import constraints

from inference.posterior.generation import labels_for
from inference.undisturbed import device_of
from pyro_models import Pair, UsageError
from pyro_models.pair import ConditionsOnPixels, fill_unseen, pixel_mask

__all__ = ["Given", "Moments", "conditions", "frozen", "given"]


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
    """

    pair: Pair
    x: Tensor
    mask: Tensor | None
    y: Tensor | None
    prior: Mapping[str, Moments]
    start: Mapping[str, Moments]

    def __len__(self) -> int:
        return len(self.x)

    @property
    def conditions(self) -> dict[str, Tensor | None]:
        """What model and guide are called with beside x."""
        return {"y": self.y, "mask": self.mask}

    def holds(
        self, pair: Pair, x: Tensor, *, mask: Tensor | None = None, y: Tensor | None = None
    ) -> bool:
        """Whether pair, data, what is seen of them and labels are these.

        No mask is one that sees all, and no label is −1; labels of a pair that has none are
        nothing.
        """
        if pair is not self.pair or x.shape != self.x.shape:
            return False
        x = x.detach().to(self.x)
        seen = pixel_mask(None if mask is None else mask.to(x.device), pair.data_shape, x)
        all_seen = torch.ones_like(x, dtype=torch.bool)
        masks = (all_seen if m is None else m.expand(x.shape) for m in (seen, self.mask))
        if not torch.equal(*masks) or not torch.equal(fill_unseen(x, seen), self.x):
            return False
        unknown = torch.full((len(x),), -1, device=x.device)
        y = labels_for(y, len(x), x.device)
        labels = (unknown if given is None else given.expand(len(x)) for given in (y, self.y))
        return pair.num_classes is None or torch.equal(*labels)

    def select(self, rows: Tensor | slice) -> Given:
        """Some of the data."""
        prior, start = (
            {n: Moments(m.mean[rows], m.scale[rows]) for n, m in of.items()}
            for of in (self.prior, self.start)
        )
        mask = None if self.mask is None else self.mask[rows]
        y = None if self.y is None else self.y[rows]
        return replace(self, x=self.x[rows], mask=mask, y=y, prior=prior, start=start)


def given(pair: Pair, x: Tensor, *, mask: Tensor | None = None, y: Tensor | None = None) -> Given:
    """Check data against a pair, and put unseen pixels at 0.

    Raises
    ------
    UsageError
        If shapes do not fit, an image has no seen pixel, a seen one is not what the likelihood is
        of, labels are missing where they are needed, or the pair has no continuous latent.
    """
    if not any(not site.discrete for site in pair.latent_sites.values()):
        raise UsageError(
            f"{type(pair).__name__} has no continuous latent to infer; its discrete ones are "
            "summed out exactly (exact_posterior)"
        )
    first = next(iter(pair.parameters()))
    if not isinstance(x, Tensor):
        raise UsageError(f"x is a tensor of prepared data; got a {type(x).__name__}")
    if x.shape == pair.data_shape:
        raise UsageError(f"x is one datum of shape {tuple(x.shape)}: give a batch, x[None]")
    if x.shape[1:] != pair.data_shape or not len(x):
        raise UsageError(
            f"x of shape {tuple(x.shape)} does not fit {type(pair).__name__}, which is of data "
            f"(B, {', '.join(map(str, pair.data_shape))})"
        )
    x = x.detach().to(device_of(pair), first.dtype)
    seen = pixel_mask(mask, pair.data_shape, x)
    if seen is not None:
        seen = seen.to(x.device).expand(x.shape)
        blind = (~seen.flatten(1).any(1)).nonzero().flatten()
        if len(blind):
            raise UsageError(
                f"nothing is seen of image {int(blind[0])}: mask is True where a pixel is seen"
            )
    pair.likelihood.check(x, seen)
    y = labels_for(y if y is None or y.numel() > 1 else y.reshape(()), len(x), x.device)
    x = fill_unseen(x, seen)
    prior = _prior(pair, x, y=y, mask=seen)
    return Given(pair, x, seen, y, prior, start=prior)


def conditions(pair: Pair, y: Tensor | None) -> str | None:
    """What a score of the pair is given: labels, pixels, both or nothing."""
    pixels = pair.given if isinstance(pair, ConditionsOnPixels) else ""
    labels = "" if pair.num_classes is None or y is None else "y"
    return ", ".join(part for part in (pixels, labels) if part) or None


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
