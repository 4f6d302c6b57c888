"""``pyro-models guides``: several guides of one trained pair against its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from inference import figures
from inference.commands.files import free_path, open_run, printed_after, save_figure
from inference.evaluation import GuideComparison, compare_guides
from inference.evaluation.evaluated import check_limit, evaluated_split
from inference.posterior.guides import guide_family
from pyro_models.contract import fulfills
from pyro_models.data.masks import mask_name, seen_pixels
from pyro_models.files import holding_folder, write_atomically
from pyro_models.pair import Classifies

__all__ = ["guides"]

Method = Literal["best", "exact", "quadrature", "importance", "annealing"]


def guides(
    run: str,
    guides: list[str] = ["encoder", "normal", "full_covariance"],  # noqa: B006 - jsonargparse copies
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    limit: int = 100,
    num_particles: int = 1000,
    method: Method = "best",
    num_temperatures: int = 1000,
    num_chains: int = 16,
    start: str | None = None,
    max_steps: int = 2000,
    mask: str | None = None,
    fraction: float = 0.5,
    seed: int = 0,
    out: str | None = None,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> GuideComparison:
    """Compare guides of a trained pair: bounds, gaps to log p(x), k-hat, cost, paired differences.

    Args:
        run: Run folder.
        guides: Names of guides, e.g. [encoder, normal, full_covariance].
        data: Other data than those it was trained on.
        split: Split of the data that is used.
        limit: Use only the first so many data.
        num_particles: Number K of importance weights per datum.
        method: How log p(x) is found; best: exact, or a grid for two latents, or annealing.
        num_temperatures: Number of temperatures of annealing.
        num_chains: Number of chains of annealing, per datum.
        start: Guide that annealing starts at, such as encoder (the prior unless given), or that
            importance sampling draws from (the pair's own unless given).
        max_steps: Steps after which the fit of a datum stops in any case.
        mask: What is seen: left, right, top, bottom, top_left (and so on), random, or a .npy file;
            everything unless given.
        fraction: Fraction of the pixels that the mask random sees.
        seed: Random seed of the preparation and all draws.
        out: Folder for guides.csv, guides.md and guides.png.
        force: Replace those files.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show progress bars.
    """
    names = ("guides.csv", "guides.md", "guides.png")
    targets = [free_path(f"{out}/{name}", force=force) for name in names] if out else []
    check_limit(limit)
    for name in (*guides, *([] if start is None else [start])):
        guide_family(name)
    pair, images, _ = open_run(run, data, device=device)
    prepared = evaluated_split(pair, images, split=split, limit=limit, seed=seed)
    needs_labels = pair.num_classes is not None and not fulfills(pair, Classifies)
    seen = None
    if mask is not None:
        seen = seen_pixels(
            mask, pair.data_shape, num_data=len(prepared), fraction=fraction, seed=seed
        )
    table = compare_guides(
        pair,
        prepared.x,
        mask=seen,
        y=prepared.y if needs_labels else None,
        guides=guides,
        num_particles=num_particles,
        infer_options={"max_steps": max_steps},
        evidence_options={
            "method": method,
            "num_temperatures": num_temperatures,
            "num_chains": num_chains,
            "num_particles": num_particles,
            "guide": start,
        },
        seed=seed,
        progress=progress,
    )
    of = "" if mask is None else f", seen: {mask_name(mask, fraction=fraction)}"
    title = f"{images.name} {split}, the first {len(prepared):,}, {images.preparation} pixels{of}"
    with printed_after(lambda: f"{title}\n\n{table.to_text()}"):
        if targets:
            _write(table, *targets)
    return table


def _write(table: GuideComparison, csv: Path, markdown: Path, picture: Path) -> None:
    """The tables and the figure of one comparison, together in their folder."""
    with holding_folder(csv.parent):
        write_atomically(csv, table.to_csv())
        write_atomically(markdown, table.to_markdown())
        if any(row.value("gap") is not None for row in table.rows):
            save_figure(figures.guide_gaps(table), picture)
