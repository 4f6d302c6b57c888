"""Seconds per epoch of one VAE, many ways, in one alternating run: only the ratios mean anything.

784-400-20, ReLU, binarised MNIST (synthetic pixels where it is absent), batch 128, Adam 1e-3:

- a hand-written PyTorch loop with plain and with fused Adam; on a GPU also its whole step, rows and
  Adam included, as one CUDA graph, as it is and compiled,
- ``inference.fit`` with steps recorded, as is its default, run (``capture=False``) and compiled
  (``compile=True``); where the processor has it, in bfloat16 too,
- ``pyro.infer.SVI`` with ``pyro.optim.Adam``,
- a scan over the epoch in JAX, where it is installed.

Each is trained for the same epochs, in turns, and its test bound printed, so that equal work is
compared. Run ``python benchmarks/svi_epoch.py``; ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pyro
import torch
from clock import add_device, name_of, seconds
from pyro.infer import SVI
from torch import Tensor, nn
from torch.nn import functional as F

from inference.isolated import isolated
from inference.learning import make_objective
from inference.learning.first_step import try_a_step
from inference.learning.settings import Settings
from inference.learning.training import Training
from pyro_models import VAE, ImageData, UsageError, load_data
from pyro_models.data import Split

BATCH = 128
Epoch = Callable[[], None]
Contestant = tuple[Epoch, Callable[[], float]]


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


def hand_written(data: ImageData, device: torch.device, *, fused: bool) -> Contestant:
    """A loop that asks for each step, and reads its loss."""
    x, vae, bound = _by_hand(data, device)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=fused)

    def epoch() -> None:
        order = torch.randperm(len(x), device=device)
        for i in range(0, len(x), BATCH):
            optimizer.zero_grad()
            loss = vae.loss(x[order[i : i + BATCH]])
            loss.backward()
            optimizer.step()
            loss.item()

    return epoch, bound


def hand_graph(data: ImageData, device: torch.device, *, compiled: bool) -> Contestant:
    """The whole step as one CUDA graph; the last, uneven batch is left out."""
    x, vae, bound = _by_hand(data, device)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3, fused=True, capturable=True)
    loss_of = torch.compile(vae.loss, mode="max-autotune-no-cudagraphs") if compiled else vae.loss
    order = torch.randperm(len(x), device=device)
    place = torch.zeros((), dtype=torch.long, device=device)
    total = torch.zeros((), device=device)
    rows = torch.arange(BATCH, device=device)

    def step() -> None:
        optimizer.zero_grad()
        loss = loss_of(x.index_select(0, order.index_select(0, place * BATCH + rows)))
        loss.backward()
        optimizer.step()
        total.add_(loss.detach())
        place.add_(1)

    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def epoch() -> None:
        order.copy_(torch.randperm(len(x), device=device))
        place.zero_()
        for _ in range(len(x) // BATCH):
            graph.replay()
        total.item()

    return epoch, bound


def _by_hand(data: ImageData, device: torch.device) -> tuple[Tensor, HandWritten, Any]:
    x, test = (data.prepared(s).x.flatten(1).to(device) for s in ("train", "test"))
    torch.manual_seed(0)
    vae = HandWritten().to(device)

    def bound() -> float:
        with torch.no_grad():
            return -float(vae.loss(test))

    return x, vae, bound


def ours(data: ImageData, device: torch.device, **options: Any) -> Contestant:
    """The loop of ``inference.fit``."""
    torch.manual_seed(0)
    vae = _vae(data)
    settings = Settings(batch_size=BATCH, curve_size=0, device=str(device), **options)
    training = Training(vae, data, settings, None)
    try_a_step(training)

    def epoch() -> None:
        training.train_epoch()

    return epoch, lambda: _bound(vae, data)


def svi(data: ImageData, device: torch.device) -> Contestant:
    """Pyro's own loop, with the ELBO that the pair names."""
    torch.manual_seed(0)
    x, vae = data.prepared("train").x.to(device), _vae(data).to(device)
    steps = SVI(vae.model, vae.guide, pyro.optim.Adam({"lr": 1e-3}), vae.elbo())

    def epoch() -> None:
        order = torch.randperm(len(x), device=device)
        for i in range(0, len(x), BATCH):
            steps.step(x[order[i : i + BATCH]])

    return epoch, lambda: _bound(vae, data)


def jax_scan(data: ImageData, device: torch.device) -> Contestant:
    """An epoch as one scan, compiled; the last, uneven batch is left out."""
    import jax
    import jax.numpy as jnp

    x, test = (jnp.asarray(data.prepared(s).x.flatten(1).numpy()) for s in ("train", "test"))
    sizes = [(784, 400), (400, 40), (20, 400), (400, 784)]
    keys = jax.random.split(jax.random.PRNGKey(0), 2 * len(sizes))
    weights = [
        (
            jax.random.uniform(keys[2 * i], (n, m), minval=-1, maxval=1) / n**0.5,
            jax.random.uniform(keys[2 * i + 1], (m,), minval=-1, maxval=1) / n**0.5,
        )
        for i, (n, m) in enumerate(sizes)
    ]

    def loss(weights: Any, x: Any, key: Any) -> Any:
        (a, b), (c, d), (e, f), (g, h) = weights
        mean, log_var = jnp.split(jax.nn.relu(x @ a + b) @ c + d, 2, axis=-1)
        z = mean + jnp.exp(0.5 * log_var) * jax.random.normal(key, mean.shape)
        logits = jax.nn.relu(z @ e + f) @ g + h
        cross_entropy = jnp.sum(jax.nn.softplus(logits) - x * logits)
        kl = -0.5 * jnp.sum(1 + log_var - mean**2 - jnp.exp(log_var))
        return (cross_entropy + kl) / len(x)

    def adam(state: Any, batch: Any) -> Any:
        weights, m, v, t, key = state
        key, own = jax.random.split(key)
        value, gradient = jax.value_and_grad(loss)(weights, x[batch], own)
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, gradient)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, gradient)
        weights = jax.tree.map(
            lambda w, m, v: w - 1e-3 * (m / (1 - 0.9**t)) / (jnp.sqrt(v / (1 - 0.999**t)) + 1e-8),
            weights,
            m,
            v,
        )
        return (weights, m, v, t, key), value

    @jax.jit
    def scan(state: Any, order: Any) -> Any:
        return jax.lax.scan(adam, state, order)

    zeros = jax.tree.map(jnp.zeros_like, weights)
    held = [(weights, zeros, zeros, jnp.zeros(()), jax.random.PRNGKey(1))]

    def epoch() -> None:
        order = torch.randperm(len(x))[: len(x) // BATCH * BATCH].view(-1, BATCH).numpy()
        held[0], losses = scan(held[0], jnp.asarray(order))
        losses.block_until_ready()

    return epoch, lambda: -float(loss(held[0][0], test, jax.random.PRNGKey(2)))


def _vae(data: ImageData) -> VAE:
    return VAE(data.data_shape, hidden=[400], latent_dim=20, likelihood="bernoulli")


def _bound(vae: VAE, data: ImageData) -> float:
    with isolated(vae):
        device = next(vae.parameters()).device
        return make_objective(vae).value(data.prepared("test").x.to(device))


def has_bfloat16(device: torch.device) -> bool:
    """Whether the processor multiplies in bfloat16, or torch would only emulate it."""
    if device.type != "cpu":
        return True
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


def contestants(
    data: ImageData, device: torch.device, *, compiled: bool, jax: bool
) -> dict[str, Contestant]:
    """All that run on the device, by name."""
    found = {
        "hand-written, plain Adam": hand_written(data, device, fused=False),
        "hand-written, fused Adam": hand_written(data, device, fused=True),
        "fit": ours(data, device),
        "fit, capture=False": ours(data, device, capture=False),
        "pyro.infer.SVI": svi(data, device),
    }
    if device.type == "cuda":
        found["hand-written CUDA graph"] = hand_graph(data, device, compiled=False)
    if compiled:
        found["fit, compile=True"] = ours(data, device, compile=True)
        if device.type == "cuda":
            found["hand-written CUDA graph, compiled"] = hand_graph(data, device, compiled=True)
    if has_bfloat16(device):
        found["fit, bfloat16"] = ours(data, device, precision="bfloat16")
        if compiled:
            found["fit, bfloat16, compile=True"] = ours(
                data, device, precision="bfloat16", compile=True
            )
    else:
        print("bfloat16 left out: this processor has no bfloat16 instructions")
    if jax and find_spec("jax") is not None:
        found["JAX, scan over the epoch"] = jax_scan(data, device)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--epochs", type=int, default=5, help="timed epochs of each (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    add_device(parser)
    parser.add_argument("--no-compile", action="store_true", help="leave out what is compiled")
    parser.add_argument("--no-jax", action="store_true", help="leave out JAX")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device, data = options.device, images()
    found = contestants(data, device, compiled=not options.no_compile, jax=not options.no_jax)
    taken: dict[str, list[float]] = {name: [] for name in found}
    for turn in range(options.epochs + 1):
        for name, (epoch, _) in found.items():
            began = seconds(device)
            epoch()
            if turn:  # the first turn warms up
                taken[name].append(seconds(device) - began)
    against = {
        "to fused Adam": "hand-written, fused Adam",
        "to its graph": "hand-written CUDA graph",
        "to it compiled": "hand-written CUDA graph, compiled",
    }
    against = {title: name for title, name in against.items() if name in found}
    where = f"{name_of(device)}, {torch.get_num_threads()} threads"
    print(f"{data.name}, {where}, {options.epochs} epochs each")
    print(
        f"{'':34}" + "".join(f"{title:>16}" for title in against) + "  spread   test bound (nats)"
    )
    for name, (_, bound) in found.items():
        median = statistics.median(taken[name])
        ratios = (median / statistics.median(taken[other]) for other in against.values())
        spread = (max(taken[name]) - min(taken[name])) / median
        columns = "".join(f"{ratio:16.2f}" for ratio in ratios)
        print(f"{name:34}{columns}{spread:8.0%}   {bound():.2f}")


if __name__ == "__main__":
    main()
