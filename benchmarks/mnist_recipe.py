"""What helps a small VAE on MNIST: gradients, output bias, warm-up, schedule, rate, batch, bits.

The preset ``burda`` (784-200-200-50 tanh, pixels binarised afresh at each use) for few epochs, and
the same with one thing changed. Test L_K on the first images, in nats, with the standard error of
the paired difference to the preset over images; the same draws for all.
Run ``python benchmarks/mnist_recipe.py``; ``--help`` for less.
"""

from __future__ import annotations

import argparse
import math

import torch
from clock import add_device, seconds

from inference import fit
from inference.evaluation import log_weights
from pyro_models import VAE, load_data, load_preset

CHANGES: dict[str, dict[str, object]] = {
    "preset": {},
    "elbo, not stl": {"objective": "elbo"},
    "no output bias": {"output_bias": "default"},
    "no warm-up": {"beta_warmup": 0},
    "constant rate": {"schedule": None},
    "rate 1e-3": {"lr": 1e-3},
    "rate 4e-3": {"lr": 4e-3},
    "batch 20": {"batch_size": 20},
    "batch 50": {"batch_size": 50},
    "batch 200": {"batch_size": 200},
    "bfloat16": {"precision": "bfloat16"},
    "clipped at 5": {"clip_norm": 5.0},
    "Adam, β₂ = 0.99": {"optimizer_options": {"betas": (0.9, 0.99)}},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--images", type=int, default=2000, help="test images (default 2000)")
    parser.add_argument("--particles", type=int, default=100, help="K (default 100)")
    parser.add_argument("--only", nargs="+", metavar="CHANGE", help=", ".join(CHANGES))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int)
    add_device(parser)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    data = load_data("mnist", preparation="dynamic", all_training=True)
    test = data.prepared("test", seed=0, limit=options.images).x.to(options.device)
    first: torch.Tensor | None = None
    for name, change in CHANGES.items():
        if options.only and name not in options.only and name != "preset":
            continue
        settings = {**load_preset("burda"), "epochs": options.epochs, "beta_warmup": None, **change}
        if settings["beta_warmup"] is None:  # over the first tenth, as in the preset
            settings["beta_warmup"] = options.epochs // 10
        of_model = {**settings.pop("options"), "output_bias": settings.pop("output_bias", "data")}
        for taken in ("model", "preparation", "all_training"):
            del settings[taken]
        torch.manual_seed(options.seed)
        pair = VAE(data.data_shape, **of_model)
        start = seconds(options.device)
        how = {"seed": options.seed, "device": options.device, "progress": False}
        fit(pair, data, **how, **settings)
        taken = seconds(options.device) - start
        torch.manual_seed(0)
        bound = log_weights(pair, test, num_particles=options.particles).bound
        first = bound if first is None else first
        paired = (bound - first).std() / math.sqrt(len(bound))
        print(
            f"{name:18s} L_{options.particles} {float(bound.mean()):8.3f}, "
            f"{float((bound - first).mean()):+.3f} ± {float(paired):.3f}, {taken:.0f} s",
            flush=True,
        )


if __name__ == "__main__":
    main()
