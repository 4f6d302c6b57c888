"""log p of one site of a run: of data as they are given, and under masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from pyro.distributions.util import scale_and_mask
from torch import Tensor
from torch.distributions import biject_to, constraints

from pyro_models import UsageError

__all__ = ["as_data", "counted", "innermost", "is_certain", "is_flat", "log_prob_of", "shown"]

_AROUND = (dist.Independent, dist.MaskedDistribution, dist.ExpandedDistribution)


def innermost(fn: Any) -> Any:
    """The distribution within those that only arrange it."""
    while isinstance(fn, _AROUND):
        fn = fn.base_dist
    return fn


def is_certain(site: Mapping[str, Any]) -> bool:
    """Whether a site is determined, or a factor: no data, and no latent."""
    certain = site["infer"].get("_deterministic")
    return bool(certain) or isinstance(innermost(site["fn"]), dist.Delta | dist.Unit)


def as_data(name: str, value: Any) -> Tensor:
    """Observed values as a tensor: of numbers, an array, a list or a data frame.

    Raises
    ------
    UsageError
        If they are no real numbers.
    """
    try:
        tensor = torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        try:
            tensor = torch.as_tensor(np.array(value))  # a copy: frames are read-only
        except (TypeError, ValueError, RuntimeError) as error:
            raise UsageError(
                f"the data of the site {name!r} are {type(value).__name__}, and no numbers: give "
                "a tensor"
            ) from error
    if tensor.is_complex():
        raise UsageError(f"the data of the site {name!r} are complex: give real numbers")
    return tensor


def is_flat(site: Mapping[str, Any]) -> bool:
    """Whether a latent has no prior: it is improper, or hidden by a mask that is ``False``.

    ``Normal(0, 1).mask(False)`` is how Pyro writes a flat prior.
    """
    masks = [site["mask"], *(fn._mask for fn in _within(site["fn"]) if _is_masked(fn))]
    hidden = any(mask is False for mask in masks)
    return hidden or isinstance(innermost(site["fn"]), dist.ImproperUniform)


def log_prob_of(site: Mapping[str, Any]) -> Tensor:
    """log p of a site's value, (\\*batch,), nats, 0 where it is masked.

    A mask that is a tensor hides some of the values. Hidden data are replaced by possible ones, as
    the gradient of what is NaN or impossible is NaN even where it does not count. Hidden latents
    are padding, as of sequences of different lengths: they keep their own prior, which integrates
    to 1, so that they change nothing.
    """
    fn, value, mask = site["fn"], site["value"], site["mask"]
    if is_certain(site):
        pass
    elif site["is_observed"]:
        value = shown(site)
    else:
        fn, mask = _unpadded(fn), None if isinstance(mask, Tensor) else mask
    return scale_and_mask(fn.log_prob(value, *site["args"], **site["kwargs"]), 1.0, mask)


def shown(site: Mapping[str, Any]) -> Tensor:
    """The data of a site as its density takes them, possible ones in the place of masked ones."""
    fn, value = site["fn"], site["value"]
    whole = fn.support.is_discrete and not isinstance(innermost(fn), dist.Bernoulli)
    if value.dtype is torch.bool or not (whole or value.is_floating_point()):
        value = value.to(torch.get_default_dtype())
    counts = counted(site)
    if counts is None:
        return value
    return torch.where(counts, value, _possible(fn, value))


def counted(site: Mapping[str, Any]) -> Tensor | None:
    """Which values of a site no mask hides, broadcast with them; ``None`` where there is none."""
    masks = [(site["mask"], site["fn"])]
    masks += [(fn._mask, fn) for fn in _within(site["fn"]) if _is_masked(fn)]
    found = None
    for mask, fn in masks:
        if isinstance(mask, Tensor):
            own = mask.reshape(mask.shape + (1,) * fn.event_dim)
            found = own if found is None else found & own
    return found


def _possible(fn: Any, value: Tensor) -> Tensor:
    """Values in the support of a distribution, like its data."""
    support = fn.support
    if support.is_discrete:
        while isinstance(support, constraints.independent):
            support = support.base_constraint
        return torch.zeros_like(value) + getattr(support, "lower_bound", 0)
    to_site = biject_to(support)
    with torch.no_grad():
        return to_site(torch.zeros_like(value).new_zeros(to_site.inverse_shape(value.shape)))


def _within(fn: Any) -> Iterator[Any]:
    """A distribution, and those that it arranges."""
    yield fn
    while isinstance(fn, _AROUND):
        fn = fn.base_dist
        yield fn


def _is_masked(fn: Any) -> bool:
    return isinstance(fn, dist.MaskedDistribution)


def _unpadded(fn: Any) -> Any:
    """A distribution without masks that hide some of its values."""
    if isinstance(fn, dist.Independent):
        base = _unpadded(fn.base_dist)
        return fn if base is fn.base_dist else base.to_event(fn.reinterpreted_batch_ndims)
    if _is_masked(fn) and isinstance(fn._mask, Tensor):
        return fn.base_dist.expand(fn.batch_shape)
    return fn
