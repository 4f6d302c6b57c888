"""What works on a device: every pair under every function, with the data left on the CPU.

Each cell of the table is one call, of small models of the bundled digits, with a pair on the device
and data on the CPU; it passes if the call ends and what it returns is where the pair is.
``python benchmarks/devices.py --device cuda`` prints the table, with the seconds of each call, and
ends with code 1 if a cell fails. ``--functions`` and ``--pairs`` choose some of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pyro
import torch
from pyro.infer import SVI
from torch import Tensor, nn

from inference import (
    bracket,
    compare_guides,
    complete,
    condition,
    diagnose,
    evaluate,
    evaluate_completion,
    evidence,
    figures,
    fit,
    generate,
    hmc,
    infer,
    latent_means,
    particles,
    reconstruct,
)
from inference.evaluation import accuracy
from inference.learning import Run
from inference.posterior import GUIDES, latents_as_data, posterior_sites
from pyro_models import ImageData, Pair, UsageError, build, load_data
from pyro_models.contract import fulfills
from pyro_models.device import check_device
from pyro_models.pair import Classifies, CompletesExactly, Exact

SMALL: dict[str, Any] = {"hidden": [8], "latent_dim": 2}
DENSE_FLOW = {"class_path": "dense", "init_args": {"couplings": 1, "hidden": [8]}}
PAIRS: dict[str, dict[str, Any]] = {
    "vae": {**SMALL, "likelihood": "bernoulli"},
    "cvae": {**SMALL, "likelihood": "bernoulli", "learned_prior": True},
    "m2": {**SMALL, "likelihood": "bernoulli"},
    "two_layer_vae": {"hidden": [8], "top_hidden": [6], "latent_dims": [3, 2]},
    "ppca": {"latent_dim": 3},
    "gmm": {"num_components": 3, "covariance": "full"},
    "bernoulli_mixture": {"num_components": 3},
    "completion_cvae": {**SMALL, "likelihood": "bernoulli"},
    "diffusion": {"num_steps": 3, "denoiser": "dense", "hidden": [8], "levels": 17},
    "flow": {
        "levels": 17,
        "flow": DENSE_FLOW,
        "dequantise": {"class_path": "variational", "init_args": {"flow": DENSE_FLOW}},
    },
    "generator": {**SMALL, "batch_norm": True},
}
SHORT: dict[str, Any] = {"max_steps": 60, "starts": 4}


@dataclass(frozen=True, eq=False)
class Cell:
    """A pair on the device, and data on the CPU."""

    name: str
    pair: Pair
    data: ImageData
    device: torch.device

    @property
    def x(self) -> Tensor:
        return self.data.prepared("test", limit=6).x

    @property
    def y(self) -> Tensor | None:
        takes = self.pair.num_classes is not None
        return self.data.prepared("test", limit=6).y if takes else None

    @property
    def given(self) -> dict[str, Any]:
        return {"y": self.y}

    @property
    def continuous(self) -> bool:
        sites = self.pair.latent_sites.values()
        return any(not (site.discrete or site.why_not_free) for site in sites)


class NotDefinedError(Exception):
    """The function is not for this pair."""


def only(condition: bool) -> None:
    if not condition:
        raise NotDefinedError


def _fit(cell: Cell, **options: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        few = {"batch_size": 500, "lr": 1e-2, "progress": False, "curve_size": 200, **options}
        if cell.name == "generator":  # of no ELBO, and stopped by none
            few = {"objective": "adversarial", **few, "patience": None}
        fit(cell.pair, cell.data, epochs=1, out=f"{folder}/run", **few)
        resumed = Run(f"{folder}/run").load_pair(device=cell.device)
        fit(resumed, cell.data, epochs=2, out=f"{folder}/run", resume=True, **few)
        whole = Run(f"{folder}/run").load_pair()
        evaluate(whole, cell.data, num_particles=2, limit=5)
        return list(resumed.parameters())


def _objective(name: str) -> Callable[[Cell], Any]:
    def call(cell: Cell) -> Any:
        try:
            return _fit(cell, objective=name)
        except UsageError as error:
            raise NotDefinedError from error

    return call


def _svi(cell: Cell) -> Any:
    pyro.clear_param_store()
    svi = SVI(cell.pair.model, cell.pair.guide, pyro.optim.Adam({"lr": 1e-3}), cell.pair.elbo())
    svi.step(cell.x, **cell.given)
    pyro.clear_param_store()
    return list(cell.pair.parameters())


def _infer(name: str) -> Callable[[Cell], Any]:
    def call(cell: Cell) -> Any:
        only(cell.continuous)
        of_vectors = name in ("low_rank", "flow", "amortised_flow")
        only(not (of_vectors and cell.name == "diffusion"))
        few = {
            "hmc": {"num_samples": 8, "warmup": 20},
            "nuts": {"num_samples": 3, "warmup": 20, "num_chains": 2},
        }
        options = {"guide": name, "guide_options": few.get(name), "mask": "left", **SHORT}
        posterior = infer(cell.pair, cell.x, **cell.given, **options)
        some = posterior.select([2, 0])
        results = [
            posterior.mean,
            some.sample(3),
            some.reconstruct(),
            some.reconstruct(latents="mean", pixels="sample"),
        ]
        with suppress(UsageError) if name == "encoder" else nullcontext():  # it may know too little
            results += [some.complete(num_samples=3), some.completions(2)]
        if posterior.density:
            latents = {n: v.cpu() for n, v in some.sample(2).items() if n in some.mean}
            results += [
                some.log_prob(latents),
                posterior.log_weights(30),
                posterior.k_hat(30),
                posterior.elbo(num_particles=3).value,
                posterior.resampled(4).sample(2),
            ]
        return results

    return call


def _complete(cell: Cell, guide: str) -> Any:
    try:
        options = {"infer_options": SHORT} if guide == "normal" else {}
        found = complete(cell.pair, cell.x, "left", guide=guide, **cell.given, **options)
    except UsageError as error:
        raise NotDefinedError from error
    return [found.mean, found.samples, found.x, found.mask]


def _evidence(method: str) -> Callable[[Cell], Any]:
    def call(cell: Cell) -> Any:
        few = {"num_particles": 10, "num_chains": 3, "num_temperatures": 6, "num_leapfrog": 2}
        try:
            found = evidence(cell.pair, cell.x, mask="top", method=method, **few, **cell.given)
        except UsageError as error:
            raise NotDefinedError from error
        return [found.value, found.standard_error]

    return call


def _exact(cell: Cell) -> Any:
    pair = cell.pair
    if not fulfills(pair, Exact):
        raise NotDefinedError
    seen = torch.rand(cell.x.shape) < 0.5
    results = [
        pair.exact_log_prob(cell.x),
        pair.exact_log_prob(cell.x, seen),
        pair.exact_posterior(cell.x, seen).sample(),
    ]
    if fulfills(pair, CompletesExactly):
        results += [
            pair.conditional_mean(cell.x, seen),
            pair.conditional_sample(cell.x, seen, n=2),
        ]
    return results


def _decode(cell: Cell) -> Any:
    pair = cell.pair
    latents = {
        name: torch.zeros(6, *site.event_shape, dtype=torch.long if site.discrete else None)
        for name, site in pair.latent_sites.items()
    }
    runs = [
        pyro.poutine.trace(part).get_trace(cell.x, **cell.given)
        for part in (pair.guide, pair.model)
    ]
    if fulfills(pair, Classifies) and cell.y is not None:
        results = [pair.classify(cell.x), pair.log_label_prob(cell.x, cell.y)]
        results.append(pair.log_label_prior(cell.y))
    else:
        results = []
    nodes = [site for run in runs for site in run.nodes.values()]
    sites = [s["value"] for s in nodes if s["type"] == "sample" and s["name"] not in ("data", "x")]
    return [pair.decode(latents, **cell.given)["x"].mean, *results, *sites]


def _figures(cell: Cell) -> Any:
    pair, x, y = cell.pair, cell.x, cell.y
    drawn = [figures.reconstructions(pair, x, y=y), figures.prior_samples(pair, n=6, y=y)]
    if cell.name in ("gmm", "bernoulli_mixture"):
        drawn.append(figures.mixture_means(pair))
    if cell.continuous:
        drawn.append(figures.latent_scatter(pair, x, cell.data.prepared("test", limit=6).y))
        drawn.append(figures.encoder_free(infer(pair, x, y=y, guide="normal", **SHORT)))
    if cell.name in ("vae", "cvae", "m2"):
        drawn.append(figures.latent_grid(pair, size=3, y=None if y is None else 0))
        one = {"y": None if y is None else y[:1]}
        posterior = infer(pair, x[:1], guide="normal", mask="left", **one, **SHORT)
        drawn.append(figures.latent_contours(pair, x[:1], posterior.mask[0], posterior, **one))
    if cell.name in ("vae", "cvae"):
        ends = {} if y is None else {"y_starts": y[:2], "y_ends": y[:2]}
        drawn.append(figures.interpolation(pair, x[:2], x[2:4], **ends))
    if cell.name in ("cvae", "m2"):
        drawn.append(figures.class_grid(pair))
    if cell.continuous:
        drawn.append(figures.latent_use(diagnose(pair, cell.data, num_particles=30, limit=6)))
    for figure in drawn:
        figure.canvas.draw()
    return []


def _continuous(call: Callable[[Cell], Any]) -> Callable[[Cell], Any]:
    def checked(cell: Cell) -> Any:
        only(cell.continuous)
        return call(cell)

    return checked


def _bracket(cell: Cell) -> Any:
    try:
        options = {"num_chains": 2, "num_temperatures": 4, "num_leapfrog": 2}
        found = bracket(cell.pair, num_data=6, **cell.given, **options)
    except UsageError as error:
        raise NotDefinedError from error
    return [found.lower, found.upper, found.x]


def _accuracy(cell: Cell) -> Any:
    only(fulfills(cell.pair, Classifies))
    accuracy(cell.pair, cell.data, limit=20)
    return []


def _compare_guides(cell: Cell) -> Any:
    found = compare_guides(
        cell.pair,
        cell.x,
        guides=["normal", "prior"],
        num_particles=30,
        infer_options=SHORT,
        evidence_options={"num_chains": 2, "num_temperatures": 4, "num_leapfrog": 2},
        **cell.given,
    )
    found.to_text()
    return [found.evidence.value]


def _hmc(cell: Cell) -> Any:
    target = condition(cell.pair, cell.x, mask="left", **cell.given)
    draws = hmc(target, num_samples=6, num_chains=2, warmup=20, num_leapfrog=2)
    return [draws.z, draws.r_hat, draws.latents]


FUNCTIONS: dict[str, Callable[[Cell], Any]] = {
    "decode and traces": _decode,
    "SVI step": _svi,
    **{
        f"fit {name}": _objective(name)
        for name in ("elbo", "monte_carlo", "iwae", "dreg", "stl", "renyi", "rws", "js")
    },
    "fit bfloat16": lambda cell: _fit(cell, precision="bfloat16"),
    "fit clipped": lambda cell: _fit(cell, clip_norm=1.0, beta_warmup=0, patience=3),
    "fit recorded": lambda cell: (
        _objective("iwae")(cell)
        if cell.continuous and "y" not in cell.pair.latent_sites
        else only(False)
    ),
    "particles": lambda cell: (
        particles(
            cell.pair, None, cell.x, num_particles=3, mask=torch.ones(8, 8), **cell.given
        ).log_weight
    ),
    "evaluate": lambda cell: evaluate(cell.pair, cell.data, num_particles=3, limit=9) and [],
    "evaluate completion": lambda cell: (
        only(cell.name != "flow")
        or (
            evaluate_completion(
                cell.pair,
                cell.data,
                "left",
                limit=6,
                log_prob=False,
                complete_options={"num_samples": 1, "num_latents": 2}
                | (
                    {"infer_options": SHORT}
                    if cell.name in ("vae", "cvae", "m2", "two_layer_vae")
                    else {}
                ),
            )
            and []
        )
    ),
    "diagnose": _continuous(
        lambda cell: diagnose(cell.pair, cell.data, num_particles=30, limit=9) and []
    ),
    "accuracy": _accuracy,
    "reconstruct": lambda cell: [
        reconstruct(cell.pair, cell.x, mask="left", latents=latents, pixels=pixels, **cell.given)
        for latents in ("mean", "sample")
        for pixels in ("mean", "sample")
    ],
    "posterior sites": lambda cell: [
        site.mean if site.event_shape else site.probs
        for site in posterior_sites(cell.pair, cell.x, **cell.given).values()
    ],
    "latent means": _continuous(lambda cell: latent_means(cell.pair, cell.x, **cell.given)),
    "latents as data": _continuous(lambda cell: latents_as_data(cell.pair, cell.data) and []),
    "generate": lambda cell: [
        generate(cell.pair, n=6, pixels=pixels, **cell.given) for pixels in ("mean", "sample")
    ],
    "exact": _exact,
    **{
        f"evidence {name}": _evidence(name)
        for name in ("exact", "quadrature", "importance", "annealing")
    },
    "bracket": _continuous(_bracket),
    "hmc": _continuous(_hmc),
    **{f"infer {name}": _infer(name) for name in GUIDES},
    "compare guides": _continuous(_compare_guides),
    **{
        f"complete {guide}": lambda cell, guide=guide: _complete(cell, guide)
        for guide in ("exact", "trained", "normal", "encoder_zeros")
    },
    "figures": _figures,
}


def tensors(result: Any) -> Iterator[Tensor]:
    """All tensors of a result."""
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, Mapping):
        yield from tensors(list(result.values()))
    elif isinstance(result, list | tuple):
        for part in result:
            yield from tensors(part)


def make_cell(name: str, device: torch.device) -> Cell:
    """A pair with the weights it was made with, on the device, and its data on the CPU."""
    torch.manual_seed(0)
    data = load_data("digits", preparation="threshold")
    pair = build(name, data.data_shape, num_classes=data.num_classes, **PAIRS[name])
    if pair.likelihood.preparation in ("dequantised", "grey"):
        data = load_data("digits", preparation=pair.likelihood.preparation)
    assert isinstance(pair, nn.Module)
    return Cell(name, pair.to(device), data, device)


def check(name: str, function: str, device: torch.device) -> str:
    """``"ok"``, ``"–"`` where the function is not for the pair, or what went wrong."""
    cell = make_cell(name, device)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = FUNCTIONS[function](cell)
    except NotDefinedError:
        return "–"
    except Exception as error:  # whatever it is, it is a cell of the table
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    wrong = [t.device for t in tensors(result) if t.device.type != device.type]
    return f"a result is on {wrong[0]}" if wrong else "ok"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 or mps")
    parser.add_argument("--pairs", nargs="+", default=list(PAIRS), choices=list(PAIRS))
    parser.add_argument("--functions", nargs="+", default=list(FUNCTIONS))
    parser.add_argument("--out", help="file for the table, as Markdown")
    arguments = parser.parse_args()
    mpl.use("Agg")
    device = check_device(arguments.device)
    rows, failures = [], []
    for function in arguments.functions:
        cells = []
        for name in arguments.pairs:
            began = time.perf_counter()
            found = check(name, function, device)
            if device.type != "cpu":
                torch.accelerator.synchronize(device)
            seconds = time.perf_counter() - began
            if found not in ("ok", "–"):
                failures.append(f"{function}, {name}: {found}")
                print(failures[-1], flush=True)
            cells.append(f"{seconds:.1f}" if found == "ok" else "–" if found == "–" else "fails")
        rows.append(f"| {function} | " + " | ".join(cells) + " |")
    head = f"| seconds on {device} | " + " | ".join(arguments.pairs) + " |"
    table = "\n".join([head, "|" + " --- |" * (len(arguments.pairs) + 1), *rows])
    print(table)
    if arguments.out:
        Path(arguments.out).write_text(table + "\n")
    print(f"{len(failures)} cells fail")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
