"""Truth values are neither seeds nor numbers of anything: ``seed=True`` is no seed 1."""

from __future__ import annotations

import pytest
import torch

from gp_bo import Optimizer, fit_gp, minimize
from inference import Experiment, Settings, evaluate, evidence, generate
from inference.objectives import IWAE
from inference.posterior import Plateau, complete, infer
from pyro_models import GMM, PPCA, VAE, TwoLayerVAE, UsageError, load_data
from pyro_models.likelihoods import Categorical, LogisticMixture
from pyro_models.seeds import check_seed


def ppca():
    return PPCA((1, 8, 8), latent_dim=2)


def images():
    return load_data("digits").split("test").x[:3]


CALLS = {
    "seed": lambda: check_seed(True),
    "seed of settings": lambda: Settings(seed=True),
    "epochs": lambda: Settings(epochs=True),
    "rate": lambda: Settings(lr=True),
    "seed of a split": lambda: Experiment(split_seed=True),
    "seed of labels": lambda: load_data("digits").with_labels(10, seed=True),
    "labels": lambda: load_data("digits").with_labels(True),
    "seed of a mask": lambda: infer(ppca(), images(), mask="random", seed=True),
    "fraction of a mask": lambda: infer(ppca(), images(), mask="random", fraction=True),
    "starts": lambda: infer(ppca(), images(), guide="normal", starts=True),
    "steps": lambda: infer(ppca(), images(), guide="normal", max_steps=True),
    "window": lambda: Plateau(decays=True),
    "completions": lambda: complete(ppca(), images(), "left", num_samples=True),
    "draws": lambda: infer(ppca(), images()).sample(True),
    "particles": lambda: IWAE(num_particles=True),
    "generated": lambda: generate(ppca(), n=True),
    "evaluated": lambda: evaluate(ppca(), load_data("digits"), limit=True),
    "temperatures": lambda: evidence(ppca(), images(), num_particles=True),
    "latents": lambda: PPCA((4,), latent_dim=True),
    "latents of a VAE": lambda: VAE((4,), latent_dim=True),
    "latents of two layers": lambda: TwoLayerVAE((4,), latent_dims=(True, 2)),
    "layers": lambda: VAE((4,), hidden=[True]),
    "components": lambda: GMM((4,), num_components=True),
    "logistics": lambda: LogisticMixture((4,), components=True),
    "bins": lambda: Categorical((4,), bins=True),
    "draws of a pair": lambda: ppca().model(n=True),
    "budget": lambda: minimize(lambda x: x[0], [(0.0, 1.0)], budget=True),
    "points": lambda: Optimizer([(0.0, 1.0)]).ask(True),
    "design": lambda: Optimizer([(0.0, 1.0)], initial=True),
    "seed of a search": lambda: Optimizer([(0.0, 1.0)], seed=True),
    "seed of a process": lambda: fit_gp(torch.rand(4, 1), torch.rand(4), seed=True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_a_truth_value_is_no_number(call):
    with pytest.raises(UsageError, match=r"^.*(True|got).*\Z"):
        call()
