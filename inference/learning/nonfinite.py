"""Finding where a loss that is not finite comes from."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from pyro_models import Pair, UsageError
from pyro_models.errors import NotPositiveDefiniteError
from pyro_models.observed import Observed

__all__ = ["NonFinite", "NonFiniteError", "finite_parameters", "first_nonfinite"]


class NonFiniteError(UsageError):
    """Training met a loss, gradient or parameter that is NaN or infinite."""


class NonFinite(Exception):  # noqa: N818  (what a step met; the training says where it was)
    """What a step found that is not finite, in words; which one of the epoch, where many run."""

    def __init__(self, what: str, *, step: int | None = None) -> None:
        super().__init__(what)
        self.step = step


class _Found(Exception):  # noqa: N818  (a ValueError would be raised anew by poutine.trace)
    """The first site that is not finite, in words."""


class _FirstNotFinite(Messenger):
    """Stops at the first site whose distribution, value or density is not finite."""

    def __init__(self, part: str) -> None:
        super().__init__()
        self.part = part

    def _pyro_sample(self, msg: Any) -> None:
        base = msg["fn"]
        while hasattr(base, "base_dist"):
            base = base.base_dist
        for name in getattr(base, "arg_constraints", {}):
            value = vars(base).get(name)
            if isinstance(value, Tensor) and bool(value.isnan().any()):
                raise _Found(f"the {name} of site {msg['name']!r} in the {self.part}")

    def _pyro_post_sample(self, msg: Any) -> None:
        if not bool(torch.isfinite(torch.as_tensor(msg["value"]).float()).all()):
            raise _Found(f"the value of site {msg['name']!r} in the {self.part}")
        if not bool(torch.isfinite(msg["fn"].log_prob(msg["value"])).all()):
            raise _Found(f"the log density of site {msg['name']!r} in the {self.part}")


def finite_parameters(pair: Pair) -> bool:
    """Whether every parameter is finite."""
    return all(bool(torch.isfinite(p).all()) for p in pair.parameters())


@torch.no_grad()
def first_nonfinite(pair: Pair, data: Observed) -> str | None:
    """The first parameter or site that is not finite, running guide and model once more on a batch.

    ``None`` if there is none. Call it with the generators in the state they had before the step.
    """
    for part in ("model", "guide"):
        for name, parameter in getattr(pair, part).named_parameters():
            if not bool(torch.isfinite(parameter).all()):
                return f"parameter {name} of the {part}"
    try:
        with pyro.validation_enabled(False):
            guide = poutine.trace(_FirstNotFinite("guide")(pair.guide))
            guide_trace = guide.get_trace(data.x, **data.conditions)
            model = _FirstNotFinite("model")(poutine.replay(pair.model, trace=guide_trace))
            model(data.x, **data.conditions)
    except _Found as found:
        return str(found)
    except (torch.linalg.LinAlgError, NotPositiveDefiniteError) as error:
        return f"a covariance: it is not positive definite ({str(error).splitlines()[0]})"
    return None
