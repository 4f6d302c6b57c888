"""Sampling importance resampling: particles redrawn by their weights (Rubin 1988)."""

from __future__ import annotations

import torch
from torch import Tensor

from inference.particles import Particles

__all__ = ["resampled_latents"]


def resampled_latents(drawn: Particles) -> dict[str, Tensor]:
    """As many draws as there are particles, with replacement by their weights, (K, B, …)."""
    weights = drawn.log_weight.double().softmax(0)
    chosen = torch.multinomial(weights.T, len(weights), replacement=True).T  # (K, B)
    rows = torch.arange(weights.shape[1], device=weights.device)
    return {
        name: value.expand(*weights.shape, *value.shape[2:])[chosen, rows]
        for name, value in drawn.latents.items()
    }
