"""K seeds at once beside K seeds one after the other, in one alternating run.

VAEs of several widths on the bundled digits and on MNIST (left out where it is absent), with
binarisation drawn anew, default Adam, batch 128: only the ratios mean anything. The seconds are
those of the steps of an epoch; the first epoch, with its recording, is left out. Run ``python
benchmarks/several_seeds.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace

import torch
from clock import add_device

from inference import Fit, fit
from pyro_models import VAE, ImageData, UsageError, load_data
from pyro_models.data import Split

WIDTHS = ([20], [100], [400])


def images(name: str, count: int) -> ImageData | None:
    """Some training images, if there are any."""
    try:
        data = load_data(name, all_training=True)
    except UsageError:
        return None
    train = Split(data.split("train").x[:count])
    return replace(data, splits={"train": train}).with_preparation("dynamic")


def seconds(result: Fit) -> float:
    """Of an epoch but the first."""
    return statistics.median(epoch.seconds for epoch in result.history.epochs[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seeds", type=int, default=5, help="number K of seeds (default 5)")
    parser.add_argument("--turns", type=int, default=3, help="timed turns (default 3)")
    parser.add_argument("--count", type=int, default=5000, help="training images (default 5000)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    add_device(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    seeds = list(range(options.seeds))
    how = {"epochs": 4, "curve_size": 0, "progress": False, "device": options.device}
    print(
        f"{options.device}, {options.threads} threads, K = {len(seeds)}, {options.turns} turns, "
        "medians"
    )
    print(f"{'data':>6}  {'units':>5}  {'one':>7}  {'in turn':>8}  {'at once':>8}   ratio  spread")
    for name in ("digits", "mnist"):
        data = images(name, options.count)
        if data is None:
            continue
        for hidden in WIDTHS:
            vae = VAE(data.data_shape, hidden=hidden, latent_dim=20, likelihood="bernoulli")
            turn, once = [], []
            for _ in range(options.turns):
                together = fit(vae, data, seeds=seeds, **how)
                if together.fits[0].history.not_at_once:
                    raise SystemExit(together.fits[0].history.not_at_once)
                once.append(seconds(together.fits[0]))
                apart = [fit(vae, data, seeds=[seed], **how).fits[0] for seed in seeds]
                turn.append(sum(map(seconds, apart)))
            ratios = [a / b for a, b in zip(once, turn, strict=True)]
            in_turn = statistics.median(turn)
            print(
                f"{name:>6}  {hidden[0]:5d}  {in_turn / len(seeds):6.3f}s  {in_turn:7.3f}s  "
                f"{statistics.median(once):7.3f}s  {statistics.median(ratios):6.2f}  "
                f"{min(ratios):.2f}–{max(ratios):.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
