"""``pyro-models demo``: learn five kinds of model on the bundled digits, judge them, and report."""

from __future__ import annotations

import html
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import torch
from matplotlib.figure import Figure
from tqdm import tqdm

from inference import figures
from inference.evaluation import Comparison, Evaluation, compare, evaluate
from inference.learning import Fit, fit
from inference.learning.files import write_atomically
from inference.section import MakeSection
from inference.undisturbed import seeded
from pyro_models import ImageData, Pair, UsageError, build, load_data
from pyro_models.data import Split

__all__ = ["demo"]

MARKER = ".pyro-models-report"
Draw = Callable[[Pair, Split], Figure]


@dataclass(frozen=True)
class _Entry:
    """One model of the demonstration, how it is trained, and what is drawn of it."""

    key: str
    title: str
    model: str
    options: dict[str, Any]
    preparation: str
    training: dict[str, Any]
    draw: dict[str, Draw] = field(default_factory=dict)


def _samples(pair: Pair, test: Split) -> Figure:
    return figures.prior_samples(pair, n=64)


def _reconstructions(pair: Pair, test: Split) -> Figure:
    return figures.reconstructions(pair, test.x, y=test.y)


def _scatter(pair: Pair, test: Split) -> Figure:
    return figures.latent_scatter(pair, test.x, test.y)


def _interpolations(pair: Pair, test: Split) -> Figure:
    assert test.y is not None
    firsts = [int((test.y == c).nonzero()[0]) for c in range(10)]
    return figures.interpolation(pair, test.x[firsts[0::2]], test.x[firsts[1::2]])


ENTRIES = (
    _Entry(
        "vae",
        "VAE, dense",
        "vae",
        {"hidden": [400, 100], "latent_dim": 2},
        "grey",
        {"epochs": 150},
        {
            "latent means of the test images": _scatter,
            "decoded grid of z": lambda pair, test: figures.latent_grid(pair),
            "test images beside reconstructions": _reconstructions,
            "between two test images": _interpolations,
        },
    ),
    _Entry(
        "conv-vae",
        "VAE, convolutional",
        "vae",
        {"network": "conv", "hidden": [16, 32], "latent_dim": 2},
        "grey",
        {"epochs": 150},
        {
            "latent means of the test images": _scatter,
            "test images beside reconstructions": _reconstructions,
        },
    ),
    _Entry(
        "cvae",
        "CVAE, given the label",
        "cvae",
        {"hidden": [256], "latent_dim": 10, "likelihood": "cross_entropy"},
        "grey",
        {"epochs": 100},
        {"ten samples of each class": lambda pair, test: figures.class_grid(pair)},
    ),
    _Entry(
        "gaussian-vae",
        "VAE, Gaussian likelihood",
        "vae",
        {"hidden": [400, 100], "latent_dim": 10, "likelihood": "gaussian"},
        "dequantised",
        {"epochs": 150},
        {"samples from the prior, means": _samples},
    ),
    _Entry(
        "ppca",
        "PPCA, 10 components",
        "ppca",
        {"latent_dim": 10},
        "dequantised",
        {"epochs": 60, "lr": 1e-2, "schedule": "CosineAnnealingLR"},
        {"samples from the prior, means": _samples},
    ),
    _Entry(
        "gmm",
        "GMM, 20 components",
        "gmm",
        {"num_components": 20, "covariance": "diagonal"},
        "dequantised",
        {"epochs": 60, "lr": 1e-2, "schedule": "CosineAnnealingLR"},
        {"means of the components": lambda pair, test: figures.mixture_means(pair)},
    ),
)


def demo(
    out: str = "report",
    num_particles: int = 500,
    seed: int = 0,
    force: bool = False,
    progress: bool = True,
    *,
    sections: Sequence[MakeSection] = (),
) -> Comparison:
    """Learn and judge VAE, convolutional VAE, CVAE, PPCA and GMM on the bundled digits.

    Args:
        out: Folder for index.html, tables, figures and run folders.
        num_particles: K of the importance-sampled bounds.
        seed: Of everything.
        force: Replace a report that is there.
        progress: Show progress bars.
        sections: Parts of the page that other packages make; not an option of the command.
    """
    folder = _make_way(Path(out), force=force)
    digits = load_data("digits")
    rows: list[Evaluation] = []
    parts: list[str] = []
    for entry in tqdm(ENTRIES, desc="models", unit="model", disable=not progress):
        data = digits.with_preparation(entry.preparation)
        trained = _train(entry, data, folder, seed=seed, progress=progress)
        rows.append(
            evaluate(trained.pair, data, num_particles=num_particles, name=entry.title, seed=seed)
        )
        parts.append(_section(entry, trained, data, folder, rows[-1]))
    for make in sections:
        parts.append(make(folder, seed=seed).to_html(folder))
    table = compare(rows)
    for name, text in (
        ("comparison.csv", table.to_csv()),
        ("comparison.md", table.to_markdown()),
        ("index.html", _page(table, parts, folder)),
    ):
        write_atomically(folder / name, text)
    print(table.to_text())
    print(f"report: {folder / 'index.html'}")
    return table


def _make_way(folder: Path, *, force: bool) -> Path:
    """An empty folder that is marked as a report."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if not (folder / MARKER).is_file():
            raise UsageError(f"{folder} is there and is not a report: name another folder")
        if not force:
            raise UsageError(f"{folder} holds a report: replace it with --force, or name another")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).touch()
    return folder


def _train(entry: _Entry, data: ImageData, folder: Path, *, seed: int, progress: bool) -> Fit:
    with seeded(seed, torch.device("cpu")):
        pair = build(entry.model, data.data_shape, num_classes=data.num_classes, **entry.options)
    return fit(
        pair, data, seed=seed, out=folder / "runs" / entry.key, progress=progress, **entry.training
    )


def _section(
    entry: _Entry, trained: Fit, data: ImageData, folder: Path, evaluation: Evaluation
) -> str:
    """The part of the page about one model; its figures are written on the way."""
    test = data.prepared("test")
    drawn = {"learning curves": figures.learning_curves(trained.history)}
    drawn |= {title: draw(trained.pair, test) for title, draw in entry.draw.items()}
    images = []
    for title, figure in drawn.items():
        name = f"{entry.key}-{title.replace(' ', '-').replace(',', '')}.png"
        _save(figure, folder / "figures" / name)
        images.append(
            f'<figure><img src="figures/{name}" alt="{html.escape(title)}">'
            f"<figcaption>{html.escape(title)}</figcaption></figure>"
        )
    options = ", ".join(f"{k} = {v}" for k, v in {**entry.options, **entry.training}.items())
    scores = "".join(f"<li>{html.escape(str(s))}</li>" for s in evaluation.scores.values())
    return (
        f'<section id="{entry.key}"><h2>{html.escape(entry.title)}</h2>'
        f"<p><code>{html.escape(options)}</code>; {entry.preparation} pixels; "
        f"{html.escape(trained.history.stopped)}.</p>"
        f"<ul>{scores}</ul><div>{''.join(images)}</div></section>"
    )


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=130))


_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>pyro-models: density models of handwritten digits</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 86rem; margin: 2rem auto;
  padding: 0 1rem; }
h1, h2 { line-height: 1.2; } h2 { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .8rem; }
caption { text-align: left; color: #555; padding-bottom: .5rem; }
th, td { padding: .35rem .55rem; text-align: right; border-bottom: 1px solid #ddd;
  vertical-align: bottom; }
tbody td { white-space: nowrap; } tbody th, thead th:first-child { text-align: left; }
tbody th { white-space: nowrap; }
th small { display: block; font-weight: normal; color: #555; min-width: 6rem; }
.notes { color: #444; font-size: .86rem; list-style: none; padding: 0; }
section div { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
section ul { font-size: .9rem; } code { font-size: .85rem; }
figure { margin: 0; flex: 1 1 24rem; max-width: 36rem; } img { width: 100%; height: auto; }
figcaption { color: #444; font-size: .86rem; }
</style></head><body>
<h1>Density models of handwritten digits</h1>
<p>Six models of the 8×8 digits that scikit-learn bundles, trained by stochastic variational
inference and judged on the same test images. Two numbers stand in one column only if they may be
compared: the same unit, measure, pixel preparation and data. An empty cell says which of these
differs. The cross-entropy of grey pixels is an objective, not a probability, so those models have
no log p(x); Gaussian densities of dequantised pixels have, and become bits per dimension.</p>
<div class="wide">$table</div>
<p>The same as <a href="comparison.csv">CSV</a> and <a href="comparison.md">Markdown</a>. The
trained models are in <code>runs/</code>; try
<code>pyro-models plot $folder/runs/vae --figure latent-grid --out grid.png</code>.</p>
$sections
</body></html>
""")


def _page(table: Comparison, sections: list[str], folder: Path) -> str:
    return _PAGE.substitute(
        table=table.to_html(), sections="\n".join(sections), folder=html.escape(str(folder))
    )
