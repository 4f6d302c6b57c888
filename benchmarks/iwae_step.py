"""A step of the importance-weighted bound beside hand-written PyTorch, in one alternating run.

784-200-200-50 tanh, binarised MNIST (noise of the same size where it is absent), batch 100, fused
Adam for both, float32, K = 1, 5 and 50: only the ratios mean anything. Both compute
log (1/K) Σ w_k with every term of log w sampled, and its reparameterised gradient; both print their
bound after the same number of steps. Run ``python benchmarks/iwae_step.py``; ``--help`` for its
options.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        noise = torch.randn(num_particles, *mean.shape)
        z = mean + scale * noise
        logits = self.decode(z)
        log_likelihood = -F.binary_cross_entropy_with_logits(
            logits, x.expand_as(logits), reduction="none"
        ).sum(-1)
        log_ratio = (-0.5 * z.square() + 0.5 * noise.square() + scale.log()).sum(-1)
        log_w = log_likelihood + log_ratio
        return -(log_w.logsumexp(0) - math.log(num_particles)).mean()


def hand_written(num_particles: int) -> Step:
    torch.manual_seed(0)
    vae = HandWritten()
    optimiser = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True)

    def step(x: Tensor) -> float:
        optimiser.zero_grad()
        loss = vae.loss(x.flatten(1), num_particles)
        loss.backward()
        optimiser.step()
        return -loss.item()

    return step


def ours(data: ImageData, num_particles: int, *, capture: bool) -> Step:
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
        capture=capture,
    )
    training = Training(vae, data, settings, None)
    done = iter(range(10**9))
    return lambda x: training.step_on(next(done), Observed.unchecked(x))


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
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = images()
    x = data.prepared("train").x
    print(
        f"{data.name}, {torch.get_num_threads()} threads, {options.turns} turns, ratios of medians"
    )
    print(f"{'K':>3}  {'fit':>6}  {'captured':>8}   spread   bounds after as many steps (nats)")
    for num_particles, steps in ((1, 200), (5, 100), (50, 15)):
        contestants = {
            "hand": hand_written(num_particles),
            "fit": ours(data, num_particles, capture=False),
            "captured": ours(data, num_particles, capture=True),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        bounds: dict[str, float] = {}
        for turn in range(options.turns + 1):
            for name, step in contestants.items():
                first = turn * steps * BATCH
                began = time.perf_counter()
                values = []
                for i in range(steps):
                    at = (first + i * BATCH) % (len(x) - BATCH)
                    values.append(step(x[at : at + BATCH]))
                if turn:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - began)
                bounds[name] = statistics.mean(values)
        medians = {name: statistics.median(s) for name, s in seconds.items()}
        spread = max((max(s) - min(s)) / medians[name] for name, s in seconds.items())
        ratios = [medians[name] / medians["hand"] for name in ("fit", "captured")]
        shown = ", ".join(f"{name} {value:.1f}" for name, value in bounds.items())
        print(f"{num_particles:3d}  {ratios[0]:6.2f}  {ratios[1]:8.2f}   {spread:6.0%}   {shown}")


if __name__ == "__main__":
    main()
