"""Early stopping by the validation bound, and the parameters of the best epoch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from inference.learning.history import Epoch
from inference.standard_error import mean_and_error
from pyro_models import Pair, UsageError

__all__ = ["EarlyStopping", "paired_difference"]


def paired_difference(now: Tensor, before: Tensor) -> tuple[float, float]:
    """The mean difference of two bounds on the same data, and its standard error.

    With dᵢ = nowᵢ − beforeᵢ for i = 1…N, the mean d̄ and √(Σ(dᵢ − d̄)² / (N (N − 1))). Data that are
    hard for both cancel, so it is far smaller than the standard errors of the two bounds.

    Parameters
    ----------
    now, before
        Bounds per datum, or per block of data of equal weight, (N,), in nats; the same data, in
        the same order, with the same draws.

    Returns
    -------
    tuple of float
        Mean and standard error, nats per datum.

    Raises
    ------
    UsageError
        If there are fewer than two values, which have no standard error.

    Examples
    --------
    >>> import torch
    >>> mean, error = paired_difference(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 1.0]))
    >>> mean, error
    (3.0, 1.0)
    """
    if len(now) < 2:
        raise UsageError(
            f"the noise of a bound needs at least two validation data; there is {len(now)}: leave "
            "noise_multiple out, or give more"
        )
    return mean_and_error(now.double() - before.double())


class EarlyStopping:
    """Watches the validation bound; says when to stop, and why.

    Parameters
    ----------
    patience
        Epochs without improvement to wait for; ``None`` never stops.
    min_improvement
        A bound counts as better when it exceeds the last one that did by more than this, nats per
        datum,
    noise_multiple
        and by more than so many standard errors of their paired difference (see
        :func:`paired_difference`); 0 leaves the noise alone.
    keep_weights
        Keep a copy of the best epoch's parameters.
    """

    def __init__(
        self,
        *,
        patience: int | None,
        min_improvement: float,
        keep_weights: bool,
        noise_multiple: float = 0.0,
    ) -> None:
        self.patience = patience
        self.min_improvement = min_improvement
        self.noise_multiple = noise_multiple
        self.keep_weights = keep_weights
        self.reason = ""
        self.best_epoch: int | None = None
        self.best_bound = -float("inf")
        self.best_weights: dict[str, Tensor] | None = None
        self.reference = -float("inf")  # the last bound that was enough of an improvement
        self.reference_epoch = 0
        self.reference_values: Tensor | None = None  # what that bound is the mean of

    @property
    def needs_validation(self) -> bool:
        """Whether the validation bound decides anything."""
        return self.patience is not None or self.keep_weights

    def look(self, epoch: Epoch, pair: Pair, values: Tensor | None = None) -> None:
        """Take in one more epoch.

        ``values`` are the validation bound per datum, or per block of data of equal weight, (N,);
        their mean is the bound. Needed where the noise counts.
        """
        if epoch.validation is None:
            return
        if epoch.validation > self.best_bound:
            self.best_epoch, self.best_bound = epoch.epoch, epoch.validation
            if self.keep_weights:
                self.best_weights = {
                    k: v.detach().cpu().clone() for k, v in pair.state_dict().items()
                }
        error = self._noise(values)
        needed = max(self.min_improvement, self.noise_multiple * error)
        if epoch.validation > self.reference + needed:
            self.reference, self.reference_epoch = epoch.validation, epoch.epoch
            if self.noise_multiple and values is not None:
                self.reference_values = values.detach().cpu()
        elif self.patience is not None and epoch.epoch - self.reference_epoch >= self.patience:
            change = epoch.validation - self.reference
            noise = (
                f"and {self.noise_multiple:g} standard errors of the paired difference (last "
                f"{change:+.3f} ± {error:.3f} from epoch {self.reference_epoch}) "
            )
            self.stop(
                f"the validation bound had not risen by more than {self.min_improvement:g} nats "
                f"{noise if self.noise_multiple else ''}for {self.patience} epochs (best "
                f"{self.best_bound:.3f} at epoch {self.best_epoch})"
            )

    def _noise(self, values: Tensor | None) -> float:
        """Standard error of the difference between these values and the reference's."""
        if not self.noise_multiple:
            return 0.0
        if values is None:
            raise UsageError("noise_multiple needs the bound per datum, or per block of data")
        before = values.cpu() if self.reference_values is None else self.reference_values
        return paired_difference(values.cpu(), before)[1]

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
            "reference_values": self.reference_values,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""
        for name, value in state.items():
            setattr(self, name, value)
