"""Seconds per epoch of one VAE, four ways, in one alternating run: only the ratios mean anything.

784-400-20, ReLU, binarised MNIST (synthetic pixels where it is absent), batch 128, Adam 1e-3:

- a hand-written PyTorch loop, float32, with plain and with fused Adam,
- the loop of ``inference.fit`` in float32 and, where the processor has it, in bfloat16; both also
  with ``capture=True``,
- ``pyro.infer.SVI`` with ``pyro.optim.Adam``.

Each is trained for the same epochs, in turns, and its test bound printed, so that equal work is
compared. Run ``python benchmarks/svi_epoch.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import pyro
import torch
from pyro.infer import SVI
from torch import Tensor, nn
from torch.nn import functional as F

from inference.isolated import isolated
from inference.learning import make_objective
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import VAE, ImageData, UsageError, load_data
from pyro_models.data import Split

BATCH = 128
Epoch = Callable[[], None]


class HandWritten(nn.Module):
    """The same VAE as anyone would write it in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Linear(784, 400), nn.ReLU(), nn.Linear(400, 40))
        self.decode = nn.Sequential(nn.Linear(20, 400), nn.ReLU(), nn.Linear(400, 784))

    def loss(self, x: Tensor) -> Tensor:
        """The negative bound per datum, KL in closed form."""
        mean, log_var = self.encode(x).chunk(2, dim=-1)
        z = mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)
        cross_entropy = F.binary_cross_entropy_with_logits(self.decode(z), x, reduction="sum")
        kl = -0.5 * torch.sum(1 + log_var - mean.square() - log_var.exp())
        return (cross_entropy + kl) / len(x)


def hand_written(data: ImageData, *, fused: bool) -> tuple[Epoch, Callable[[], float]]:
    x, test = data.prepared("train").x.flatten(1), data.prepared("test").x.flatten(1)
    torch.manual_seed(0)
    vae = HandWritten()
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=fused)

    def epoch() -> None:
        order = torch.randperm(len(x))
        for i in range(0, len(x), BATCH):
            optimiser.zero_grad()
            loss = vae.loss(x[order[i : i + BATCH]])
            loss.backward()
            optimiser.step()
            loss.item()

    def bound() -> float:
        with torch.no_grad():
            return -float(vae.loss(test))

    return epoch, bound


def ours(data: ImageData, *, precision: str, capture: bool) -> tuple[Epoch, Callable[[], float]]:
    torch.manual_seed(0)
    vae = _vae(data)
    settings = Settings(batch_size=BATCH, curve_size=0, precision=precision, capture=capture)
    training = Training(vae, data, settings, None)

    def epoch() -> None:
        training.train_epoch()

    return epoch, lambda: _bound(vae, data)


def svi(data: ImageData) -> tuple[Epoch, Callable[[], float]]:
    torch.manual_seed(0)
    x, vae = data.prepared("train").x, _vae(data)
    steps = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), vae.elbo())

    def epoch() -> None:
        order = torch.randperm(len(x))
        for i in range(0, len(x), BATCH):
            steps.step(x[order[i : i + BATCH]])

    return epoch, lambda: _bound(vae, data)


def _vae(data: ImageData) -> VAE:
    return VAE(data.data_shape, hidden=[400], latent_dim=20, likelihood="bernoulli")


def _bound(vae: VAE, data: ImageData) -> float:
    with isolated(vae):
        return make_objective(vae).value(data.prepared("test").x)


def has_bfloat16() -> bool:
    """Whether the processor multiplies in bfloat16, or torch would only emulate it."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def images() -> ImageData:
    """Binarised MNIST, or noise of the same size where the files are absent."""
    try:
        return load_data("mnist", preparation="threshold", all_training=True)
    except UsageError:
        noise = torch.rand(70_000, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        splits = {"train": Split(noise[:60_000]), "test": Split(noise[60_000:])}
        return ImageData("noise", splits, preparation="threshold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = images()
    contestants = {
        "hand-written, plain Adam": hand_written(data, fused=False),
        "hand-written, fused Adam": hand_written(data, fused=True),
        "fit, float32": ours(data, precision="float32", capture=False),
        "fit, float32, captured": ours(data, precision="float32", capture=True),
        "pyro.infer.SVI": svi(data),
    }
    if has_bfloat16():
        for capture in (False, True):
            name = "fit, bfloat16, captured" if capture else "fit, bfloat16"
            contestants[name] = ours(data, precision="bfloat16", capture=capture)
    else:
        print("bfloat16 left out: this processor has no bfloat16 instructions")
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(options.epochs + 1):
        for name, (epoch, _) in contestants.items():
            began = time.perf_counter()
            epoch()
            if turn:  # the first turn warms up
                seconds[name].append(time.perf_counter() - began)
    plain, fused = (
        statistics.median(seconds[f"hand-written, {kind} Adam"]) for kind in ("plain", "fused")
    )
    print(f"{data.name}, {torch.get_num_threads()} threads, {options.epochs} epochs each, in turns")
    print(f"{'':26}{'to plain':>10}{'to fused':>10}{'spread':>9}   test bound (nats per datum)")
    for name, (_, bound) in contestants.items():
        median = statistics.median(seconds[name])
        spread = (max(seconds[name]) - min(seconds[name])) / median
        print(f"{name:26}{median / plain:10.2f}{median / fused:10.2f}{spread:9.0%}   {bound():.2f}")


if __name__ == "__main__":
    main()
