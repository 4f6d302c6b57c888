"""A step of the importance-weighted bound beside hand-written PyTorch, in one alternating run.

784-200-200-50 tanh, binarised MNIST (noise of the same size where it is absent), batch 100, fused
Adam for both, float32, K = 1, 5 and 50: only the ratios mean anything. Both compute
log (1/K) Σ w_k with every term of log w sampled, and its reparameterised gradient; both print their
bound after the same number of steps, and ours the share of the processor's peak that its matrix
products reach, if ``--peak`` says what that is in TFLOP/s. Run ``python benchmarks/iwae_step.py``;
``--help`` for its options.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from clock import add_device, name_of, seconds
from torch import Tensor, nn
from torch.nn import functional as F

from inference.denormals import denormals_flushed
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import VAE, ImageData, UsageError, load_data
from pyro_models.data import Split
from pyro_models.observed import Observed

BATCH = 100
Step = Callable[[Tensor], float]


class HandWritten(nn.Module):
    """The same model as anyone would write it in PyTorch."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(
            nn.Linear(784, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 100)
        )
        self.decode = nn.Sequential(
            nn.Linear(50, 200), nn.Tanh(), nn.Linear(200, 200), nn.Tanh(), nn.Linear(200, 784)
        )

    def loss(self, x: Tensor, num_particles: int) -> Tensor:
        """−L_K, nats per datum."""
        mean, raw = self.encode(x).chunk(2, dim=-1)
        scale = F.softplus(raw)
        noise = torch.randn(num_particles, *mean.shape, device=x.device)
        z = mean + scale * noise
        logits = self.decode(z)
        log_likelihood = -F.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)
        log_ratio = (-0.5 * z.square() + 0.5 * noise.square() + scale.log()).sum(-1)
        log_w = log_likelihood + log_ratio
        return -(log_w.logsumexp(0) - math.log(num_particles)).mean()


def hand_written(num_particles: int, device: torch.device) -> Step:
    torch.manual_seed(0)
    vae = HandWritten().to(device)
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor) -> float:
        optimiser.zero_grad()
        loss = vae.loss(x.flatten(1), num_particles)
        loss.backward()
        optimiser.step()
        return -loss.item()

    return step


def ours(data: ImageData, num_particles: int, device: torch.device, **options: Any) -> Step:
    torch.manual_seed(0)
    vae = VAE(
        data.data_shape,
        hidden=[200, 200],
        latent_dim=50,
        activation="tanh",
        likelihood="bernoulli",
    )
    settings = Settings(
        objective="iwae",
        objective_options={"num_particles": num_particles},
        batch_size=BATCH,
        curve_size=0,
        device=str(device),
        **options,
    )
    training = Training(vae, data, settings, None)
    training.step.look_again()
    done = iter(range(10**9))

    def step(x: Tensor) -> float:
        with denormals_flushed():  # as ``fit`` does for the whole of it
            return training.step_on(next(done), Observed.unchecked(x))

    return step


def flops(num_particles: int) -> float:
    """Floating-point operations of the matrix products of a step, forward and backward."""
    encoder = 784 * 200 + 200 * 200 + 200 * 100
    decoder = 50 * 200 + 200 * 200 + 200 * 784
    return 6.0 * BATCH * (encoder + num_particles * decoder)


def images() -> ImageData:
    """Binarised MNIST, or noise of the same size where the files are absent."""
    try:
        return load_data("mnist", preparation="threshold", all_training=True)
    except UsageError:
        noise = torch.rand(10_000, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        return ImageData("noise", {"train": Split(noise)}, preparation="threshold")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--turns", type=int, default=7, help="timed turns of each (default 7)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    add_device(parser)
    parser.add_argument("--compile", action="store_true", help="also with compile=True")
    parser.add_argument("--peak", type=float, help="TFLOP/s that the processor can reach")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, data = options.device, images()
    x = data.prepared("train").x.to(device)
    where = f"{name_of(device)}, {torch.get_num_threads()} threads"
    print(f"{data.name}, {where}, {options.turns} turns")
    for num_particles, steps in ((1, 200), (5, 100), (50, 15)):
        contestants = {
            "hand-written": hand_written(num_particles, device),
            "fit": ours(data, num_particles, device),
            "fit, capture=False": ours(data, num_particles, device, capture=False),
        }
        if options.compile:
            contestants["fit, compile=True"] = ours(data, num_particles, device, compile=True)
        sizes = {"num_particles": num_particles, "steps": steps, "turns": options.turns}
        _compare(contestants, x, **sizes, peak=options.peak)


def _compare(
    contestants: dict[str, Step],
    x: Tensor,
    *,
    num_particles: int,
    steps: int,
    turns: int,
    peak: float | None,
) -> None:
    """Ratios of medians, of contestants that take as many steps in turns."""
    took: dict[str, list[float]] = {name: [] for name in contestants}
    bounds: dict[str, float] = {}
    for turn in range(turns + 1):
        for name, step in contestants.items():
            first = turn * steps * BATCH
            began = seconds(x.device)
            values = []
            for i in range(steps):
                at = (first + i * BATCH) % (len(x) - BATCH)
                values.append(step(x[at : at + BATCH]))
            if turn:  # the first turn warms up
                took[name].append(seconds(x.device) - began)
            bounds[name] = statistics.mean(values)
    reference = statistics.median(took["hand-written"])
    for name, taken in took.items():
        median = statistics.median(taken)
        spread = (max(taken) - min(taken)) / median
        reached = flops(num_particles) * steps / median / 1e12
        share = "" if peak is None else f"   {reached / peak:.0%} of peak"
        ratio, bound = median / reference, bounds[name]
        print(
            f"K = {num_particles:2d}  {name:20}{ratio:6.2f}  spread {spread:4.0%}  "
            f"bound {bound:.1f} nats{share}"
        )


if __name__ == "__main__":
    main()
