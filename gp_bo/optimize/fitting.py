"""From evaluations to a surrogate: fit a GP, take its draws."""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gp_bo.fit import InferenceWarning, fit_gp
from gp_bo.fitted import FittedGP
from gp_bo.inference import INFERENCES, check_options
from gp_bo.kernels import Kernel, Pairs, log_normal
from gp_bo.latent.fitted import LatentGP
from gp_bo.means import mean_values
from gp_bo.optimize.surrogate import Surrogate
from gp_bo.problem import regression_problem
from gp_bo.sparse import SPARSE, SparseGP
from pyro_models import UsageError
from pyro_models.counts import check_counts
from pyro_models.options import check_known
from pyro_models.seeds import alone

__all__ = ["DEFAULTS", "check_gp_options", "fit_surrogate", "surrogate_of"]

DEFAULTS: dict[str, Any] = {"kernel": "matern52"}
# Values of simulations have no noise, those of laboratories some: the data say which.
NOISE_PRIOR = log_normal(-9.0, 3.0)
NOISY_PRIOR = log_normal(-2.0, 1.5)  # where the user says that there is noise
# options that are not of the inference
_MODEL: dict[str, Any] = {**DEFAULTS, "noise": "learned", "mean": "constant", "priors": None}
OWN = (
    "scale",
    "seed",
    "inference",
    "device",
    "noisy",
    "likelihood",
)  # what the optimiser decides itself


def surrogate_of(fitted: FittedGP, *, num_draws: int | None = None) -> Surrogate:
    """The draws of a fitted GP, in its scaled units, as acquisition functions use them.

    At most ``num_draws`` of them: evenly spaced in their order, or, where they have weights, as
    often as their weight says (systematic resampling). A sparse one is refused: its acquisition
    would cost as much as an exact one's.
    """
    if isinstance(fitted, LatentGP):
        raise UsageError("a surrogate has gaussian noise: fit with another likelihood than this")
    if isinstance(fitted, SparseGP):
        raise UsageError(f"a surrogate conditions on every row: fit with another than {SPARSE!r}")
    keep = _evenly(fitted.weights, num_draws)
    theta = {name: value[keep].detach() for name, value in fitted.scaled_hyperparameters.items()}
    kernel = fitted.gp.kernel
    return Surrogate(
        covariance=lambda a, b: kernel.covariance(theta, Pairs(a, b)),
        prior_variance=lambda a: kernel.variance(theta, a),
        prior_mean=lambda a: mean_values(theta, a).expand(len(keep), len(a)),
        noise=theta["noise"],
        x=fitted.gp.X,
        y=fitted.gp.y,
        messages=tuple(fitted.diagnostics["messages"]),
    )


def _evenly(weights: Tensor, num_draws: int | None) -> Tensor:
    """Indices at equal steps of the cumulated weight."""
    count = len(weights) if num_draws is None else min(num_draws, len(weights))
    equal = bool((weights - weights[0]).abs().max() < 1e-12)
    if equal and count == len(weights):
        return torch.arange(count, device=weights.device)
    steps = (torch.arange(count, dtype=weights.dtype, device=weights.device) + 0.5) / count
    return torch.searchsorted(weights.cumsum(0), steps).clamp_max(len(weights) - 1)


def fit_surrogate(
    x: Tensor,
    y: Tensor,
    *,
    inference: str,
    seed: int,
    kept_draws: int = 32,
    device: str | torch.device | None = None,
    noisy: bool = False,
    **gp: Any,
) -> Surrogate:
    """Fit a GP to points of the unit cube, (n, D), and standardised values, (n,), to be minimised.

    Options are as for :func:`gp_bo.fit_gp`, priors of the unit cube and of standardised values. At
    most ``kept_draws`` draws of θ are kept; that values are ``noisy`` is said by the noise's prior.
    """
    options = {**DEFAULTS, **gp}
    if options.get("noise", "learned") == "learned":
        noise = NOISY_PRIOR if noisy else NOISE_PRIOR
        options["priors"] = {"noise": noise, **options.get("priors", {})}
    with alone(), warnings.catch_warnings():
        warnings.simplefilter("ignore", InferenceWarning)  # kept as messages
        fitted = fit_gp(x, y, inference=inference, scale=False, seed=seed, device=device, **options)
    return surrogate_of(fitted, num_draws=kept_draws)


def check_gp_options(
    inference: str, gp: Mapping[str, Any], *, columns: int, kernel: Kernel | None = None
) -> None:
    """Refuse what :func:`fit_surrogate` would refuse, or a state file cannot hold.

    It would refuse it only after a whole design was evaluated, so the model is made once, of two
    points of D = ``columns``; with ``kernel``, where that is an object that ``gp`` describes.
    """
    refused = [name for name in OWN if name in gp]
    if refused:
        raise UsageError(f"the optimiser sets {', '.join(refused)} itself; leave it out of gp")
    INFERENCES.check(inference)
    takers = (fit_gp, fit_surrogate, INFERENCES[inference])
    own = {name for taker in takers for name in inspect.signature(taker).parameters}
    check_known(gp, sorted(own - {"X", "x", "y", "gp", "options", *OWN}), who="the GP")
    try:
        json.dumps(dict(gp))
    except (TypeError, ValueError):
        what = "options of the GP are kept in JSON: give names and numbers, no objects"
        raise UsageError(what) from None
    check_counts(kept_draws=gp.get("kept_draws", 1))
    others = {name: v for name, v in gp.items() if name not in (*_MODEL, "kept_draws")}
    check_options(INFERENCES[inference], inference, others)
    model = {name: gp.get(name, value) for name, value in _MODEL.items()}
    model["kernel"] = model["kernel"] if kernel is None else kernel
    corners = torch.stack([torch.zeros(columns), torch.ones(columns)])
    problem = regression_problem(corners, torch.tensor([0.0, 1.0]), scale=False, **model)
    size = problem.gp.hyperparameters.size
    if inference == "quadrature" and size not in (1, 2):
        raise UsageError(
            f"quadrature is for one or two hyper-parameters; {size} are open: fix some by "
            "gp={'priors': {name: number}}, or choose another inference"
        )
