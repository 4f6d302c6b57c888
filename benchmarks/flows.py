"""Uniform against variational dequantisation, against three scales, at equal epochs, on the digits.

Affine couplings with gated residual networks; what differs is the guide, then the flow. Bits per
dimension of 17 levels on the 360 test images, and paired differences. Run ``python
benchmarks/flows.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import torch
from clock import add_device, seconds

from inference import evaluate, fit
from inference.standard_error import mean_and_error, with_error
from pyro_models import Flow, load_data
from pyro_models.seeds import seeded


def _named(name: str, **options: Any) -> dict[str, Any]:
    return {"class_path": name, "init_args": options}


ONE_SCALE = _named("conv", couplings=6, channels=8, blocks=1)
THREE_SCALES = _named("multiscale", couplings=[2, 2, 4], channels=[8, 12, 16], blocks=1)
GIVEN_X = _named("variational", flow=_named("conv", couplings=2, channels=6, blocks=1))
FLOWS = {
    "uniform": (ONE_SCALE, "uniform"),
    "variational": (ONE_SCALE, GIVEN_X),
    "multiscale, variational": (THREE_SCALES, GIVEN_X),
}


def main() -> None:
    """Train, evaluate and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--num_particles", type=int, default=8, help="K of L_K")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    given = parser.parse_args()
    data = load_data("digits")
    bits, before = -math.prod(data.data_shape) * math.log(2), None
    print("| flow | parameters | one u | bits per dimension | less the one above | seconds |")
    print("|---|---|---|---|---|---|")
    for name, (flow, guide) in FLOWS.items():
        began = seconds(given.device)
        with seeded(given.seed, torch.device("cpu")):
            pair = Flow(data.data_shape, flow=flow, dequantise=guide, levels=17)
        how = {"schedule": "OneCycleLR", "clip_norm": 100.0, "curve_size": 0, "progress": False}
        how |= {"seed": given.seed, "device": given.device}
        fit(pair, data, epochs=given.epochs, batch_size=64, lr=2e-3, **how)
        found = evaluate(pair, data, num_particles=given.num_particles).per_datum
        one, bound = (found[key] / bits for key in ("elbo", "importance_bound"))
        less = "" if before is None else with_error(*mean_and_error(bound - before), digits=3)
        before = bound
        numbers = [with_error(*mean_and_error(values), digits=3) for values in (one, bound)]
        count = f"{sum(p.numel() for p in pair.parameters()):,}"
        took = f"{seconds(given.device) - began:.0f}"
        print("|", " | ".join([name, count, *numbers, less, took]), "|", flush=True)


if __name__ == "__main__":
    main()
