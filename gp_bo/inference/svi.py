"""The hyper-posterior by stochastic variational inference, with any of Pyro's autoguides."""

from __future__ import annotations

import inspect
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import pyro
import torch
from pyro.distributions.transforms import affine_autoregressive, iterated
from pyro.infer import Predictive, Trace_ELBO, autoguide
from torch import Tensor

from gp_bo.inference.draws import HyperDraws
from gp_bo.inference.point import modes
from gp_bo.model import GPModel
from pyro_models import UsageError
from pyro_models.counts import check_counts
from pyro_models.registry import check_choice
from pyro_models.seeds import seeded

__all__ = ["svi"]

# base classes, and guides that are made of others or are for discrete sites
_OTHERS = ("Callable", "Continuous", "DiscreteParallel", "Guide", "GuideList", "Messenger")
_NO_GUIDES = tuple(f"Auto{name}" for name in _OTHERS)

Guide = str | Callable[[GPModel], Any]


def svi(
    gp: GPModel,
    *,
    seed: int = 0,
    guide: Guide = "AutoMultivariateNormal",
    num_draws: int = 256,
    steps: int = 1000,
    lr: float = 0.03,
    num_particles: int = 8,
    restarts: int = 8,
) -> HyperDraws:
    """Draws of the guide q(θ) that maximises the ELBO, E_q[log p(y, θ) − log q(θ)].

    The guide starts at the mode where it can.

    Parameters
    ----------
    guide
        A class of ``pyro.infer.autoguide`` by name, or a function that makes a guide from the
        model: ``lambda model: AutoLowRankMultivariateNormal(model, rank=1)``.
    num_draws
        S, the number of draws.
    steps, lr
        Number of steps of Adam, and its first rate, above 0, which falls to 0 along a cosine.
    num_particles
        Draws of θ per step, vectorised.
    """
    check_counts(num_draws=num_draws, steps=steps, num_particles=num_particles)
    if not 0 < lr < math.inf:
        raise UsageError(f"lr must be above 0 and finite; got {lr}")
    if not (isinstance(guide, str) or callable(guide)):
        what = "a class of pyro.infer.autoguide by name, or a function that makes a guide"
        raise UsageError(f"guide is {what} from the model; got {guide!r}")
    if not gp.hyperparameters.size:
        raise UsageError("every hyper-parameter is fixed: nothing is left to infer; use map")
    found = modes(gp, seed=seed, restarts=restarts, jacobian=True)
    start = {n: v[0] for n, v in gp.hyperparameters.constrain(found.points[:1]).items()}
    with seeded(seed, gp.device), _new_tensors(gp.device), pyro.get_param_store().scope():
        made = _make_guide(guide, gp, start)
        made()
        losses = _learn(gp, made, steps=steps, lr=lr, num_particles=num_particles)
        if isinstance(made, autoguide.AutoLaplaceApproximation):
            made = _normal_at_the_mode(made)
        with torch.no_grad():
            drawn = Predictive(made, num_samples=num_draws, parallel=True)()
            final = -Trace_ELBO(512, max_plate_nesting=0, vectorize_particles=True).loss(gp, made)
    shapes = {s.parameter.name: s.parameter.shape for s in gp.hyperparameters.sites}
    theta = {name: drawn[name].reshape(num_draws, *shape) for name, shape in shapes.items()}
    u = gp.hyperparameters.unconstrain(theta).detach()
    details = {"elbo": final, "skipped_steps": int((~losses.isfinite()).sum())}
    return HyperDraws.equal(u, messages=_still_rising(losses), details=details)


def _make_guide(guide: Guide, gp: GPModel, start: dict[str, Tensor]) -> Any:
    if not isinstance(guide, str):
        return guide(gp)
    names = [n for n in autoguide.__all__ if n.startswith("Auto") and n not in _NO_GUIDES]
    check_choice("guide", guide, names)
    kind = getattr(autoguide, guide)
    options: dict[str, Any] = {}
    if guide == "AutoNormalizingFlow":  # the one that must be told which flow
        options["init_transform_fn"] = partial(iterated, 2, affine_autoregressive)
    # an autoregressive flow has no place to start at, and says so
    if "init_loc_fn" in inspect.signature(kind).parameters and guide != "AutoIAFNormal":
        options["init_loc_fn"] = autoguide.init_to_value(values=start)
    return kind(gp, **options)


def _normal_at_the_mode(guide: Any) -> Any:
    """What ``AutoLaplaceApproximation`` is for: what it learns itself is the mode alone."""
    try:
        return guide.laplace_approximation()
    except torch.linalg.LinAlgError:
        raise UsageError(
            "the density is no hill where AutoLaplaceApproximation ended: take more steps, or nuts"
        ) from None


def _learn(gp: GPModel, guide: Any, *, steps: int, lr: float, num_particles: int) -> Tensor:
    """Losses by step; one that is not finite moves nothing."""
    loss_of = Trace_ELBO(num_particles, max_plate_nesting=0, vectorize_particles=True)(gp, guide)
    parameters = list(loss_of.parameters())
    if not parameters:
        raise UsageError("the guide has no parameters to learn")
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of()
        losses.append(loss.detach())
        if bool(loss.isfinite()):
            loss.backward()
            optimizer.step()
        schedule.step()
    return torch.stack(losses)


def _still_rising(losses: Tensor) -> tuple[str, ...]:
    """Whether the last quarter of the steps gained clearly on the one before."""
    quarter = len(losses) // 4
    before, after = losses[-2 * quarter : -quarter], losses[-quarter:]
    before, after = before[before.isfinite()], after[after.isfinite()]
    if len(before) < 10 or len(after) < 10:
        return ("too few steps to see whether the ELBO still rises: take more",)
    gain = float(before.mean() - after.mean())
    error = math.sqrt(float(before.var() / len(before) + after.var() / len(after)))
    if gain > 0.1 + 4 * error:
        return (f"the ELBO still rises, by {gain:.2f} nats over the last quarter: take more steps",)
    return ()


@contextmanager
def _new_tensors(device: torch.device) -> Iterator[None]:
    """Tensors that guides make, of flows for instance, in float64 and on the device."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with warnings.catch_warnings(), nullcontext() if device.type == "cpu" else device:
            # Pyro keeps the generators of all devices, and torch warns where there are several
            warnings.filterwarnings("ignore", ".*fork_rng", UserWarning)
            yield
    finally:
        torch.set_default_dtype(before)
