"""What repeats after training, as CUDA graphs and operation by operation: only ratios mean much.

Encoder-free fits, Hamiltonian Monte Carlo, NUTS, annealed importance sampling, L_K and completion
of a VAE with Bernoulli pixels and 784-400-50 units, its weights as they begin, on binary noise. Of
each it prints seconds as it is run on the device, without graphs, and their ratio, in turns. On a
CPU, which has no graphs, the two are the same. Run ``python benchmarks/launches.py --device cuda``.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from clock import add_device, name_of, seconds
from torch import Tensor

from inference import complete, condition, hmc, infer, nuts
from inference.cuda_graph import LAUNCHERS
from inference.evaluation.annealing import anneal
from inference.evaluation.estimates import log_weights
from inference.posterior import Plateau
from pyro_models import VAE

SHAPE = (1, 28, 28)
NEVER = Plateau(window=50, patience=10**6)
WORK: dict[str, Callable[[VAE, Tensor], object]] = {
    "infer, 500 steps": lambda vae, x: infer(vae, x, starts=0, max_steps=500, stopping=NEVER),
    "infer, until converged": lambda vae, x: infer(vae, x, guide="normal"),
    "HMC, 100 transitions": lambda vae, x: hmc(condition(vae, x[:64]), num_samples=50, warmup=50),
    "NUTS, 40 transitions": lambda vae, x: nuts(
        condition(vae, x[:16]), num_samples=20, warmup=20, max_depth=5
    ),
    "annealing, 200 temperatures": lambda vae, x: anneal(
        condition(vae, x[:64]), num_temperatures=200
    ),
    "L_5000": lambda vae, x: log_weights(vae, x[:100], num_particles=5000),
    "completion": lambda vae, x: complete(vae, x, "left", guide="encoder_zeros"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add_device(parser)
    parser.add_argument("--images", type=int, default=1000, help="images at most (default 1000)")
    parser.add_argument("--turns", type=int, default=2, help="timed turns (default 2)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    parser.add_argument("--work", nargs="*", default=list(WORK), help="some of it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    vae = VAE(SHAPE, hidden=[400], latent_dim=50, likelihood="bernoulli").to(options.device)
    x = torch.rand(options.images, *SHAPE).round().to(options.device)
    graphs = dict(LAUNCHERS)
    print(f"{name_of(options.device)}, {len(x)} images at most, {options.turns} turns, medians")
    print(f"{'':30}{'as it is':>10}{'no graphs':>11}{'ratio':>8}  spread")
    for name in options.work:
        taken: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(options.turns + 1):
            for graphed, times in taken.items():
                LAUNCHERS.clear()
                LAUNCHERS.update(graphs if graphed else {})
                began = seconds(options.device)
                WORK[name](vae, x)
                if turn:  # the first turn warms up
                    times.append(seconds(options.device) - began)
        LAUNCHERS.update(graphs)
        ratios = [a / b for a, b in zip(taken[True], taken[False], strict=True)]
        own, other = (statistics.median(times) for times in taken.values())
        spread = (max(ratios) - min(ratios)) / statistics.median(ratios)
        print(f"{name:30}{own:10.3f}{other:11.3f}{own / other:8.2f}  {spread:4.0%}", flush=True)


if __name__ == "__main__":
    main()
