"""The bound on a split after an epoch: the same draws each time, and nothing else is moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from inference.isolated import evaluating
from inference.learning.epoch_data import EpochData
from inference.learning.nonfinite import NonFinite, first_nonfinite
from inference.learning.step import Step
from pyro_models.observed import Observed
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
    processes, whole = step.processes, len(data.data.split(name).x[:limit])
    value, count, each, raised, what = 0.0 if whole else math.nan, 0, [], None, ""
    rank = processes.rank
    # not the pixels' own draws again
    noise = stream(step.settings.seed, f"curves {rank}" if rank else "curves")
    with seeded(noise, step.device), evaluating(step.pair):
        for given in data.chunks(name, limit=limit):
            try:
                own, values = _bound(step, given, by_datum=by_datum)
            except (ValueError, RuntimeError) as error:  # as in a step
                own, values, raised = float("nan"), given.x.new_zeros(0), error
            each.append(values)
            count += len(given)
            value += (own - value) * (len(given) / max(1, count))
            if value - value != 0:
                what = (first_nonfinite(step.pair, given) or "") if len(given) else ""
                break
        value = processes.mean(value, count)
        if value - value == 0:
            return Curve(value, processes.joined(torch.cat(each), whole) if by_datum else None)
        what = processes.first_word(what)
    if not what and raised is not None:
        raise raised
    raise NonFinite(f"{what or 'the bound'} on the {name} split") from raised


def _bound(step: Step, data: Observed, *, by_datum: bool) -> tuple[float, Tensor]:
    """The bound on some data, and its values where asked for."""
    if not len(data):
        return 0.0, data.x.new_zeros(0)
    with step.autocast():
        if by_datum:
            values = step.objective.values(data.x, y=data.y, mask=data.mask)
            return float(values.mean()), values
        value = step.objective.value(data.x, y=data.y, mask=data.mask)
    return value, data.x.new_zeros(0)
