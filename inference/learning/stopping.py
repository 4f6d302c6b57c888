"""Early stopping by the validation bound, and the parameters of the best epoch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from inference.learning.history import Epoch
from pyro_models import Pair

__all__ = ["EarlyStopping"]


class EarlyStopping:
    """Watches the validation bound; says when to stop, and why.

    Parameters
    ----------
    patience
        Epochs without improvement to wait for; ``None`` never stops.
    min_improvement
        A bound counts as better when it exceeds the best by more than this, nats per datum.
    keep_weights
        Keep a copy of the best epoch's parameters.
    """

    def __init__(self, *, patience: int | None, min_improvement: float, keep_weights: bool) -> None:
        self.patience = patience
        self.min_improvement = min_improvement
        self.keep_weights = keep_weights
        self.reason = ""
        self.best_epoch: int | None = None
        self.best_bound = -float("inf")
        self.best_weights: dict[str, Tensor] | None = None
        self.reference = -float("inf")  # the last bound that was enough of an improvement
        self.reference_epoch = 0

    @property
    def needs_validation(self) -> bool:
        """Whether the validation bound decides anything."""
        return self.patience is not None or self.keep_weights

    def look(self, epoch: Epoch, pair: Pair) -> None:
        """Take in one more epoch."""
        if epoch.validation is None:
            return
        if epoch.validation > self.best_bound:
            self.best_epoch, self.best_bound = epoch.epoch, epoch.validation
            if self.keep_weights:
                self.best_weights = {
                    k: v.detach().cpu().clone() for k, v in pair.state_dict().items()
                }
        if epoch.validation > self.reference + self.min_improvement:
            self.reference, self.reference_epoch = epoch.validation, epoch.epoch
        elif self.patience is not None and epoch.epoch - self.reference_epoch >= self.patience:
            self.stop(
                f"the validation bound had not risen by more than {self.min_improvement:g} nats "
                f"for {self.patience} epochs (best {self.best_bound:.3f} at epoch "
                f"{self.best_epoch})"
            )

    def stop(self, reason: str) -> None:
        """Stop after this epoch, for this reason."""
        self.reason = reason

    def restore_best(self, pair: Pair) -> bool:
        """Give the pair the best epoch's parameters, if they were kept; says whether it did."""
        if self.best_weights is None:
            return False
        own = pair.state_dict()
        for name, tensor in self.best_weights.items():
            own[name].copy_(tensor)
        return True

    def state(self) -> dict[str, Any]:
        """What :meth:`load_state` needs."""
        return {
            "reason": self.reason,
            "best_epoch": self.best_epoch,
            "best_bound": self.best_bound,
            "best_weights": self.best_weights,
            "reference": self.reference,
            "reference_epoch": self.reference_epoch,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        for name, value in state.items():
            setattr(self, name, value)
