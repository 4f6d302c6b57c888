"""VAE and GAN on one footing, log p(x) under N(G(z), σ² I), by the protocol of Wu et al. 2017.

Each of four models is trained; σ is chosen on validation images, and its curve drawn; then log p(x)
of test and of training images is found by annealing, and what it may err by from simulated images
(BDMC). Beside it stand the kernel density and the importance bound, which may order the models
otherwise. ``--scale cpu`` takes half an hour of one core, ``--scale digits``, of many small images,
some minutes, ``--scale paper --device cuda`` is the protocol itself. What is finished lies in the
folder ``--out``; the same command goes on from there.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from clock import add_device, seconds
from gan_classes import classifier, counts

from inference import Experiment, bracket, evidence, generate
from inference.commands.files import save_figure
from inference.evaluation import SigmaCurve, Table, kernel_density, sigma_curve
from inference.evaluation.features import Classifier
from inference.evaluation.spherical import why_not_spherical
from inference.evaluation.table import Absent
from inference.figures import sigma_curves
from inference.learning import Run
from inference.standard_error import mean_and_error, with_error
from pyro_models import VAE, ImageData, load_data
from pyro_models.data import Split

NAMES = ("wu-vae-10", "wu-vae-50", "wu-gan-10", "wu-gan-50")
LEARNED = "VAE, σ from z"


@dataclass(frozen=True)
class Scale:
    """How much of everything: images, epochs, chains, samples."""

    train_images: int | None
    epochs: dict[str, int]
    validation: int
    test: int
    train: int
    simulated: int
    num_chains: int
    num_temperatures: int
    num_leapfrog: int
    kernel_samples: int
    num_particles: int
    samples: int
    sigmas: tuple[float, ...] = (0.05, 0.07, 0.1, 0.14, 0.17, 0.2, 0.28)
    hidden: tuple[int, ...] | None = None
    data: str = "mnist"

    @property
    def annealing(self) -> dict[str, Any]:
        """Options of annealing: steps in proportion to β, since a small σ makes z well known."""
        names = ("num_chains", "num_temperatures", "num_leapfrog")
        return {name: getattr(self, name) for name in names} | {"schedule": "geometric"}


SCALES = {
    "tiny": Scale(500, dict.fromkeys(NAMES, 5), 4, 4, 4, 4, 4, 50, 3, 2000, 100, 200,
                  hidden=(64, 32), data="digits"),
    "digits": Scale(500, dict(zip(NAMES, (600, 600, 600, 600), strict=True)),
                    100, 300, 300, 200, 4, 600, 4, 20_000, 5000, 1000,
                    hidden=(128, 64, 32), data="digits"),
    "cpu": Scale(10_000, dict(zip(NAMES, (60, 50, 24, 18), strict=True)),
                 16, 32, 24, 8, 4, 600, 4, 100_000, 5000, 1000),
    "paper": Scale(None, dict(zip(NAMES, (200, 200, 100, 100), strict=True)),
                   1000, 1000, 100, 100, 16, 10_000, 10, 1_000_000, 200_000, 10_000),
}  # fmt: skip


def data_of(scale: Scale) -> ImageData:
    """Dequantised images, of the training split so many as the scale says."""
    data = load_data(scale.data, preparation="dequantised")
    train = data.split("train")
    y = None if train.y is None else train.y[: scale.train_images]
    first = Split(train.x[: scale.train_images], y)
    return replace(data, splits={**data.splits, "train": first})


def trained(name: str, scale: Scale, data: ImageData, folder: Path, device: torch.device) -> Any:
    """The pair of a preset, trained, or as it was before."""
    run = folder / "run"
    experiment = Experiment.preset(name).replace(
        epochs=scale.epochs[name], snapshots=None, device=str(device), curve_size=0
    )
    if scale.hidden:
        experiment = experiment.replace(**{"options.hidden": list(scale.hidden)})
    if not (folder / "trained").exists():
        made = experiment.build(data), data
        experiment.run(made=made, progress=False, out=str(run), force=True)
        (folder / "trained").touch()
    return Run(str(run)).load_pair(device=device)


def measured(
    name: str, scale: Scale, data: ImageData, *, net: Classifier, folder: Path, device: torch.device
) -> tuple[dict[str, Any], SigmaCurve]:
    """All numbers of one model, kept in a file when they are there; and log p(x) against σ."""
    file = folder / "found.json"
    folder.mkdir(parents=True, exist_ok=True)
    clock = {"began": seconds(device)}

    def said(what: str, *more: object) -> None:
        now = seconds(device)
        print(f"{name}: {what}, {now - clock['began']:.0f} s", *more, flush=True)
        clock["began"] = now

    pair = trained(name, scale, data, folder, device)
    said("trained")
    x = {
        split: data.prepared(split, seed=0, limit=getattr(scale, split)).x.to(device)
        for split in ("validation", "test", "train")
    }
    curve = sigma_curve(
        pair, x["validation"], scale.sigmas, resume=folder / "curve", **scale.annealing
    )
    said("σ", f"\n{curve}")
    own, values = curve.pair, {}
    found: dict[str, Any] = {"sigma": curve.sigma, "sigmas": curve.sigmas, "curve": curve.means}
    for split in ("test", "train"):
        of = evidence(own, x[split], method="annealing", resume=folder / split, **scale.annealing)
        found[split], values[f"{split} values"] = of.mean, of.value.cpu().double()
        values[f"{split} labels"] = data.prepared(split, seed=0, limit=getattr(scale, split)).y
        said(split, f"\n{of}")
    if file.exists():
        return {**json.loads(file.read_text()), **values}, curve
    simulated = bracket(own, num_data=scale.simulated, resume=folder / "bracket", **scale.annealing)
    found["gap"] = mean_and_error(simulated.gap)
    found["of samples"] = simulated.lower.tolist()
    said("BDMC", f"\n{simulated}")
    kernels = kernel_density(
        own,
        x["test"],
        validation=x["validation"],
        sigmas=scale.sigmas,
        num_samples=scale.kernel_samples,
    )
    found |= {"kernel": kernels.mean, "kernel sigma": kernels.sigma}
    said("kernels", f"\n{kernels}")
    bound = evidence(own, x["test"], method="importance", num_particles=scale.num_particles)
    found["bound"] = bound.mean
    said("importance", f"\n{bound}")
    found["classes"] = counts(net, generate(own, n=scale.samples, seed=1))
    said("classes", found["classes"])
    file.write_text(json.dumps(found, indent=2) + "\n")
    return {**found, **values}, curve


def table_of(found: dict[str, dict[str, Any]], scale: Scale) -> Table:
    """A row for each model, and one for a pair that may not stand here."""

    def number(value: tuple[float, float]) -> str:
        return with_error(*value, digits=1)

    rows: list[list[Any]] = []
    for name, own in found.items():
        (test, error), (train, other) = own["test"], own["train"]
        more = train - test, math.hypot(error, other)
        numbers = [number(v) for v in (own["test"], own["train"], more, own["gap"])]
        beside = [f"{number(own['kernel'])} ({own['kernel sigma']:g})", number(own["bound"])]
        rows.append([name, f"{own['sigma']:g}", *numbers, *beside, str(own["classes"])])
    options = {"likelihood": "gaussian", "likelihood_options": {"scale": "decoder"}}
    refused = VAE((1, 8, 8), hidden=[8], **options)
    rows.append([LEARNED, *[Absent(why_not_spherical(refused))] * 8])
    k, m = f"{scale.num_particles:,}", f"{scale.kernel_samples:,}"
    return Table(
        heads=[
            ["model"],
            ["σ"],
            ["log p(x), test", "lower bound"],
            ["log p(x), training", "lower bound"],
            ["training − test"],
            ["BDMC gap"],
            [f"kernel density, {m} samples", "objective only, (its σ)"],
            [f"L_K, K = {k}", "lower bound"],
            [f"classes of {scale.samples:,} samples"],
        ],
        rows=rows,
        caption=(
            f"Nats per image of {scale.data}, dequantised, ± standard error over {scale.test} "
            f"test, {scale.train} training and {scale.simulated} simulated images; σ from "
            f"{scale.validation} of validation; annealing: {scale.num_chains} chains, "
            f"{scale.num_temperatures} temperatures, {scale.num_leapfrog} leapfrog steps."
        ),
    )


def findings(found: dict[str, dict[str, Any]]) -> list[str]:
    """Whether the findings of the paper are there, by these numbers."""
    said = []
    names = list(found)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            pairs = {q: (found[a][q], found[b][q]) for q in ("kernel", "bound")}
            less = {
                q: (one[0] - two[0], math.hypot(one[1], two[1])) for q, (one, two) in pairs.items()
            }
            own = mean_and_error(found[a]["test values"] - found[b]["test values"])
            for q, what in (("kernel", "kernel densities"), ("bound", "importance bounds")):
                if less[q][0] * own[0] < 0:
                    text, true = (with_error(*v, digits=0, signed=True) for v in (less[q], own))
                    said.append(f"{what} order {a} and {b} wrongly: {text} nats, annealing {true}")
    for vae, gan in [("wu-vae-10", "wu-gan-10"), ("wu-vae-50", "wu-gan-50")]:
        if vae in found and gan in found:  # of the same images, whose own differences cancel
            more, noise = 0.0, 0.0
            for split, sign in (("train", 1), ("test", -1)):
                key = f"{split} values"
                mean, error = mean_and_error(found[vae][key] - found[gan][key])
                more, noise = more + sign * mean, math.hypot(noise, error)
            text = with_error(more, noise, digits=0, signed=True)
            said.append(f"training − test of {vae} less that of {gan}, image by image: {text}")
    for name, own in found.items():
        (test, error), (train, other) = own["test"], own["train"]
        loose = f"{name}: L_K is {test - own['bound'][0]:.0f} nats below annealing"
        more = with_error(train - test, math.hypot(error, other), digits=0, signed=True)
        said.append(f"{loose}; training − test {more}; BDMC gap {own['gap'][0]:.1f}")
        fewest = min(own["classes"])
        said.append(f"{name}: the rarest class is {fewest / sum(own['classes']):.1%} of samples")
    return said


def modes(found: dict[str, dict[str, Any]]) -> list[str]:
    """What is improbable: images beside the model's own samples, and classes beside each other."""
    said = []
    for name, own in found.items():
        if len(own["of samples"]) < 100:
            continue
        low = torch.tensor(own["of samples"], dtype=torch.double).quantile(0.05)
        below = {split: own[f"{split} values"] < low for split in ("train", "test")}
        shares = {k: mean_and_error(v.double()) for k, v in below.items()}
        train, test = (with_error(100 * m, 100 * e, digits=0) for m, e in shares.values())
        y = torch.cat([own[f"{split} labels"] for split in below])
        each = torch.cat(list(below.values())).double()
        classes = ", ".join(f"{c}: {100 * each[y == c].mean():.0f}" for c in y.unique())
        said.append(
            f"{name}: {train}% of training and {test}% of test images are less probable than all "
            f"but 5% of its own samples; by class, of both: {classes}%"
        )
    for vae, gan in [("wu-vae-10", "wu-gan-10"), ("wu-vae-50", "wu-gan-50")]:
        if vae in found and gan in found:
            keys = [("train values", "train labels"), ("test values", "test labels")]
            less = torch.cat([found[gan][v] - found[vae][v] for v, _ in keys])
            y = torch.cat([found[gan][labels] for _, labels in keys])
            of = {int(c): mean_and_error(less[y == c]) for c in y.unique()}
            text = ", ".join(f"{c}: {with_error(*v, digits=0, signed=True)}" for c, v in of.items())
            said.append(f"log p(x) of {gan} less that of {vae}, by class: {text}")
    return said


def main() -> None:
    """Train, choose σ, measure; write the table and the figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--models", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--out", type=Path, default=Path("wu"))
    add_device(parser)
    given = parser.parse_args()
    scale = SCALES[given.scale]
    data = data_of(scale)
    net = classifier(data)
    found, curves = {}, {}
    for name in given.models:
        how = {"net": net, "folder": given.out / name, "device": given.device}
        found[name], curves[name] = measured(name, scale, data, **how)
    table = table_of(found, scale)
    said = findings(found) + modes(found)
    (given.out / "wu.md").write_text(table.to_markdown() + "\n" + "\n".join(said) + "\n")
    save_figure(sigma_curves(curves), given.out / "wu.png")
    print(table.to_text(), *said, sep="\n")


if __name__ == "__main__":
    main()
