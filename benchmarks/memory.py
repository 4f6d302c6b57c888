"""Peak memory of what is large: training on MNIST, and L_5000 of its 10,000 test images.

Each is run in a process of its own, whose peak is given beside that of the process before it began:
resident memory on a CPU, torch's allocations on a GPU. Run ``python benchmarks/memory.py``;
``--device cuda`` on a GPU, ``--images`` for fewer of them, ``--tasks`` for one of the two.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from clock import add_device

from inference import evaluate, fit
from pyro_models import VAE, ImageData, load_data

STATUS = Path("/proc/self/status")  # of Linux


def vae(data: ImageData, device: str) -> VAE:
    """The networks of the protocol for importance-weighted bounds."""
    torch.manual_seed(0)
    made: VAE = VAE(data.data_shape, hidden=[200, 200], latent_dim=50, likelihood="bernoulli")
    return made.to(device)


def training(data: ImageData, device: str, images: int) -> None:
    """One epoch of the ELBO, curves included."""
    fit(vae(data, device), data, epochs=1, progress=False)


def evaluation(data: ImageData, device: str, images: int) -> None:
    """L_5000, 5,000 particles of each image."""
    evaluate(vae(data, device), data, num_particles=5000, limit=images, progress=False)


TASKS: dict[str, Callable[[ImageData, str, int], None]] = {
    "training": training,
    "evaluation": evaluation,
}


def measure(name: str, device: str, images: int, out: Any) -> None:
    """Put the peak of a task, and that before it, in MiB."""
    data = load_data("mnist", preparation="threshold", all_training=True)
    forget_peak(device)  # loading takes more than it leaves
    before = peak(device)
    TASKS[name](data, device, images)
    out.put((before, peak(device)))


def forget_peak(device: str) -> None:
    """Let the peak be what is held now, where the system can."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif STATUS.exists():
        STATUS.with_name("clear_refs").write_text("5")


def peak(device: str) -> float:
    """The most memory that the process has held since, or so far, in MiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    if STATUS.exists():
        [most] = (line for line in STATUS.read_text().split("\n") if line.startswith("VmHWM"))
        return int(most.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add_device(parser)
    parser.add_argument("--images", type=int, default=10_000, help="images evaluated")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    options = parser.parse_args()
    processes = multiprocessing.get_context("spawn")
    for name in options.tasks:
        out = processes.SimpleQueue()
        given = (name, str(options.device), options.images, out)
        process = processes.Process(target=measure, args=given)
        process.start()
        before, most = out.get()
        process.join()
        print(f"{name}: peak {most:,.0f} MiB, {before:,.0f} MiB with the data loaded")


if __name__ == "__main__":
    main()
