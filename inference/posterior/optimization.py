"""How guides are fitted to images, and how each fit ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from inference.learning.optimizers import make_optimizer
from inference.posterior.plateau import Plateau
from pyro_models import UsageError
from pyro_models.counts import check_counts

__all__ = [
    "CONVERGED",
    "DIVERGED",
    "NON_FINITE",
    "OBJECTIVES",
    "REASONS",
    "STEP_LIMIT",
    "Optimization",
    "Outcome",
]

CONVERGED = "converged"
STEP_LIMIT = "step limit"
NON_FINITE = "non-finite"
DIVERGED = "diverged"
"""The density of the guide could no longer be computed in its float type: a rate too high."""

REASONS = (STEP_LIMIT, CONVERGED, NON_FINITE, DIVERGED)

OBJECTIVES = ("path", "kl", "log_joint")
"""Estimates of the bound that are maximised, by name, each of one or more samples z ~ q:

- ``"path"``: log p(x_seen, z) − log q(z), its gradient taken through z alone (Roeder, Wu &
  Duvenaud 2017). Where q comes close to the posterior the noise of both terms cancels, in the
  gradient and in the bound that the stopping rule sees.
- ``"kl"``: log p(x_seen | z) − KL(q ‖ p), the second in closed form where there is one.
- ``"log_joint"``: log p(x_seen, z), for a guide without a density.
"""

# these move a row by what the others are
_MIX_ROWS = ("LBFGS", "SparseAdam", "Adafactor", "Muon")


@dataclass(frozen=True)
class Optimization:
    """How guides are fitted: Ψ* = argmax E_q[log p(x_seen | z)] − KL(q ‖ p), image by image.

    Attributes
    ----------
    num_particles
        Samples of z for each step's estimate.
    optimizer, lr, optimizer_options
        One of ``torch.optim`` that treats every number on its own, and its settings; a rate of
        ``None`` is that of the guide's family.
    stopping
        When an image slows down and stops.
    max_steps
        Steps after which it stops in any case.

    Raises
    ------
    UsageError
        If a setting is out of range, or the optimiser mixes rows.
    """

    num_particles: int = 1
    optimizer: str | Callable[..., Optimizer] = "Adam"
    lr: float | None = None
    optimizer_options: Mapping[str, Any] = field(default_factory=dict)
    stopping: Plateau = field(default_factory=Plateau)
    max_steps: int = 2000

    def __post_init__(self) -> None:
        check_counts(num_particles=self.num_particles, max_steps=self.max_steps)
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise UsageError(f"lr must be a positive number; got {self.lr}")
        name = self.optimizer if isinstance(self.optimizer, str) else ""
        if name in _MIX_ROWS:
            raise UsageError(
                f"{name} moves one image's parameters by what another's are: choose an optimizer "
                "that treats every number on its own, such as Adam"
            )

    @property
    def rate(self) -> float:
        """The learning rate, 0.1 unless given."""
        return 0.1 if self.lr is None else self.lr

    def of_rate(self, usual: float) -> Optimization:
        """These settings for a family whose usual rate is given.

        It is the rate unless another was asked for. A faster one is slowed down as many times more
        as lead from it to the usual one, so that fits end among equally small steps.
        """
        if self.lr is None:
            return replace(self, lr=usual)
        rule = self.stopping
        if self.lr <= usual or rule.decay == 1:
            return self
        more = math.ceil(math.log(self.lr / usual) / -math.log(rule.decay) - 1e-9)
        return replace(self, stopping=replace(rule, decays=rule.decays + more))

    def new_optimizer(self, guide: nn.Module) -> Optimizer:
        """A new optimiser of the guide's parameters."""
        return make_optimizer(
            self.optimizer, guide.parameters(), lr=self.rate, options=self.optimizer_options
        )


@dataclass(frozen=True)
class Outcome:
    """Why every image stopped, and after how many steps, each (B,)."""

    reason: Tensor
    steps: Tensor

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(REASONS[i] for i in self.reason.tolist())

    def after(self, first: Outcome) -> Outcome:
        """This one with the steps of a first fit added."""
        return Outcome(self.reason, self.steps + first.steps)
