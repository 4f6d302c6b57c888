"""Bounds over the steps of a chain, of which one is drawn for each datum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from inference.objectives.bound import Bound
from inference.objectives.named import OBJECTIVES
from inference.objectives.of_particles import OfParticles
from inference.particles import Particles
from pyro_models import Pair, UsageError
from pyro_models.contract import fulfills
from pyro_models.observed import Observed
from pyro_models.pair import Diffuses

__all__ = ["NoisePrediction", "OneStep", "StepELBO"]


@dataclass(frozen=True, kw_only=True)
class OneStep(Bound):
    """What an objective makes of data of a pair that diffuses; K draws of the step are averaged."""

    def of_step(self, pair: Diffuses, x: Tensor, mask: Tensor | None) -> Tensor:
        """Of one draw, (B,)."""
        raise NotImplementedError

    def of_pair(self, pair: Pair, *, name: str) -> OfSteps:
        """The objective for a pair."""
        return OfSteps(pair, self, name=name)

    def of_data(self, pair: Pair, x: Tensor, mask: Tensor | None) -> Tensor:
        """The objective of every datum, (B,)."""
        if not fulfills(pair, Diffuses):
            raise UsageError(
                f"the objective {type(self).__name__} is of a diffusion, and {type(pair).__name__} "
                "is none: use the objective elbo"
            )
        draws = [self.of_step(pair, x, mask) for _ in range(self.num_particles)]
        return draws[0] if len(draws) == 1 else torch.stack(draws).mean(0)

    def __call__(self, p: Particles) -> Tensor:
        """Refused: it is not of particles of all steps."""
        raise UsageError(f"{type(self).__name__} is of a pair, not of particles")


class OfSteps(OfParticles):
    """An objective of single steps, for a pair: it draws for itself, and no particles."""

    bound: OneStep

    def _each(self, data: Observed, **weight: Any) -> Tensor:
        return self.bound.of_data(self.pair, data.x, data.mask)

    def _check(self, data: Observed) -> None:
        """Nothing but whether it is defined."""
        self._each(data)


@dataclass(frozen=True, kw_only=True)
class StepELBO(OneStep):
    """The ELBO of a diffusion by one step of each datum (Ho et al. 2020, eq. 5); "elbo" of it."""

    def of_step(self, pair: Diffuses, x: Tensor, mask: Tensor | None) -> Tensor:
        """The bound, nats."""
        return pair.step_bound(x, mask)


@dataclass(frozen=True, kw_only=True)
class NoisePrediction(OneStep):
    """−½ ‖ε − ε̂(z_t, t)‖², every step with the same weight (Ho et al. 2020, eq. 14, "simple").

    It gives better samples than the bound does, and is no bound.
    """

    remark: ClassVar[str] = "a weighted sum of the steps, no bound on log p(x)"

    def of_step(self, pair: Diffuses, x: Tensor, mask: Tensor | None) -> Tensor:
        """Half the squared error, negative."""
        return -0.5 * pair.noise_error(x, mask)


OBJECTIVES.register("one_step", StepELBO)
OBJECTIVES.register("noise_prediction", NoisePrediction)
