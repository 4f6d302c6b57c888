"""Posterior draws for ArviZ, whose diagnostics and plots then apply."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.hmc import Draws
from inference.posterior.posterior import Posterior
from pyro_models import UsageError

__all__ = ["import_arviz", "inference_data", "to_arviz"]


def to_arviz(posterior: Draws | Posterior, *, num_draws: int = 1000, seed: int = 0) -> Any:
    """Draws as ArviZ's inference data, of dimensions (chain, draw, datum, latent).

    Parameters
    ----------
    posterior
        Draws of :func:`inference.posterior.hmc.hmc`, or a posterior of the guides ``hmc`` and
        ``nuts``: all draws, chain by chain, with what is known of each (acceptance, divergence) as
        ``sample_stats``. Or any other posterior, of which independent draws are taken, as one
        chain.
    num_draws, seed
        How many draws of a posterior that has no chains, and their seed.

    Raises
    ------
    UsageError
        If ArviZ is not installed, or num_draws < 1.
    """
    stats: Mapping[str, Tensor] = {}
    if isinstance(posterior, Draws):
        chains = posterior.target.unpack(posterior.z.transpose(0, 1))
        stats = {name: value.transpose(0, 1) for name, value in posterior.stats.items()}
    elif isinstance(posterior.guide, DrawsGuide) and posterior.guide.num_chains:
        chains, stats = posterior.guide.chains()
    else:
        drawn = posterior.sample(num_draws, seed=seed)
        chains = {name: values.unsqueeze(0) for name, values in drawn.items()}
    values = {name: value.detach().cpu().numpy() for name, value in chains.items()}
    dims = {
        name: ["datum", *(f"{name}_dim_{i}" for i in range(value.ndim - 3))]
        for name, value in values.items()
    }
    groups = {"posterior": values}
    if stats:
        groups["sample_stats"] = {n: v.detach().cpu().numpy() for n, v in stats.items()}
        dims |= {name: ["datum"] for name in stats}
    return inference_data(groups, dims=dims)


def import_arviz() -> Any:
    """ArviZ, if it is installed."""
    try:
        return importlib.import_module("arviz")
    except ImportError as error:
        raise UsageError(
            'ArviZ is not installed: pip install "pyro-models[diagnostics]"'
        ) from error


def inference_data(
    groups: Mapping[str, Mapping[str, Any]],
    *,
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Arrays by group and name as ArviZ's InferenceData, or, since ArviZ 1, as an xarray DataTree.

    Parameters
    ----------
    groups
        ``posterior``, ``sample_stats``, …: name → array, (chain, draw, …) where there are draws.
    dims
        Name → names of its dimensions, without chain and draw.
    coords
        Dimension → what its places are called.
    """
    arviz = import_arviz()
    named = {"dims": dims, **({} if coords is None else {"coords": coords})}
    if "posterior" in inspect.signature(arviz.from_dict).parameters:  # before ArviZ 1
        return arviz.from_dict(**groups, **named)
    return arviz.from_dict(groups, **named)
