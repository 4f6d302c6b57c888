"""What is maximised: a Pyro ELBO, by name or as an instance, always as nats per datum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import (
    Trace_ELBO,
    TraceEnum_ELBO,
    TraceGraph_ELBO,
    TraceMeanField_ELBO,
)
from pyro.infer.elbo import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from inference.learning.classification import backward_classification
from pyro_models import Pair, UsageError

__all__ = ["OBJECTIVES", "Objective", "check_objective"]

OBJECTIVES: dict[str, Callable[[Pair], ELBO]] = {
    "elbo": lambda pair: pair.elbo(),
    "trace": lambda pair: Trace_ELBO(max_plate_nesting=1),
    "mean_field": lambda pair: TraceMeanField_ELBO(max_plate_nesting=1),
    "trace_graph": lambda pair: TraceGraph_ELBO(max_plate_nesting=1),
    "trace_enum": lambda pair: TraceEnum_ELBO(max_plate_nesting=1),
}


def check_objective(pair: Pair, objective: str | ELBO) -> None:
    """Refuse an ELBO that would sample, from the prior, a discrete site that the guide leaves out.

    Components of a mixture then collapse into one, silently.

    Raises
    ------
    UsageError
        Unless the ELBO sums such sites out.
    """
    elbo = Objective(pair, objective).elbo
    if isinstance(elbo, TraceEnum_ELBO) or isinstance(pair.elbo(), type(elbo)):
        return
    if isinstance(pair.elbo(), TraceEnum_ELBO):
        raise UsageError(
            f"{type(pair).__name__} leaves discrete sites to enumeration, and "
            f"{type(elbo).__name__} does not enumerate: use the objective elbo or trace_enum"
        )


class _Tempered(Messenger):
    """Scale every unobserved site by β, in model and guide alike: E_q[log p(x|z)] − β KL(q ‖ p)."""

    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg: Any) -> None:
        if not msg["is_observed"]:
            msg["scale"] = msg["scale"] * self.beta


class Objective:
    """An ELBO of a pair, averaged over data.

    Parameters
    ----------
    pair
        The pair it is about.
    objective
        ``"elbo"`` (the one that is right for the pair), ``"trace"``, ``"mean_field"``,
        ``"trace_graph"``, ``"trace_enum"``, or any instance of a Pyro ELBO.

    Raises
    ------
    UsageError
        If the name is unknown.
    """

    def __init__(self, pair: Pair, objective: str | ELBO = "elbo") -> None:
        if isinstance(objective, str):
            if objective not in OBJECTIVES:
                raise UsageError(
                    f"unknown objective {objective!r}: choose from {', '.join(OBJECTIVES)}, "
                    "or give an instance of a Pyro ELBO"
                )
            elbo = OBJECTIVES[objective](pair)
            self.name = objective if objective != "elbo" else f"elbo ({type(elbo).__name__})"
        else:
            elbo = objective
            self.name = type(elbo).__name__
        if not hasattr(elbo, "differentiable_loss") and not hasattr(elbo, "loss_and_grads"):
            raise UsageError(f"{objective!r} is not a Pyro ELBO")
        self.pair = pair
        self.elbo = elbo

    def _conditioned(self, beta: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
        if beta == 1:
            return self.pair.model, self.pair.guide
        return _Tempered(beta)(self.pair.model), _Tempered(beta)(self.pair.guide)

    def backward(self, x: Tensor, *, y: Tensor | None = None, beta: float = 1.0) -> float:
        """Add the gradient of the negative bound per datum to the parameters; return the bound.

        A pair that classifies adds its α log q(y | x), averaged over the labelled data of the batch
        (:class:`pyro_models.pair.Classifies`); the value returned is of the bound alone.

        Parameters
        ----------
        x, y
            A prepared batch (B, \\*data_shape) and its labels (B,).
        beta
            Weight of the latent terms (KL annealing), positive.

        Returns
        -------
        float
            The estimate of the bound, nats per datum.
        """
        backward_classification(self.pair, x, y)
        model, guide = self._conditioned(beta)
        if hasattr(self.elbo, "differentiable_loss"):
            loss = self.elbo.differentiable_loss(model, guide, x, y=y) / len(x)
            value = float(loss.detach())
            loss.backward()
            return -value
        earlier = [(p, p.grad) for p in self.pair.parameters()]
        for parameter, _ in earlier:
            parameter.grad = None
        # some differentiate only where they see parameters, which pairs show to such a trace
        with pyro.get_param_store().scope(), poutine.trace(param_only=True):
            total = self.elbo.loss_and_grads(model, guide, x, y=y)
        for parameter, grad in earlier:
            if parameter.grad is not None:
                parameter.grad.div_(len(x))
            if grad is not None:
                parameter.grad = grad if parameter.grad is None else grad.add_(parameter.grad)
        return -float(total) / len(x)

    def value(self, x: Tensor, *, y: Tensor | None = None, batch_size: int = 1000) -> float:
        """The bound at β = 1, nats per datum, averaged over all of x; no gradient, any batch size.

        It draws from the global generator; wrap it where that must not move.
        """
        total = 0.0
        with torch.no_grad():
            for i in range(0, len(x), batch_size):
                part = slice(i, i + batch_size)
                labels = None if y is None else y[part]
                total -= float(self.elbo.loss(self.pair.model, self.pair.guide, x[part], y=labels))
        return total / len(x)
