"""Which point next: acquisition functions, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, cast

from torch import Tensor

from gp_bo.optimize.acquisition.bridge import NoisyImprovement, botorch_model
from gp_bo.optimize.acquisition.closed_form import (
    LogExpectedImprovement,
    ProbabilityOfImprovement,
    UpperConfidenceBound,
    log_h,
)
from gp_bo.optimize.acquisition.entropy import MaxValueEntropy
from gp_bo.optimize.acquisition.knowledge_gradient import KnowledgeGradient
from gp_bo.optimize.acquisition.thompson import ThompsonSampling, joint_draw
from gp_bo.optimize.region import Region
from gp_bo.optimize.surrogate import Surrogate
from pyro_models import UsageError
from pyro_models.options import check_types

__all__ = [
    "ACQUISITIONS",
    "Acquisition",
    "KnowledgeGradient",
    "LogExpectedImprovement",
    "MaxValueEntropy",
    "NoisyImprovement",
    "ProbabilityOfImprovement",
    "ThompsonSampling",
    "UpperConfidenceBound",
    "acquisition_named",
    "botorch_model",
    "joint_draw",
    "log_h",
]


class Acquisition(Protocol):
    """Proposes the next point."""

    def __call__(self, surrogate: Surrogate, region: Region, *, seed: int) -> Tensor:
        """A point of the region, (D,), in the unit cube."""
        ...


ACQUISITIONS: dict[str, Callable[..., Acquisition]] = {
    "log_ei": LogExpectedImprovement,
    "pi": ProbabilityOfImprovement,
    "ucb": UpperConfidenceBound,
    "thompson": ThompsonSampling,
    "noisy_ei": NoisyImprovement,
    "knowledge_gradient": KnowledgeGradient,
    "max_value_entropy": MaxValueEntropy,
}


def acquisition_named(name: str, **options: Any) -> Acquisition:
    """An acquisition function by its name.

    Raises
    ------
    UsageError
        If there is none of that name, it does not take an option, or it needs BoTorch, which is
        not installed.
    """
    if name not in ACQUISITIONS:
        raise UsageError(f"acquisition is one of {', '.join(ACQUISITIONS)}; got {name!r}")
    made = ACQUISITIONS[name]
    known = inspect.signature(made).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        takes = f"it takes {', '.join(known)}" if known else "it takes no options"
        raise UsageError(f"{name} does not take {', '.join(unknown)}; {takes}")
    if options:
        check_types(cast(type, made), options, who=name, skip=set())
    return made(**options)
