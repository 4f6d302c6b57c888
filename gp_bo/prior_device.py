"""A prior on another device: every tensor that its distributions and transforms hold is moved."""

from __future__ import annotations

import copy
from collections.abc import Iterator
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
    if all(tensor.device == device for tensor in _tensors(prior, set())):
        return prior
    return _moved(prior, device, {})


def _moved(part: Any, device: torch.device, done: dict[int, Any]) -> Any:
    """A copy with everything that it is made of; a transform and its inverse hold each other."""
    if isinstance(part, Tensor):
        return part.to(device)
    if isinstance(part, list):
        return [_moved(each, device, done) for each in part]
    if not isinstance(part, _PARTS):
        return part
    if id(part) not in done:
        other = done[id(part)] = copy.copy(part)
        vars(other).update({n: _moved(v, device, done) for n, v in vars(part).items()})
    return done[id(part)]


def _tensors(part: Any, seen: set[int]) -> Iterator[Tensor]:
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, list):
        for each in part:
            yield from _tensors(each, seen)
    elif isinstance(part, _PARTS) and id(part) not in seen:
        seen.add(id(part))
        for each in vars(part).values():
            yield from _tensors(each, seen)
