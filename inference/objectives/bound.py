"""What every bound over particles has: K, β, and what it asks of the guide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from inference.declared import POSITIVE, check_declared, declared
from inference.particles import Particles, checked_count
from pyro_models import UsageError

__all__ = [
    "FINITE",
    "Bound",
    "Tempered",
    "Weight",
    "particle_count",
    "tempered",
    "with_gradient_of",
]

Weight = float | Tensor


def particle_count(default: int) -> int:
    """The option K of a bound."""
    return declared(default, "Number of particles K of each datum.", _count)


def _count(_: str, value: Any) -> None:
    checked_count(value)


def FINITE(name: str, value: Any) -> None:  # noqa: N802  (a rule, as those of declared)
    """The rule that a number is one that can be computed with."""
    if isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{name} is a number; got {value!r}")


@dataclass(frozen=True, kw_only=True)
class Bound:
    """An objective over particles: a call returns (B,) nats per datum.

    The value is the bound, its gradient the one to ascend. Options are the fields of a dataclass.
    ``reparameterised`` says whether gradients reach the guide through the samples, and ``remark``
    what must be said beside the value; it is empty for a lower bound on log p(x). ``weighs`` says
    whether particles count by their weights, so that of many draws of a guide that knows nothing of
    x the few near x are what the model learns from.
    """

    reparameterised: ClassVar[bool] = True
    weighs: ClassVar[bool] = False
    remark: ClassVar[str] = ""

    num_particles: int = particle_count(1)

    def __post_init__(self) -> None:
        check_declared(self, who=f" of {type(self).__name__}")

    def __call__(self, p: Particles) -> Tensor:
        """The bound of every datum, (B,), nats."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Tempered(Bound):
    """A bound whose latent terms have a weight β, outside the average over particles.

    ``beta`` is the weight in training, where a call is given it; a call without a weight returns
    the bound itself, β = 1.
    """

    beta: float = declared(1.0, "Weight β of the latent terms in training.", FINITE, POSITIVE)

    def __call__(self, p: Particles, *, beta: Weight = 1.0) -> Tensor:
        """The bound of every datum, (B,), nats, its latent terms weighed by ``beta``."""
        raise NotImplementedError


def tempered(p: Particles, bound: Tensor, beta: Weight) -> Tensor:
    """A bound L on K particles, its latent terms weighed by β outside the average over them.

    β L + (1 − β) E_q[log p(x | z)] up to β = 1, and L − (β − 1) KL(q ‖ p) above. Both are
    E_q[log p(x | z)] − β KL(q ‖ p) at K = 1. (L + (1 − β) KL would be, too; but for K > 1 it has no
    maximum: a guide far from the prior gains more in KL than it loses in L.)
    """
    if not isinstance(beta, Tensor) and beta == 1:
        return bound
    weight = torch.as_tensor(beta, dtype=bound.dtype)
    below, above = weight.clamp(max=1.0), (weight - 1).clamp(min=0.0)
    return below * bound + (1 - below) * p.log_likelihood.mean(0) - above * p.kl.mean(0)


def with_gradient_of(surrogate: Tensor, *, value: Tensor) -> Tensor:
    """A value, with the gradient of something else."""
    return value + (surrogate - surrogate.detach())
