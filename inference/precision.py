"""In what precision a pair computes: its networks in bfloat16, or all of it in float64."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from copy import deepcopy
from functools import wraps
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.device import like_of
from pyro_models.likelihoods import Likelihood
from pyro_models.registry import check_choice

__all__ = ["DEFAULT", "PRECISIONS", "at_precision", "in_precision", "original", "precision_of"]

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT = "float32"
PRECISIONS = (DEFAULT, "bfloat16", "float64")
"""float32 leaves a pair as it is; bfloat16 is autocast for its networks; in float64 all is."""


def in_precision(pair: Pair, precision: str) -> Pair:
    """A pair that computes in a precision, beside the given one, of which nothing changes.

    Parameters
    ----------
    pair
        A pair; its copy has the same weights, and stands for the same model.
    precision
        ``"float32"``: the pair as it is (one in float64 stays there). ``"bfloat16"``: autocast for
        its networks alone; log-probabilities stay in float32. ``"float64"``: a copy in float64,
        whose draws are others: the truth that a rounding error is measured by.

    Raises
    ------
    UsageError
        If the precision is unknown, bfloat16 is asked of a pair that is not in float32, or float64
        of a device that has none.

    Examples
    --------
    >>> from pyro_models import VAE
    >>> vae = VAE((1, 8, 8), latent_dim=2, hidden=[16], likelihood="bernoulli")
    >>> exact = in_precision(vae, "float64")
    >>> precision_of(exact), precision_of(vae)
    ('float64', None)
    """
    check_choice("precision", precision, PRECISIONS)
    if precision == DEFAULT or precision == precision_of(pair):
        return pair
    return _converted(pair, pair, precision, {})


def precision_of(pair: Any) -> str | None:
    """In what precision a pair computes, as results say it; ``None`` for float32 throughout."""
    marked = getattr(pair, "_in_precision", None)
    if marked is not None:
        return str(marked[0])
    name = str(like_of(pair).dtype).removeprefix("torch.")
    return None if name == DEFAULT else name


def original(pair: Any) -> Any:
    """The pair that another computes for in a precision of its own; any other pair itself."""
    return getattr(pair, "_in_precision", (DEFAULT, pair))[1]


def at_precision(function: F) -> F:
    """Let a function of a pair compute with the pair in the ``precision`` that it takes.

    Guides that belong to the pair follow it, and other modules into float64; a posterior stays as
    it is. One image in place of a pair is no matter of precision.
    """
    signature = inspect.signature(function)

    @wraps(function)
    def computed(*args: Any, **options: Any) -> Any:
        given = signature.bind(*args, **options)
        precision = given.arguments.pop("precision", DEFAULT)
        check_choice("precision", precision, PRECISIONS)
        pair = given.arguments["pair"]
        if isinstance(pair, Tensor) or precision == DEFAULT:
            return function(*given.args, **given.kwargs)
        check_pair(pair)
        if precision == precision_of(pair):
            return function(*given.args, **given.kwargs)
        made: dict[int, Any] = {}
        for name in ("pair", "guide", "guides"):  # what these share, their copies share too
            if name in given.arguments:
                given.arguments[name] = _converted(given.arguments[name], pair, precision, made)
        return function(*given.args, **given.kwargs)

    return computed  # type: ignore[return-value]


def _converted(value: Any, pair: Any, precision: str, made: dict[int, Any]) -> Any:
    """A pair, or a guide of it, in a precision; ``made`` has what is copied already."""
    if isinstance(value, list | tuple):
        return [_converted(each, pair, precision, made) for each in value]
    if value is pair:
        return _copied(pair, precision, made)
    owner = getattr(value, "pair", None)  # of a posterior
    if owner is not None and precision == "float64" and precision_of(owner) != precision:
        raise UsageError(
            f"the posterior {value.name} was not inferred in float64: name its guide, or give "
            "precision='float64' to infer"
        )
    if owner is not None or not isinstance(getattr(value, "__self__", value), nn.Module):
        return value
    copied = deepcopy(value, made)
    if precision == "float64":
        getattr(copied, "__self__", copied).double()
    return copied


def _copied(pair: Any, precision: str, made: dict[int, Any]) -> Any:
    check_pair(pair)
    whose = original(pair)
    like = like_of(whose)
    if precision == "bfloat16":
        if like.dtype != torch.float32:
            raise UsageError(f"bfloat16 is for the networks of a float32 pair; got {like.dtype}")
        for part in (whose.model, whose.guide):
            made.update({id(tensor): tensor for tensor in (*part.parameters(), *part.buffers())})
    elif like.device.type == "mps":
        raise UsageError("mps has no float64: compute on the cpu")
    copied = made[id(pair)] = deepcopy(whose, made)
    vars(copied)["_in_precision"] = (precision, whose)
    parts = (copied.model, copied.guide)
    if precision == "float64":
        for part in (copied, *parts):
            if isinstance(part, nn.Module):
                part.double()
        return copied
    cast = _Autocast(like.device.type)
    for network in {m: None for part in parts for m in part.modules() if m not in parts}:
        if not isinstance(network, Likelihood):
            network.register_forward_pre_hook(cast.enter)
            network.register_forward_hook(cast.leave, always_call=True)
    return copied


class _Autocast:
    """Autocast as long as a network is called; what the outermost returns is in float32 again."""

    def __init__(self, device_type: str) -> None:
        self.device_type = device_type
        self.entered: list[torch.autocast] = []

    def enter(self, network: nn.Module, given: Any) -> None:
        self.entered.append(torch.autocast(self.device_type, torch.bfloat16, cache_enabled=False))
        self.entered[-1].__enter__()

    def leave(self, network: nn.Module, given: Any, returned: Any) -> Any:
        self.entered.pop().__exit__(None, None, None)
        return returned if self.entered else tree_map(_widened, returned)


def _widened(value: Any) -> Any:
    narrow = isinstance(value, Tensor) and value.dtype == torch.bfloat16
    return value.float() if narrow else value
