"""A decoder whose weights have priors, against one with point weights, on half-seen digits.

p(W) Π_n p(z_n) p(x_n | z_n, W): two layers, every weight N(0, 1), 8×8 binary pixels, a fifth of
which is hidden. The weights are global latents, inferred by each guide beside one Normal for each
z_n; the score is log p(x_hidden | x_seen) per hidden pixel, of 200 draws of all latents, which is
the same unit for points and distributions. Run ``python benchmarks/bayesian_decoder.py``;
``--help`` for its options.
"""

from __future__ import annotations

import argparse
import math
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from clock import add_device, processor_seconds
from torch import Tensor

from inference import ProgramPosterior, infer
from pyro_models import load_data

WEIGHTS = ["W1", "b1", "W2", "b2"]
LATENTS = ("AutoNormal", ["z"])
GUIDES: dict[str, Any] = {
    "points": [("AutoDelta", WEIGHTS), LATENTS],
    "mean-field Normals": "normal",
    "low-rank Normal": [("AutoLowRankMultivariateNormal", WEIGHTS), LATENTS],
}


def decoder(x: Tensor, seen: Tensor, hidden: int) -> None:
    """Two latents of each image, ``hidden`` tanh units."""
    normal = dist.Normal(x.new_zeros(()), 1.0)
    W1 = pyro.sample("W1", normal.expand([2, hidden]).to_event(2))
    b1 = pyro.sample("b1", normal.expand([hidden]).to_event(1))
    W2 = pyro.sample("W2", normal.expand([hidden, x.shape[1]]).to_event(2))
    b2 = pyro.sample("b2", normal.expand([x.shape[1]]).to_event(1))
    with pyro.plate("data", len(x), device=x.device):
        z = pyro.sample("z", normal.expand([2]).to_event(1))
        pixels = dist.Bernoulli(logits=torch.tanh(z @ W1 + b1) @ W2 + b2)
        pyro.sample("x", pixels.mask(seen).to_event(1), obs=x)


def of_hidden_pixels(posterior: ProgramPosterior, x: Tensor, seen: Tensor) -> tuple[float, float]:
    """log (1/S) Σ_s p(x_d | z_s, W_s) of hidden pixels: mean and standard error, nats."""
    q = posterior.sample(200, seed=0)
    b1, b2 = q["b1"].unsqueeze(1), q["b2"].unsqueeze(1)
    pixels = dist.Bernoulli(logits=torch.tanh(q["z"] @ q["W1"] + b1) @ q["W2"] + b2)
    each = (pixels.log_prob(x).logsumexp(0) - math.log(200))[~seen]
    return float(each.mean()), float(each.std() / math.sqrt(len(each)))


def main() -> None:
    """Infer, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", nargs="+", type=int, default=[30, 100, 300])
    parser.add_argument("--hidden", type=int, default=16, help="tanh units")
    parser.add_argument("--steps", type=int, default=1500, help="of a fit, at most")
    parser.add_argument("--seed", type=int, default=0)
    add_device(parser)
    given = parser.parse_args()
    data = load_data("digits", preparation="threshold")
    for images in given.images:
        x = data.prepared("train", limit=images).x.flatten(1).to(given.device)
        generator = torch.Generator().manual_seed(given.seed)
        seen = (torch.rand(x.shape, generator=generator) < 0.8).to(given.device)
        print(f"\n{images} images, {int((~seen).sum())} hidden pixels")
        for name, guide in GUIDES.items():
            began = processor_seconds(given.device)
            options = {"max_steps": given.steps, "lr": 0.03, "seed": given.seed}
            found = infer(decoder, x, seen, given.hidden, guide=guide, **options)
            mean, error = of_hidden_pixels(found, x, seen)
            took = processor_seconds(given.device) - began
            bound = f"ELBO {float(found.elbo.value):.1f}" if found.density else "no bound"
            print(
                f"{name:20}{mean:8.4f} ± {error:.4f} nats per hidden pixel   {bound:16}"
                f"{found.stopped} after {found.steps} steps, {took:.0f} s"
            )


if __name__ == "__main__":
    main()
