"""The classifier's own term: α log q(y | x) of the labelled data of a batch, beside the bound."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from inference.learning.capture import PATIENCE, RecordedGradient
from inference.learning.data_parallel import Share
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills, module_of
from pyro_models.labels import all_known
from pyro_models.observed import Observed
from pyro_models.pair import Classifies

__all__ = ["Classification"]


class Classification:
    """α · mean of log q(y | x) over the data of a batch that have a label; none, nothing.

    Parameters
    ----------
    pair
        Only one that :class:`pyro_models.pair.Classifies` has such a term.
    recorded
        Whether its gradient is recorded, if it can be.
    """

    def __init__(self, pair: Pair, *, recorded: bool) -> None:
        self.pair: Any = pair if fulfills(pair, Classifies) else None
        self.recorded = (
            RecordedGradient(module_of(pair), self._mean, patience=PATIENCE) if recorded else None
        )

    def backward(self, batch: Observed, *, share: Share | None = None) -> None:
        """Add the gradient of its negative to the parameters; that of a share of a batch."""
        if self.pair is None or batch.y is None or not self.pair.classification_weight:
            return
        known = batch.y >= 0
        if not known.any():
            return
        scale = None if share is None else batch.x.new_tensor(share.of_labelled(int(known.sum())))
        x, y = batch.x[known.to(batch.x.device)], all_known(batch.y[known])
        if self.recorded is not None:
            try:
                self.recorded.backward(x, y, None, scale, size=len(x))
                return
            except UsageError:  # Python that depends on values
                self.recorded = None
        (-self._mean(x, y=y, beta=1.0 if scale is None else scale)).backward()

    def _mean(self, x: Tensor, *, y: Tensor, beta: float | Tensor, **_: Any) -> Tensor:
        log_q: Tensor = self.pair.log_label_prob(x, y)
        weight: float = self.pair.classification_weight
        return beta * weight * log_q.sum() / len(x)
