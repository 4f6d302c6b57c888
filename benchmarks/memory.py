"""Peak memory of what is large: training on MNIST, L_5000 of its 10,000 test images, a 60 GB file.

Each is run in a process of its own, whose peak is given beside that of the process before it began:
resident memory on a CPU, torch's allocations on a GPU. Run ``python benchmarks/memory.py``;
``--device cuda`` on a GPU, ``--images`` for fewer of them, ``--tasks`` for one of the two.

``--gigabytes 60`` trains on a ``.npy`` file of that size instead, which is sparse, so that it takes
no room on the disk, for some ``--seconds``. Its process may allocate no more than ``--limit``
gigabytes (of address space: ``RLIMIT_DATA``), and what it has of memory that is its own is printed.
Pages of the file that the system keeps are not, as they are given back when others need them.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from clock import add_device, seconds

from inference import evaluate, fit
from inference.learning import CallbackState
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
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # what is free already
        STATUS.with_name("clear_refs").write_text("5")


def peak(device: str) -> float:
    """The most memory that the process has held since, or so far, in MiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**20
    if STATUS.exists():
        [most] = (line for line in STATUS.read_text().split("\n") if line.startswith("VmHWM"))
        return int(most.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def large_file(folder: str, gigabytes: float, side: int) -> Path:
    """A sparse file of square images of 256 levels, all of them black."""
    path = Path(folder) / "large.npy"
    shape = (int(gigabytes * 1e9) // side**2, side, side)
    np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    return path


def training_on_file(path: Path, device: str, limit: float) -> None:
    """One epoch of the ELBO on a file of which memory holds a part."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(limit * 1e9),) * 2)
    where = torch.device(device)
    began = seconds(where)
    data = load_data(path, levels=256)
    print(f"{data}\nopened in {seconds(where) - began:.1f} s", flush=True)
    pair = VAE(data.data_shape, hidden=[20], latent_dim=2, likelihood="cross_entropy").to(device)

    def begun(state: CallbackState) -> None:
        print(f"epoch {state.epoch} done, {seconds(where) - began:.1f} s", flush=True)

    fit(pair, data, epochs=1, batch_size=1000, callbacks=[begun])


def measure_file(options: argparse.Namespace) -> None:
    """Print the most memory of its own that training on a large file has held."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path = large_file(folder, options.gigabytes, options.side)
        size, on_disk = path.stat().st_size, path.stat().st_blocks * 512
        given = (path, str(options.device), options.limit)
        process = multiprocessing.get_context("spawn").Process(target=training_on_file, args=given)
        process.start()
        most, began = 0.0, time.monotonic()
        while process.is_alive() and time.monotonic() - began < options.seconds:
            most = max(most, own_memory(process.pid))
            process.join(0.05)
        process.terminate()
        process.join()
    print(
        f"\ntraining on a file of {size / 1e9:.1f} GB ({on_disk / 1e6:.1f} MB on the disk): "
        f"peak {most:,.0f} MiB of its own"
    )


def own_memory(pid: int | None) -> float:
    """Resident memory of a process that is of no file, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    sizes = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
    return int(sizes[0]) / 2**10 if sizes else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    add_device(parser)
    parser.add_argument("--images", type=int, default=10_000, help="images evaluated")
    parser.add_argument("--gigabytes", type=float, help="size of a file to train on instead")
    parser.add_argument("--side", type=int, default=28, help="of its images, in pixels")
    parser.add_argument("--seconds", type=float, default=120.0, help="after which it is ended")
    parser.add_argument("--limit", type=float, default=4.0, help="gigabytes that it may allocate")
    parser.add_argument("--folder", help="where the file is made, and removed from")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    options = parser.parse_args()
    if options.gigabytes:
        measure_file(options)
        return
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
