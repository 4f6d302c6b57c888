"""What is maximised, averaged over data: its value, its gradient, and what is said of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from inference.isolated import evaluating
from pyro_models import Pair
from pyro_models.observed import Observed

if TYPE_CHECKING:
    from inference.objectives.of_particles import OfParticles

__all__ = ["Objective", "Seen"]

Seen = Tensor | None


class Objective:
    """Something to maximise, averaged over data.

    Attributes
    ----------
    name
        Its name in the record of the training.
    remark
        What must be said beside its value, where it is no lower bound on log p(x) or has no p(x).
    tempers
        Whether a weight β of the latent terms is defined.
    beta
        That weight, where it is an option of the objective.
    unit
        What its value is in.
    ranks
        Whether a higher value is a better model: then it has curves, and may stop a training.
    why_not_recorded
        Why its steps can only be run; empty if nothing but its kind decides that.
    """

    name: str
    remark: str
    tempers: bool = True
    beta: float = 1.0
    unit: str = "nats per datum"
    ranks: bool = True
    why_not_recorded: str = ""

    def __init__(self, pair: Pair, *, remark: str = "") -> None:
        self.pair = pair
        self.remark = "; ".join(r for r in (remark, pair.likelihood.no_probability) if r)

    def backward(self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float = 1.0) -> float:
        """Add the gradient of the negative objective per datum to the parameters; return it.

        Parameters
        ----------
        x, y, mask
            A prepared batch (B, \\*data_shape), its labels (B,), and which of its pixels are seen.
        beta
            Weight of the latent terms (KL annealing), positive.
        """
        raise NotImplementedError

    def over_particles(self) -> OfParticles | None:
        """The same estimate as a bound over particles, which can be recorded; if there is one."""
        return None

    def state(self) -> dict[str, Any]:
        """What an objective that learns something itself needs to go on; most need nothing."""
        return {}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up a saved state."""

    def measures(self) -> dict[str, float]:
        """What it has measured of the steps since this was last asked, by name."""
        return {}

    def nonfinite(self) -> str:
        """What it learns itself that is not finite, in words; empty if there is none."""
        return ""

    @torch.no_grad()
    def check(self, x: Tensor, *, y: Seen = None, mask: Seen = None) -> None:
        """Refuse what only the sites of model and guide show that the pair cannot have.

        The pair is in evaluation mode: its running averages do not move.
        """
        with evaluating(self.pair):
            self._check(Observed.unchecked(x, y, mask))

    @torch.no_grad()
    def values(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, batch_size: int = 1000
    ) -> Tensor:
        """The objective at β = 1, nats per datum, of every datum or of blocks of equal weight.

        Their mean is the mean over x, and their spread its noise. It draws from the global
        generator; wrap it where that must not move.
        """
        return self._values(Observed.unchecked(x, y, mask), batch_size)

    @torch.no_grad()
    def value(
        self, x: Tensor, *, y: Seen = None, mask: Seen = None, batch_size: int = 1000
    ) -> float:
        """The objective at β = 1, nats per datum, averaged over all of x; no gradient."""
        return self._value(Observed.unchecked(x, y, mask), batch_size)

    def _check(self, data: Observed) -> None:
        """Nothing, unless a kind of objective has something to refuse."""

    def _values(self, data: Observed, batch_size: int) -> Tensor:
        raise NotImplementedError

    def _value(self, data: Observed, batch_size: int) -> float:
        return float(self._values(data, batch_size).mean())
