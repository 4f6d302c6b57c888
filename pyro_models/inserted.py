"""Layers put between those of a network's body: batch norm, dropout."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

__all__ = ["inserted"]


def inserted(body: nn.Sequential, make: Callable[[nn.Module], nn.Module | None]) -> nn.Sequential:
    """A body with what ``make`` makes of each of its layers behind it, where that is a module.

    >>> body = nn.Sequential(nn.Linear(3, 2), nn.ReLU())
    >>> inserted(body, lambda m: nn.Dropout(0.5) if isinstance(m, nn.ReLU) else None)[-1].p
    0.5
    """
    pairs = [(layer, make(layer)) for layer in body]
    return nn.Sequential(*(m for both in pairs for m in both if m is not None))
