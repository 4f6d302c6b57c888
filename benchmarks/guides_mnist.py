"""A VAE of binarised MNIST: guides fitted to each image beside its encoder, and log p(x) by AIS.

Test images, nats per image, mean ± standard error over images; differences are paired.

- 1,000 images: ELBO of the encoder and of guides fitted to every image (K draws each).
- 100 images: L_5000 from the encoder beside annealed importance sampling that starts there. Both
  are lower bounds of log p(x) in expectation: the higher is the closer.
- as many data simulated from the VAE: the gap between the bounds from both sides (BDMC), with the
  same settings of annealing; it bounds what annealing leaves out.

Run ``python benchmarks/guides_mnist.py --run runs/burda``, a run of ``pyro-models train --preset
burda --data mnist``; ``--help`` for less.
"""

from __future__ import annotations

import argparse
import math

from clock import add_device, seconds
from torch import Tensor

from inference import Run, bracket, evidence, infer
from pyro_models import load_data


def line(name: str, values: Tensor, began: float) -> None:
    taken = seconds(values.device) - began
    values = values.cpu().double()
    error = float(values.std()) / math.sqrt(len(values))
    print(f"{name:44}{float(values.mean()):10.3f} ± {error:.3f}   [{taken:.0f} s]", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--run", required=True, help="run folder of a VAE of binarised pixels")
    parser.add_argument("--images", type=int, default=1000, help="for the guides (default 1000)")
    parser.add_argument("--annealed", type=int, default=100, help="for annealing (default 100)")
    parser.add_argument("--guides", nargs="+", default=["refined", "normal", "full_covariance"])
    parser.add_argument("--draws", type=int, default=100, help="K of the bounds (default 100)")
    parser.add_argument("--particles", type=int, default=5000, help="K of L_K (default 5000)")
    parser.add_argument("--chains", type=int, default=8, help="C of annealing (default 8)")
    parser.add_argument("--temperatures", type=int, default=200, help="T of annealing (200)")
    parser.add_argument("--leapfrog", type=int, default=5, help="steps in a transition (5)")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    options = parser.parse_args()
    pair = Run(options.run).load_pair(device=options.device)
    data = load_data("mnist", preparation="dynamic")
    x = data.prepared("test", seed=options.seed, limit=options.images).x
    seed = {"seed": options.seed}
    print(f"{data.name} test, the first {len(x):,}, {data.preparation} pixels; {options.run}")

    began = seconds(options.device)
    encoder = infer(pair, x, guide="encoder", **seed).elbo(num_particles=options.draws).value
    line("ELBO, encoder", encoder, began)
    for guide in options.guides:
        began = seconds(options.device)
        fitted = infer(pair, x, guide=guide, progress=True, **seed)
        bound = fitted.elbo(num_particles=options.draws).value
        line(f"ELBO, {guide} ({int(fitted.steps.median())} steps)", bound, began)
        line("  minus the encoder's", bound - encoder, began)

    few = x[: options.annealed]
    began = seconds(options.device)
    weighted = evidence(pair, few, method="importance", num_particles=options.particles, **seed)
    line(f"L_{options.particles}, the first {len(few)}", weighted.value, began)
    settings = {
        "num_chains": options.chains,
        "num_temperatures": options.temperatures,
        "num_leapfrog": options.leapfrog,
    }
    began = seconds(options.device)
    annealed = evidence(pair, few, method="annealing", guide="encoder", **settings, **seed)
    line(f"AIS from the encoder, {annealed.num_particles} chains", annealed.value, began)
    line("  minus L_K", annealed.value - weighted.value, began)
    print(annealed)
    began = seconds(options.device)
    both = bracket(pair, num_data=len(few), guide=pair.guide, **settings, **seed)
    line("BDMC on simulated data, upper − lower", both.gap, began)
    print(both)


if __name__ == "__main__":
    main()
