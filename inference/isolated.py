"""Evaluation of a pair that changes nothing: its modes, its gradients and the generators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from inference.denormals import denormals_flushed
from pyro_models import Pair
from pyro_models.device import device_of
from pyro_models.seeds import alone, seeded

__all__ = ["evaluating", "isolated"]


@contextmanager
def evaluating(pair: Pair) -> Iterator[None]:
    """Evaluation mode inside, each module's own mode again afterwards; one thread at a time."""
    with alone():
        modes = {m: m.training for part in (pair.model, pair.guide) for m in part.modules()}
        for module in modes:
            module.training = False
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


@contextmanager
def isolated(pair: Pair, *, seed: int = 0) -> Iterator[torch.device]:
    """Evaluation mode, no gradients, seeded generators, denormal numbers taken for 0 inside.

    All is as before afterwards.
    """
    device = device_of(pair)
    with evaluating(pair), torch.no_grad(), seeded(seed, device), denormals_flushed():
        yield device
