"""Arguments of samplers that are no whole numbers, or out of range, are one line."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gp_bo.inference import nuts as hyper_nuts
from gp_bo.kernels import RBF
from gp_bo.model import GPModel
from inference.evaluation.annealing import anneal
from inference.evaluation.bracket import bracket
from inference.mcmc.warm_up import check_sampling
from inference.posterior import condition, hmc, nuts
from pyro_models import PPCA, UsageError

WRONG = (2.5, 0, -3, True, "4", None)

PAIR = PPCA((3,), latent_dim=1)


def _target() -> Any:
    return condition(PAIR, torch.zeros(2, 3))


def _gp() -> GPModel:
    X = torch.linspace(0, 1, 4, dtype=torch.float64)[:, None]
    return GPModel(X, X[:, 0], kernel=RBF(), mean="zero", priors={})


SAMPLERS: dict[str, tuple[Callable[..., Any], Callable[[], Any], tuple[str, ...]]] = {
    "hmc": (hmc, _target, ("num_samples", "num_chains", "warmup", "num_leapfrog", "max_elements")),
    "nuts": (nuts, _target, ("num_samples", "num_chains", "warmup", "max_depth", "max_elements")),
    "anneal": (
        anneal,
        _target,
        ("num_chains", "num_temperatures", "num_leapfrog", "num_pilots", "max_elements"),
    ),
    "bracket": (bracket, lambda: PAIR, ("num_data", "num_leapfrog", "num_chains")),
    "gp": (hyper_nuts, _gp, ("num_draws", "num_chains", "warmup", "max_depth", "restarts")),
}
CASES = [(name, argument) for name, (*_, arguments) in SAMPLERS.items() for argument in arguments]


@pytest.mark.parametrize(("name", "argument"), CASES)
def test_what_is_no_whole_number_is_refused(name: str, argument: str) -> None:
    sampler, given, _ = SAMPLERS[name]
    for value in WRONG:
        with pytest.raises(UsageError, match=rf"{argument}.* must be at least \d+, a whole number"):
            sampler(given(), **{argument: value})


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_seed_that_is_none_is_refused(name: str) -> None:
    sampler, given, _ = SAMPLERS[name]
    for seed in (2.5, -1, "0"):
        with pytest.raises(UsageError, match="a seed is a whole number"):
            sampler(given(), seed=seed)


@pytest.mark.parametrize("name", ["hmc", "nuts", "anneal", "gp"])
def test_an_acceptance_that_is_no_probability_is_refused(name: str) -> None:
    sampler, given, _ = SAMPLERS[name]
    for value in (0.0, 1.0, 1.5, float("nan"), "high"):
        with pytest.raises(UsageError, match="target_acceptance lies between 0 and 1"):
            sampler(given(), target_acceptance=value)


def test_an_acceptance_may_be_any_real_number() -> None:
    check_sampling(warmup=20, target_acceptance=np.float32(0.8))  # type: ignore[arg-type]
