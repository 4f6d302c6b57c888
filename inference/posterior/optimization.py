"""How guides are fitted to images, and how each fit ended."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from inference.chunks import MAX_ELEMENTS
from inference.declared import SEED, at_least, check_declared, declared, described
from inference.learning.optimizers import make_optimizer
from inference.posterior.guides.family import Family
from inference.posterior.plateau import Plateau
from pyro_models import UsageError
from pyro_models.brief import Brief

__all__ = [
    "CONVERGED",
    "DIVERGED",
    "NON_FINITE",
    "OBJECTIVES",
    "REASONS",
    "STEP_LIMIT",
    "Fitting",
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


def _estimator(_: str, value: str) -> None:
    if value not in ("path", "kl"):
        raise UsageError(f"estimator is 'path' or 'kl'; got {value!r}")


def _rate(_: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise UsageError(f"lr must be a positive number; got {value}")


def _of_each_row(_: str, value: Any) -> None:
    """Refuse optimizers that move a row by what the others are."""
    if value in ("LBFGS", "SparseAdam", "Adafactor", "Muon"):
        raise UsageError(
            f"{value} moves one image's parameters by what another's are: choose an optimizer "
            "that treats every number on its own, such as Adam"
        )


@described
@dataclass(frozen=True)
class Optimization:
    """How guides are fitted: Ψ* = argmax E_q[log p(x_seen | z)] − KL(q ‖ p), image by image.

    Raises
    ------
    UsageError
        If a setting is out of range, or the optimiser mixes rows.
    """

    num_particles: int = declared(1, "Samples of z per step and image.", at_least(1))
    estimator: str | None = declared(
        None,
        """``"path"`` or ``"kl"``, see :data:`inference.posterior.optimization.OBJECTIVES`; that of
        the guide's family unless given.""",
        _estimator,
    )
    starts: int = declared(
        64,
        """A fit begins where log p(x_seen, z) is highest among the prior's mean and so many draws
        from the prior: a decoder may have modes that no gradient leads out of. 0: at the mean.""",
        at_least(0),
    )
    optimizer: str | Callable[..., Optimizer] = declared(
        "Adam",
        """An optimiser of ``torch.optim`` by name, class or function; it must treat every number on
        its own, as Adam does.""",
        _of_each_row,
    )
    lr: float | None = declared(
        None, "Its learning rate; that of the guide's family unless given.", _rate
    )
    optimizer_options: Mapping[str, Any] = declared({}, "Its further options.")
    stopping: Plateau | None = declared(
        None,
        """When an image stops: see :class:`inference.posterior.plateau.Plateau`, whose defaults
        hold unless given.""",
    )
    max_steps: int = declared(2000, "Steps after which an image stops in any case.", at_least(1))
    seed: int = declared(
        0, "Random seed of all that is drawn; the caller's generators do not move.", SEED
    )
    max_elements: int = declared(
        MAX_ELEMENTS,
        """Numbers that may be decoded at once where starts are looked for, and by the posterior. No
        number hangs on it: fits see images in blocks of ``2**22`` numbers, one after the other.""",
    )
    progress: bool = declared(False, "Show a progress bar of images.")

    def __post_init__(self) -> None:
        check_declared(self)


@dataclass(frozen=True)
class Fitting(Optimization):
    """The settings with what the pair and the guide's family say."""

    chunk: int = 1
    """How many images are in memory at once."""
    objective: str = "path"
    density: bool = True

    @property
    def rule(self) -> Plateau:
        """The stopping rule."""
        return self.stopping or Plateau()

    @property
    def rate(self) -> float:
        """The learning rate, 0.1 unless given."""
        return 0.1 if self.lr is None else self.lr

    def of_family(self, family: Family) -> Fitting:
        """These settings with the objective and, unless another was asked for, rate of a family.

        A faster rate is slowed down as many times more as lead from it to the usual one, so that
        fits end among equally small steps.
        """
        chosen = None if family.objective == "log_joint" else self.estimator
        own = replace(self, objective=chosen or family.objective, density=family.density)
        if self.lr is None:
            return replace(own, lr=family.lr)
        rule = self.rule
        if self.lr <= family.lr or rule.decay == 1:
            return own
        more = math.ceil(math.log(self.lr / family.lr) / -math.log(rule.decay) - 1e-9)
        return replace(own, stopping=replace(rule, decays=rule.decays + more))

    def new_optimizer(self, guide: nn.Module) -> Optimizer:
        """A new optimiser of the guide's parameters."""
        return make_optimizer(
            self.optimizer, guide.parameters(), lr=self.rate, options=self.optimizer_options
        )


@dataclass(frozen=True)
class Outcome(Brief):
    """Why every image stopped, and after how many steps, each (B,)."""

    reason: Tensor
    steps: Tensor

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(REASONS[i] for i in self.reason.tolist())
