"""A Pyro ELBO as an objective of a pair, and the same estimates as bounds over particles."""

from __future__ import annotations

import math
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, TraceGraph_ELBO, TraceMeanField_ELBO
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from inference.objectives.any_guide import AnyGuideELBO, WithBaselines, WithDice
from inference.objectives.bound import Bound
from inference.objectives.elbo import MeanFieldELBO
from inference.objectives.objective import Objective, Seen
from inference.objectives.of_particles import OfParticles
from inference.particles import draw
from inference.sites import check_same_sites
from pyro_models import Pair, UsageError
from pyro_models.observed import Observed

__all__ = ["OVER_PARTICLES", "OfPyro"]

_BLOCKS = 20
OVER_PARTICLES: dict[type, type[Bound]] = {
    Trace_ELBO: AnyGuideELBO,
    TraceEnum_ELBO: WithDice,
    TraceGraph_ELBO: WithBaselines,
    TraceMeanField_ELBO: MeanFieldELBO,
}
"""Pyro's ELBOs, and the bounds over particles that are the same estimates."""


class OfPyro(Objective):
    """A Pyro ELBO."""

    def __init__(self, pair: Pair, elbo: ELBO, *, name: str) -> None:
        super().__init__(pair)
        self.elbo, self.name = elbo, name

    def over_particles(self) -> OfParticles | None:
        """The same for models without scales, whose sites all lie in the plate over data."""
        elbo, parts = self.elbo, getattr(self.elbo, "parts", None)
        kind = WithDice if parts else OVER_PARTICLES.get(type(elbo))
        if kind is None or (elbo.num_particles > 1 and not elbo.vectorize_particles):
            return None
        bound = kind(num_particles=elbo.num_particles)
        return OfParticles(self.pair, bound, name=self.name, parts=parts)

    def backward(self, x: Tensor, *, y: Seen = None, mask: Seen = None, beta: float = 1.0) -> float:
        """The gradient of the ELBO, divided by the number of data."""
        of, conditions = [self.pair.model, self.pair.guide], {"y": y, "mask": mask}
        if beta != 1:
            of = [_Tempered(beta)(program) for program in of]
        if hasattr(self.elbo, "differentiable_loss"):
            loss = self.elbo.differentiable_loss(*of, x, **conditions) / len(x)
            value = float(loss.detach())
            loss.backward()
            return -value
        earlier = [(p, p.grad) for p in self.pair.parameters()]
        for parameter, _ in earlier:
            parameter.grad = None
        # some differentiate only where they see parameters, which pairs show to such a trace
        with pyro.get_param_store().scope(), poutine.trace(param_only=True):
            total = self.elbo.loss_and_grads(*of, x, **conditions)
        for parameter, grad in earlier:
            if parameter.grad is not None:
                parameter.grad.div_(len(x))
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else grad.add_(parameter.grad)
        return -float(total) / len(x)

    def _check(self, data: Observed) -> None:
        """Sites of both are the same; a KL of each is a term only in the order of the model."""
        guide = poutine.trace(self.pair.guide).get_trace(data.x, **data.conditions)
        told = poutine.replay(self.pair.model, trace=guide)
        check_same_sites(guide, poutine.trace(told).get_trace(data.x, **data.conditions))
        if not isinstance(self.elbo, TraceMeanField_ELBO):
            return
        drawn = draw(self.pair.model, self.pair.guide, data, num_particles=1)
        latent = [name for name in drawn.model_sites if name not in drawn.observed]
        if latent != list(drawn.guide_sites):
            raise UsageError(
                f"the guide samples {', '.join(drawn.guide_sites)} and the model "
                f"{', '.join(latent)}, in another order, so {type(self.elbo).__name__} is no bound "
                "for them: use the objective elbo or mean_field"
            )

    def _values(self, data: Observed, batch_size: int) -> Tensor:
        """Of at least 20 blocks: a Pyro ELBO is a sum over data."""
        blocks = self._block_sums(data, max(_BLOCKS, math.ceil(len(data) / batch_size)))
        return blocks * (len(blocks) / len(data))

    def _value(self, data: Observed, batch_size: int) -> float:
        """In batches as large as they may be."""
        return float(self._block_sums(data, math.ceil(len(data) / batch_size)).sum()) / len(data)

    def _block_sums(self, data: Observed, count: int) -> Tensor:
        rows = torch.arange(len(data), device=data.x.device).tensor_split(min(count, len(data)))
        parts = [data[int(r[0]) : int(r[-1]) + 1] for r in rows]
        pair = self.pair
        sums = [-float(self.elbo.loss(pair.model, pair.guide, p.x, **p.conditions)) for p in parts]
        return torch.tensor(sums, dtype=torch.float64)


class _Tempered(Messenger):
    """Scale every unobserved site by β, in model and guide alike: E_q[log p(x|z)] − β KL(q ‖ p)."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta
