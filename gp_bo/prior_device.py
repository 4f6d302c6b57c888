"""A prior on another device: every tensor that its distributions and transforms hold is moved."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Transform, constraints

__all__ = ["moved_prior"]

_PARTS = (Distribution, Transform, constraints.Constraint)


def moved_prior(prior: Any, device: torch.device) -> Any:
    """The same prior with its tensors on ``device``; itself, where they are there already.

    Distributions that are made of others, by transforms, mixtures or masks, are moved with all that
    they are made of.

    Examples
    --------
    >>> import pyro.distributions as dist
    >>> moved_prior(dist.LogNormal(0.0, 1.0), torch.device("meta")).base_dist.loc.device
    device(type='meta')
    """
    done: dict[int, Any] = {}
    moved = _moved(prior, device, done)
    return moved if any(isinstance(each, Tensor) for each in done.values()) else prior


def _moved(part: Any, device: torch.device, done: dict[int, Any]) -> Any:
    """A copy with everything that it is made of; a transform and its inverse hold each other."""
    if isinstance(part, Tensor):
        if part.device == device:
            return part
        return done.setdefault(id(part), part.to(device))
    if isinstance(part, list):
        return [_moved(each, device, done) for each in part]
    if not isinstance(part, _PARTS):
        return part
    if id(part) not in done:
        other = done[id(part)] = copy.copy(part)
        vars(other).update({n: _moved(v, device, done) for n, v in vars(part).items()})
    return done[id(part)]
