"""Which data a step sees: all of them once an epoch; labelled ones beside them where few are."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyro_models import UsageError

__all__ = ["batches", "check_labelled_per_batch"]


def batches(
    order: Tensor, *, batch_size: int, y: Tensor | None = None, labelled_per_batch: int = 0
) -> Iterator[Tensor]:
    """Rows of each step of one epoch.

    Every datum comes once, in the given order, ``batch_size`` at a time. With few labels most such
    batches would have none of them, so ``labelled_per_batch`` rows with a label may stand beside
    them in each: drawn in turn, in the order of this epoch, from the beginning again when all were
    there. What is learned is then the average over data of which labelled ones make up more than
    their share: labelled_per_batch / (batch_size + labelled_per_batch), and their own share of the
    rest. All follows from ``order``, so that an epoch can be repeated.

    Parameters
    ----------
    order
        A permutation of the rows, (N,).
    batch_size
        Rows of the permutation in a step.
    y
        Labels (N,), −1 where missing.
    labelled_per_batch
        Rows with a label beside them.

    Examples
    --------
    >>> y = torch.tensor([-1, 5, -1, -1, 7])
    >>> order = torch.tensor([3, 0, 4, 2, 1])
    >>> [rows.tolist() for rows in batches(order, batch_size=3, y=y, labelled_per_batch=1)]
    [[3, 0, 4, 4], [2, 1, 1]]
    """
    labelled = None
    if labelled_per_batch:
        if y is None:
            raise UsageError("labelled_per_batch needs labels, and there are none")
        labelled = order[y[order] >= 0]
    for step, start in enumerate(range(0, len(order), batch_size)):
        rows = order[start : start + batch_size]
        if labelled is not None:
            turn = torch.arange(labelled_per_batch, device=order.device) + step * labelled_per_batch
            rows = torch.cat([rows, labelled[turn % len(labelled)]])
        yield rows


def check_labelled_per_batch(y: Tensor | None, labelled_per_batch: int) -> None:
    """Refuse labelled rows in each batch where there are none.

    Raises
    ------
    UsageError
        If the training data have no label.
    """
    if labelled_per_batch and (y is None or not bool((y >= 0).any())):
        raise UsageError(
            "labelled_per_batch needs training data with labels, and these have none: leave it out"
        )
