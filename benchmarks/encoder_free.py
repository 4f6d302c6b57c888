"""Encoder-free inference of many images, against loops written by hand: only ratios mean anything.

A VAE with Bernoulli pixels (``--run``: one of yours; else 784-400-50 trained for some epochs on
binarised MNIST, synthetic pixels where it is absent), the same images, each with independent
Normals of its own, fitted by one-sample path gradients and Adam. In turns:

- per step: all images in one batch, by ``infer`` and by a batched PyTorch loop of the same estimate
  with fused Adam,
- per image: ``infer`` with its own stopping rule; a PyTorch loop and ``pyro.infer.SVI`` with
  ``AutoNormal``, both one image at a time, for as many steps as ``infer`` took on average.

The bounds that all reach are printed, so that equal work is compared. Run
``python benchmarks/encoder_free.py``; ``--quick`` for a small one, ``--help`` for its options.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import pyro
import torch
from clock import add_device, name_of, seconds
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import Tensor

from inference import fit
from inference.isolated import isolated
from inference.learning import Run
from inference.posterior import Plateau, infer
from inference.posterior.fitted import frozen
from pyro_models import VAE, ImageData, UsageError, load_data
from pyro_models.data import Split

LR = 0.1


def images() -> ImageData:
    """Binarised MNIST, or noise of the same size where the files are absent."""
    try:
        return load_data("mnist", preparation="threshold")
    except UsageError:
        noise = torch.rand(12_000, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        splits = {"train": Split(noise[:10_000]), "test": Split(noise[10_000:])}
        return ImageData("noise", splits, preparation="threshold")


def trained(data: ImageData, *, epochs: int) -> VAE:
    torch.manual_seed(0)
    vae = VAE(data.data_shape, hidden=[400], latent_dim=50, likelihood="bernoulli")
    fit(vae, data, epochs=epochs, curve_size=0, progress=False)
    return vae


class HandWritten:
    """Path gradients of independent Normals, in PyTorch alone."""

    def __init__(self, vae: VAE, x: Tensor) -> None:
        self.decoder, self.x = vae.model.decoder, x.flatten(1)
        device = x.device
        size = next(iter(vae.latent_sites.values())).event_shape[0]
        self.loc = torch.zeros(len(x), size, device=device, requires_grad=True)
        self.log_scale = torch.full((len(x), size), 0.1, device=device).log_().requires_grad_()
        self.optimiser = torch.optim.Adam([self.loc, self.log_scale], lr=LR, fused=True)

    def step(self) -> None:
        noise = torch.randn_like(self.loc)
        z = self.loc + self.log_scale.exp() * noise
        logits = self.decoder(z).flatten(1)
        log_likelihood = (self.x * logits - torch.nn.functional.softplus(logits)).sum(1)
        scale = self.log_scale.detach().exp()
        log_q = -0.5 * ((z - self.loc.detach()) / scale).square().sum(1) - scale.log().sum(1)
        bound = log_likelihood - 0.5 * z.square().sum(1) - log_q
        self.optimiser.zero_grad()
        (-bound.sum()).backward()
        self.optimiser.step()

    @torch.no_grad()
    def bound(self, draws: int = 100) -> float:
        z = self.loc + self.log_scale.exp() * torch.randn(
            draws, *self.loc.shape, device=self.loc.device
        )
        logits = self.decoder(z).flatten(2)
        log_likelihood = (self.x * logits - torch.nn.functional.softplus(logits)).sum(-1)
        normal = torch.distributions.Normal
        log_q = normal(self.loc, self.log_scale.exp()).log_prob(z).sum(-1)
        return float((log_likelihood + normal(0.0, 1.0).log_prob(z).sum(-1) - log_q).mean())


def per_step(vae: VAE, x: Tensor, *, guide: str, steps: int, turns: int) -> None:
    """Ratio of one step of all images."""
    never = Plateau(window=10**6)
    print(f"\nper step, {len(x)} images in one batch, guide {guide}, {steps} steps a turn")
    contestants: dict[str, Callable[[], object]] = {
        "hand-written, batched": lambda: _run(HandWritten(vae, x), steps),
        f"infer, {guide}": lambda: infer(
            vae, x, guide=guide, stopping=never, max_steps=steps, lr=LR, starts=0
        ),
    }
    took = in_turns(contestants, turns, x.device)
    reference = statistics.median(took["hand-written, batched"])
    for name, taken in took.items():
        ratios = [t / reference for t in taken]
        middle = statistics.median(ratios)
        spread = (max(ratios) - min(ratios)) / middle
        milliseconds = 1000 * statistics.median(taken) / steps
        print(f"{name:28}{middle:8.2f}  spread {spread:4.0%}  {milliseconds:8.2f} ms per step")


def per_image(vae: VAE, x: Tensor, *, few: int) -> None:
    """Seconds per image, all at once and one at a time."""
    began = seconds(x.device)
    posterior = infer(vae, x, guide="normal", progress=True)
    ours = (seconds(x.device) - began) / len(x)
    steps = int(posterior.steps.double().mean())
    print(f"\nper image: infer took {posterior.steps.double().mean():.0f} steps on average")
    for reason in sorted(set(posterior.stopped)):
        print(f"  {reason}: {posterior.stopped.count(reason)} of {len(x)} images")
    first = posterior.select(slice(0, few))
    print(f"{'':34}{'ms per image':>14}{'times infer':>13}   ELBO of the first {few}")
    rows = {"infer, all at once": (ours, first.bound.mean[0])}
    for name, one in (
        ("hand-written, one at a time", by_hand),
        ("pyro.infer.SVI, one at a time", by_svi),
    ):
        began = seconds(x.device)
        bounds = [one(vae, x[i : i + 1], steps) for i in range(few)]
        # computing the bound takes some passes of some hundred: it is left in
        rows[name] = ((seconds(x.device) - began) / few, statistics.mean(bounds))
    for name, (taken, bound) in rows.items():
        print(f"{name:34}{1000 * taken:14.1f}{taken / ours:13.1f}   {bound:.2f}")


def by_hand(vae: VAE, x: Tensor, steps: int) -> float:
    torch.manual_seed(0)
    loop = HandWritten(vae, x)
    _run(loop, steps)
    return loop.bound()


def by_svi(vae: VAE, x: Tensor, steps: int) -> float:
    """What a person writes first: a fresh AutoNormal, Trace_ELBO, the global store cleared."""
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    guide = AutoNormal(vae.model)
    loop = SVI(
        poutine.block(vae.model, hide_types=["param"]),
        guide,
        pyro.optim.Adam({"lr": LR}),
        Trace_ELBO(),
    )
    for _ in range(steps):
        loop.step(x)
    many = Trace_ELBO(num_particles=100, vectorize_particles=True, max_plate_nesting=1)
    return -float(many.loss(vae.model, guide, x))


def _run(loop: HandWritten, steps: int) -> None:
    for _ in range(steps):
        loop.step()


def in_turns(
    contestants: dict[str, Callable[[], object]], turns: int, device: torch.device
) -> dict[str, list[float]]:
    took: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(turns + 1):
        for name, run in contestants.items():
            began = seconds(device)
            run()
            if turn:  # the first turn warms up
                took[name].append(seconds(device) - began)
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--run", help="run folder of a VAE with Bernoulli pixels")
    parser.add_argument("--images", type=int, default=1000, help="images at once (default 1000)")
    parser.add_argument(
        "--steps", type=int, default=500, help="a turn, about as many as a fit takes (default 500)"
    )
    parser.add_argument("--few", type=int, default=5, help="images one at a time (default 5)")
    parser.add_argument("--epochs", type=int, default=5, help="of training, without --run")
    parser.add_argument("--turns", type=int, default=5, help="timed turns (default 5)")
    parser.add_argument("--threads", type=int, default=2, help="torch threads (default 2)")
    add_device(parser)
    parser.add_argument("--quick", action="store_true", help="100 images, 1 epoch, 2 turns")
    options = parser.parse_args()
    if options.quick:
        options.images, options.epochs, options.turns, options.few = 100, 1, 2, 2
        options.steps = 20
    torch.set_num_threads(options.threads)
    data = images()
    vae = Run(options.run).load_pair() if options.run else trained(data, epochs=options.epochs)
    if not isinstance(vae, VAE) or vae.likelihood.name != "bernoulli":
        raise SystemExit("this benchmark is of a VAE with Bernoulli pixels")
    vae = vae.to(options.device)
    x = data.prepared("test", limit=options.images).x.to(options.device)
    print(f"{data.name}, {name_of(x.device)}, {len(x)} images, {torch.get_num_threads()} threads")
    with isolated(vae), torch.enable_grad(), frozen(vae):
        for guide in ("normal", "auto_normal"):
            per_step(vae, x, guide=guide, steps=options.steps, turns=options.turns)
        per_image(vae, x, few=options.few)


if __name__ == "__main__":
    main()
