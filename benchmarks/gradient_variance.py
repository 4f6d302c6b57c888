"""How much the guide's gradient varies from draw to draw, objective by objective.

A VAE 64-128-10 of the bundled digits (pixels above ½), before training, and after 100 epochs by the
ELBO or by the importance-weighted bound with K = 5. Each objective's gradient for the guide is
drawn repeatedly on the same batch, from the same seeds; what is compared is the sum of the
variances of its elements. Ratios below 1 favour the first. Run
``python benchmarks/gradient_variance.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import statistics

import pyro
import torch
from clock import add_device
from torch import Tensor

from inference import fit
from inference.learning import make_objective
from pyro_models import VAE, ImageData, load_data

RATIOS = (
    ("stl", "monte_carlo", 1),
    ("stl", "mean_field", 1),
    ("dreg", "iwae", 5),
    ("dreg", "iwae", 50),
)
STAGES = {"before training": None, "trained by elbo": {}, "trained by iwae": {"num_particles": 5}}


def trained(data: ImageData, stage: str, *, seed: int, epochs: int, device: torch.device) -> VAE:
    torch.manual_seed(seed)
    vae = VAE(data.data_shape, latent_dim=10, hidden=[128], likelihood="bernoulli").to(device)
    options = STAGES[stage]
    if options is not None:
        objective = stage.removeprefix("trained by ")
        how = {"lr": 3e-3, "curve_size": 0, "capture": True, "progress": False, "seed": seed}
        fit(vae, data, objective=objective, objective_options=options, epochs=epochs, **how)
    return vae


def variance(vae: VAE, x: Tensor, objective: str, count: int, *, draws: int) -> float:
    """Total variance of the guide's gradient of the batch's mean."""
    pyro.set_rng_seed(0)
    made = make_objective(vae, objective, {"num_particles": count})
    gradients = []
    for _ in range(draws):
        vae.zero_grad()
        made.backward(x)
        gradients.append(torch.cat([p.grad.flatten() for p in vae.guide.parameters()]))
    return float(torch.stack(gradients).double().var(0).sum())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=100)
    add_device(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    data = load_data("digits", preparation="threshold")
    x = data.prepared("train", limit=100).x.to(arguments.device)
    print(f"{'variance of the first / of the second':40} " + " ".join(f"{s:>20}" for s in STAGES))
    found: dict[tuple[str, str, int], list[str]] = {ratio: [] for ratio in RATIOS}
    for stage in STAGES:
        vaes = [
            trained(data, stage, seed=seed, epochs=arguments.epochs, device=arguments.device)
            for seed in range(arguments.seeds)
        ]
        for ratio in RATIOS:
            first, second, count = ratio
            values = [
                variance(vae, x, first, count, draws=arguments.draws)
                / variance(vae, x, second, count, draws=arguments.draws)
                for vae in vaes
            ]
            middle = statistics.median(values)
            found[ratio].append(f"{middle:.2f} ({min(values):.2f}–{max(values):.2f})")
    for (first, second, count), columns in found.items():
        name = f"{first} / {second}, K = {count}"
        print(f"{name:40} " + " ".join(f"{column:>20}" for column in columns))
    print(f"median of {arguments.seeds} seeds (lowest–highest), {arguments.draws} draws each")


if __name__ == "__main__":
    main()
