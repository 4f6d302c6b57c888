"""The classifier's own term: α log q(y | x) of the labelled data of a batch, beside the bound."""

from __future__ import annotations

from torch import Tensor

from pyro_models import Pair
from pyro_models.contract import fulfills
from pyro_models.pair import Classifies

__all__ = ["backward_classification"]


def backward_classification(pair: Pair, x: Tensor, y: Tensor | None) -> None:
    """Add the gradient of −α · mean of log q(y | x) over the data with a label; none, nothing.

    Parameters
    ----------
    pair
        Only one that :class:`pyro_models.pair.Classifies` has such a term.
    x, y
        A prepared batch (B, \\*data_shape) and its labels (B,), −1 where missing.
    """
    if not fulfills(pair, Classifies) or y is None or not pair.classification_weight:
        return
    known = (y >= 0).sum()
    if known:
        (-pair.classification_weight * pair.log_label_prob(x, y).sum() / known).backward()
