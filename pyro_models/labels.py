"""Labels of which some are known: integers, −1 where missing."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.infer.util import is_validation_enabled
from torch import Tensor

from pyro_models.data.observed import labels_for
from pyro_models.errors import UsageError

__all__ = [
    "KnownLabels",
    "all_known",
    "are_known",
    "check_each",
    "check_range",
    "integers",
    "known_labels",
    "labels_for",
]


def all_known(y: Tensor) -> Tensor:
    """Labels none of which is missing, in a type that has no −1: nobody need look at their values.

    A step that is recorded cannot look at them.

    >>> are_known(all_known(torch.tensor([3, 0]))), are_known(torch.tensor([3, 0]))
    (True, False)
    """
    return y.to(torch.uint16)


def are_known(y: Tensor | None) -> bool:
    """Whether the type of labels says that none is missing."""
    return y is not None and y.dtype in (torch.uint8, torch.uint16)


def integers(y: Tensor, num_classes: int, *, who: str, may_miss: bool = True) -> Tensor:
    """Labels in 0…num_classes − 1, or −1 where they may miss, as int64; refused if they are not."""
    if y.is_floating_point() or y.dtype == torch.bool:
        raise UsageError(f"{who} needs integer labels; got {y.dtype}")
    y = y.long()
    # reading values makes a step wait for them; training checks them before the first
    if is_validation_enabled() and y.numel():
        check_range(y, num_classes, who=who, may_miss=may_miss)
    return y


def check_range(y: Tensor, num_classes: int, *, who: str, may_miss: bool) -> None:
    """Refuse labels that are none of 0…num_classes − 1, nor −1 where they may miss."""
    low, high = int(y.min()), int(y.max())
    if low < (-1 if may_miss else 0) or high >= num_classes:
        needs = f"needs every label in 0…{num_classes - 1} (−1 means missing)"
        if may_miss:
            needs = f"takes labels in 0…{num_classes - 1}, or −1 where missing"
        raise UsageError(f"{who} {needs}; got values from {low} to {high}")


def check_each(shape: torch.Size, size: int | None, *, who: str) -> None:
    """Refuse labels of a shape that is neither one for each of ``size`` data nor one for all."""
    if len(shape) != 1 or (size is not None and shape[0] not in (1, size)):
        raise UsageError(
            f"{who} takes one label per datum; got labels of shape {tuple(shape)} for "
            f"{'as many' if size is None else size} data"
        )


def known_labels(
    y: Tensor | None, num_classes: int, size: int | None, *, device: torch.device, who: str
) -> Tensor:
    """Labels of ``size`` data as integers (size,), −1 where missing or where ``y`` is None.

    Where the size is not known, there are as many as are given.
    """
    if y is None:
        return torch.full((1 if size is None else size,), -1, device=device)
    labels = integers(y, num_classes, who=who)
    check_each(labels.shape, size, who=who)
    return labels.to(device).expand(len(labels) if size is None else size)


class KnownLabels(dist.Categorical):
    """p(y), of which some values are known: p(known) there, and 0 at every other value.

    Where a label is known (\\*batch,), not −1, the densities sum to p(known) rather than to 1, so
    that whatever sums y out arrives at p(x, known); elsewhere it is the Categorical of the logits
    (\\*batch, C). Samples are the known labels.

    >>> p_y = KnownLabels(logits=torch.zeros(2, 4), known=torch.tensor([3, -1]))
    >>> p_y.log_prob(p_y.enumerate_support()).exp().sum(0)
    tensor([0.2500, 1.0000])
    """

    def __init__(self, *, logits: Tensor, known: Tensor, validate_args: bool | None = None) -> None:
        super().__init__(logits=logits, validate_args=validate_args)
        self.known = known.expand(self.batch_shape)

    def expand(self, batch_shape: Any, _instance: Any = None) -> KnownLabels:
        """The same with a larger batch shape."""
        new: KnownLabels = super().expand(
            batch_shape, self._get_checked_instance(KnownLabels, _instance)
        )
        new.known = self.known.expand(batch_shape)
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(value), and −∞ where another label is known."""
        log_prob: Tensor = super().log_prob(value)
        possible = (self.known < 0) | (self.known == value)
        return torch.where(possible, log_prob, log_prob.new_tensor(-torch.inf))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """The known labels; draws from p(y) where missing."""
        drawn: Tensor = super().sample(torch.Size(sample_shape))
        return torch.where(self.known < 0, drawn, self.known)
