"""Sampling importance resampling: particles redrawn by their weights (Rubin 1988)."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.particles import Particles
from pyro_models import UsageError

__all__ = ["resampled_latents"]


def resampled_latents(drawn: Particles) -> dict[str, Tensor]:
    """As many draws as there are particles, with replacement by their weights, (K, B, …).

    Raises
    ------
    UsageError
        If every weight of a datum is 0, or one is not finite.
    """
    log_w = drawn.log_weight.double()
    lost = ~(log_w.amax(0).isfinite())
    if bool(lost.any()):
        raise UsageError(
            f"for {int(lost.sum())} of {len(lost)} data no particle has a finite weight above 0: "
            "there is nothing to redraw; take more particles, or another guide"
        )
    weights = log_w.softmax(0)
    chosen = torch.multinomial(weights.T, len(weights), replacement=True).T  # (K, B)
    rows = torch.arange(weights.shape[1], device=weights.device)
    return {
        name: value.expand(*weights.shape, *value.shape[2:])[chosen, rows]
        for name, value in drawn.latents.items()
    }
