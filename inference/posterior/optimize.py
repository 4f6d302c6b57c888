"""Ψ* = argmax E_q[log p(x_seen | z)] − KL(q ‖ p) of every image, all images at once."""

from __future__ import annotations

import pyro
import torch
from torch import nn
from tqdm import tqdm

from inference.posterior.guides.per_datum import for_data, is_per_datum
from inference.posterior.log_density import LogDensity
from inference.posterior.optimization import Fitting, Outcome
from inference.posterior.separate_fits import Record, SeparateFits
from inference.posterior.shared_fit import SharedFit

__all__ = ["optimize"]


def optimize(target: LogDensity, guide: nn.Module, settings: Fitting) -> Outcome:
    """Fit a guide in place, at most ``settings.chunk`` images at a time.

    Images whose bound has stopped rising leave the batch; those that remain go on in a smaller one,
    with their rows of the optimiser's state. Where a guide's weights are shared by the images
    (amortised) no image can leave alone: all are fitted until their mean bound has stopped rising.
    """
    size, chunk = len(target), settings.chunk
    outcome = Outcome(torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long))
    separate = is_per_datum(guide, size)
    bar = tqdm(total=size, disable=not settings.progress, unit="image", leave=False)
    with bar, torch.enable_grad(), pyro.validation_enabled(False):
        if not separate:
            SharedFit(target, guide, settings).run(outcome)
            bar.update(size)
            return outcome
        for i in range(0, size, chunk):
            rows = torch.arange(i, min(i + chunk, size), device=target.x.device)
            part, record = for_data(guide, rows, size), Record(guide, outcome, rows, bar)
            SeparateFits(target.select(rows), part, settings, record=record).run()
    return outcome
