"""Does an epoch cost the same at the end as at the beginning? Where denormal numbers come of it.

The importance-weighted bound, K = 10, of a VAE with 500 tanh units on binarised MNIST: saturated
units and light particles give gradients below 1e-38, with which many processors compute slowly.
Each epoch's time is the processor's, in that of some matrix products after it, since other programs
take caches and clock rate; the median of the last quarter of the epochs is about that of the first
(without epoch 1, which records the step) where denormal numbers are taken for 0, as ``fit`` does,
and beside it stands the same training where they are not. Run ``python benchmarks/denormals.py``;
``--images`` and ``--epochs`` for more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from contextlib import nullcontext
from dataclasses import replace
from unittest.mock import patch

import torch
from clock import add_device, name_of, processor_seconds

from inference import fit
from inference.learning.callbacks import CallbackState
from pyro_models import VAE, ImageData, load_data
from pyro_models.data import Split


class Clock:
    """The time of each epoch, in that of a fixed piece of work after it."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.factor = torch.rand(1000, 1000, device=device)
        self.epochs: list[float] = []
        self.began = 0.0

    def __call__(self, state: CallbackState) -> None:
        ended = processor_seconds(self.device)
        for _ in range(10):
            self.factor @ self.factor
        took, now = ended - self.began, processor_seconds(self.device)
        if state.epoch:
            self.epochs.append(took / (now - ended))
        self.began = now


def trained(
    data: ImageData, *, epochs: int, lr: float, device: torch.device
) -> tuple[Clock, float]:
    """The clock of a training, and the bound at its end."""
    torch.manual_seed(0)
    vae = VAE(
        data.data_shape, hidden=[500], latent_dim=50, activation="tanh", likelihood="bernoulli"
    )
    clock = Clock(device)
    how = {"objective": "iwae", "objective_options": {"num_particles": 10}, "batch_size": 100}
    how |= {"lr": lr, "curve_size": 0, "device": device, "progress": False}
    history = fit(vae, data, epochs=epochs, callbacks=[clock], **how).history
    return clock, history.epochs[-1].running


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--images", type=int, default=2000, help="of an epoch (default 2000)")
    parser.add_argument("--epochs", type=int, default=10, help="default 10")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate (default 1e-3)")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    add_device(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = load_data("mnist", preparation="threshold", all_training=True)
    data = replace(data, splits={"train": Split(data.split("train").x[: options.images])})
    how = {"epochs": options.epochs, "lr": options.lr, "device": options.device}
    print(f"{name_of(options.device)}, {options.images:,} images, {options.threads} threads")
    module = sys.modules[fit.__module__]
    reference = 0.0
    for name, context in (
        ("taken for 0", nullcontext()),
        ("left as they are", patch.object(module, "denormals_flushed", nullcontext)),
    ):
        with context:
            clock, bound = trained(data, **how)
        few = max(1, len(clock.epochs) // 4)
        first, last = clock.epochs[1 : 1 + few], clock.epochs[-few:]
        ratio = statistics.median(last) / statistics.median(first)
        every = statistics.median(clock.epochs)
        reference = reference or every
        print(
            f"{name:18} last quarter / first {ratio:.2f}, {every / reference:.2f} × the first row, "
            f"bound {bound:.2f} nats; " + " ".join(f"{epoch:.2f}" for epoch in clock.epochs)
        )


if __name__ == "__main__":
    main()
