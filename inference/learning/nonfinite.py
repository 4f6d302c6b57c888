"""Finding where a loss that is not finite comes from."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from pyro_models import Pair, UsageError

__all__ = ["NonFiniteError", "culprit", "finite_parameters"]


class NonFiniteError(UsageError):
    """Training met a loss, gradient or parameter that is NaN or infinite."""


def finite_parameters(pair: Pair) -> bool:
    """Whether every parameter is finite."""
    return all(bool(torch.isfinite(p).all()) for p in pair.parameters())


@torch.no_grad()
def culprit(pair: Pair, x: Tensor, y: Tensor | None) -> str:
    """The first parameter or site that is not finite, running guide and model once more on a batch.

    Call it with the generators in the state they had before the step.
    """
    for part in ("model", "guide"):
        for name, parameter in getattr(pair, part).named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                return f"parameter {name} of the {part}"
    guide_trace = poutine.trace(pair.guide).get_trace(x, y=y)
    replayed = poutine.replay(pair.model, trace=guide_trace)
    model_trace = poutine.trace(replayed).get_trace(x, y=y)
    for trace, part in ((guide_trace, "guide"), (model_trace, "model")):
        for name, site in trace.nodes.items():
            if site["type"] != "sample":
                continue
            if not bool(torch.isfinite(torch.as_tensor(site["value"]).float()).all()):
                return f"the value of site {name!r} in the {part}"
            if not bool(torch.isfinite(site["fn"].log_prob(site["value"])).all()):
                return f"the log density of site {name!r} in the {part}"
    return "the gradient (every site is finite)"
