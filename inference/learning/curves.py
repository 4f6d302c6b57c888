"""The bound on a split after an epoch: the same draws each time, and nothing else is moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from inference.isolated import evaluating
from inference.learning.epoch_data import EpochData
from inference.learning.nonfinite import NonFinite, first_nonfinite
from inference.learning.step import Step
from pyro_models.seeds import seeded, stream

__all__ = ["Curve", "curve"]


@dataclass(frozen=True)
class Curve:
    """The bound, nats per datum, and its values on data or blocks of them, where asked for."""

    value: float
    values: Tensor | None = None


@torch.no_grad()
def curve(
    step: Step, data: EpochData, name: str, *, limit: int | None, by_datum: bool = False
) -> Curve:
    """The bound on a split, or its first data, of the parameters as they now are.

    Raises
    ------
    NonFinite
        If it is not finite.
    """
    given = data.prepared(name, limit=limit)
    whole, processes = len(given), step.processes
    given = given[processes.own(whole)]
    value, values, raised = float("nan"), given.x.new_zeros(0), None
    rank, objective = processes.rank, step.objective
    # not the pixels' own draws again
    noise = stream(step.settings.seed, f"curves {rank}" if rank else "curves")
    with seeded(noise, step.device), evaluating(step.pair):
        try:
            with step.autocast():
                if by_datum and len(given):
                    values = objective.values(given.x, y=given.y, mask=given.mask)
                    value = float(values.mean())
                elif len(given):
                    value = objective.value(given.x, y=given.y, mask=given.mask)
        except (ValueError, RuntimeError) as error:  # as in a step
            raised = error
        value = processes.mean(value, len(given))
        if value - value == 0:
            return Curve(value, processes.joined(values, whole) if by_datum else None)
        what = processes.first_word(first_nonfinite(step.pair, given) if len(given) else "")
    if not what and raised is not None:
        raise raised
    raise NonFinite(f"{what or 'the bound'} on the {name} split") from raised
