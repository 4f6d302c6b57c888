"""Draws of a Gaussian process's hyper-parameters for ArviZ, whose diagnostics and plots apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gp_bo.fitted import FittedGP
from inference.posterior.export import inference_data
from pyro_models import UsageError
from pyro_models.counts import check_counts
from pyro_models.seeds import check_seed

__all__ = ["to_arviz"]


def to_arviz(
    fitted: FittedGP, *, inputs: Sequence[str] | None = None, num_draws: int = 1000, seed: int = 0
) -> Any:
    """Draws of θ as ArviZ's inference data, of dimensions (chain, draw, …), in original units.

    That is an ``arviz.InferenceData``, or since ArviZ 1 an ``xarray.DataTree``.

    Groups: ``posterior`` has every hyper-parameter that was inferred; ``sample_stats`` what the
    chains did, draw by draw (lp, energy, diverging, acceptance_rate, n_steps, tree_depth,
    step_size); ``observed_data`` y; ``constant_data`` X. Warm-up is in none of them. ``lp`` and
    ``energy`` are of the unconstrained, scaled parameters that the chains move in.

    Parameters
    ----------
    fitted
        From :func:`gp_bo.fit_gp`. Chains of NUTS stay chains; other draws are one chain; draws with
        weights, as a quadrature has, are drawn again in proportion to them.
    inputs
        Names of the d inputs; x1, x2, … unless given (x, if there is one).
    num_draws, seed
        How many draws to take where they have weights, and their seed.

    Raises
    ------
    UsageError
        If ArviZ is not installed, θ is a point estimate, or a number or a name is missing.
    """
    dim = fitted.X.shape[1]
    if inputs is None:
        inputs = ["x"] if dim == 1 else [f"x{i + 1}" for i in range(dim)]
    if len(inputs) != dim:
        raise UsageError(f"this Gaussian process has {dim} inputs; got {len(inputs)} names")
    rows, chains = _rows(fitted, num_draws, seed)
    posterior, dims = {}, {"y": ["row"], "X": ["row", "input"]}
    for site in fitted.gp.hyperparameters.sites:
        name = site.parameter.name
        posterior[name] = _by_chain(fitted.hyperparameters[name].cpu()[rows], chains)
        own = posterior[name].shape[2:]
        dims[name] = ["input"] if own == (dim,) else [f"{name}_dim_{i}" for i in range(len(own))]
    groups = {
        "posterior": posterior,
        "observed_data": {"y": fitted.y.cpu().numpy()},
        "constant_data": {"X": fitted.X.cpu().numpy()},
    }
    statistics = fitted.draws.statistics
    if statistics:
        groups["sample_stats"] = {n: _by_chain(v, chains) for n, v in statistics.items()}
    coords: dict[str, Sequence[Any]] = {"input": list(inputs), "row": list(range(len(fitted.y)))}
    return inference_data(groups, dims=dims, coords=coords)


def _rows(fitted: FittedGP, num_draws: int, seed: int) -> tuple[Tensor, int]:
    """Which draws to give, and the number of chains they are of."""
    if fitted.num_draws == 1:
        others = "fit with nuts, laplace, svi or quadrature"
        raise UsageError(f"{fitted.inference} gives one point, not draws: {others}")
    if bool((fitted.weights == fitted.weights[0]).all()):
        return torch.arange(fitted.num_draws), max(1, fitted.draws.num_chains)
    check_counts(num_draws=num_draws)
    check_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    return fitted.weights.cpu().multinomial(num_draws, replacement=True, generator=generator), 1


def _by_chain(values: Tensor, chains: int) -> Any:
    return values.detach().cpu().reshape(chains, -1, *values.shape[1:]).numpy()
