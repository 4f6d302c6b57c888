"""``pyro-models complete``: half-seen images of a trained pair filled in, looked at and scored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inference import figures
from inference.commands.files import free_path, open_run, printed_after, save_figure
from inference.evaluation import Comparison, compare, evaluate_completion
from inference.learning.settings import check_pair_fits_data
from inference.posterior import complete as complete_data
from pyro_models import UsageError
from pyro_models.data.masks import MASKS
from pyro_models.files import write_atomically
from pyro_models.registry import check_choice
from pyro_models.seeds import check_seed

__all__ = ["complete"]


def complete(
    run: str,
    mask: str = "left",
    fraction: float = 0.5,
    guide: str = "best",
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    limit: int = 16,
    num_samples: int = 4,
    num_latents: int = 100,
    pixels: Literal["sample", "mean"] = "sample",
    log_prob: bool = False,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    seed: int = 0,
    out: str = "completed.png",
    table: str | None = None,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Comparison:
    """Complete half-seen images: a picture of them, and a table of how well it went.

    Args:
        run: Run folder.
        mask: What is seen: left, right, top, bottom, top_left (and so on), random, or a .npy file.
        fraction: Fraction of the pixels that the mask random sees.
        guide: exact, trained, a guide that is fitted to each image (normal, ...), encoder_zeros
            (wrong, to compare with), or best, the first of these that there is.
        data: Other data than those it was trained on.
        split: Which split.
        limit: How many images, from the first.
        num_samples: Completions drawn of each.
        num_latents: Draws of the latents that the mean completion is averaged over.
        pixels: Draw the pixels of these, or show their means.
        log_prob: Also estimate log p(unseen | seen), in nats per image; that may take long.
        num_chains: Chains of annealed importance sampling for it, where it is not exact.
        num_temperatures: Temperatures of the same.
        seed: Random seed of the preparation, the mask random, and all draws.
        out: Figure (.png, .pdf, .svg), or .npz with the arrays mean, samples, x and mask.
        table: Markdown or CSV file (.md, .csv) for the table.
        force: Replace these files.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show progress bars.
    """
    target = free_path(out, force=force)
    if target.suffix not in (".png", ".pdf", ".svg", ".npz"):
        raise UsageError(f"out must end in .png, .pdf, .svg or .npz; got {out}")
    listing = free_path(table, force=force)
    if listing is not None and listing.suffix not in (".md", ".csv"):
        raise UsageError(f"table must end in .md or .csv; got {table}")
    if limit < 1:
        raise UsageError(f"limit must be at least 1; got {limit}")
    check_seed(seed)
    if not mask.endswith(".npy"):
        check_choice("mask", mask, MASKS, hint="name a .npy file")
    pair, images, _ = open_run(run, data, device=device)
    check_pair_fits_data(pair, images, splits=[split], seed=seed)
    prepared = images.prepared(split, seed=seed, limit=limit)
    completed = complete_data(
        pair,
        prepared,
        mask,
        guide=guide,
        num_samples=num_samples,
        num_latents=num_latents,
        pixels=pixels,
        fraction=fraction,
        seed=seed,
        progress=progress,
    )
    settings: dict[str, Any] = {"split": split, "limit": limit, "fraction": fraction, "seed": seed}
    name = f"{Path(run).name}, {completed.guide}"
    scored = evaluate_completion(
        pair,
        images,
        mask,
        name=name,
        log_prob=log_prob,
        guide=completed.posterior or completed.guide,
        complete_options={"num_latents": num_latents},
        evidence_options={"num_chains": num_chains, "num_temperatures": num_temperatures},
        progress=progress,
        **settings,
    )
    mean = images.prepared("train", seed=seed).x.mean(0)
    nobody = evaluate_completion(mean, images, mask, name="mean training image", **settings)
    found = compare([scored, nobody])
    lines = [found.to_text()]
    if log_prob and scored.absent:  # a column that no row has would go without a word
        lines.append(f"log p(unseen | seen): none – {' '.join(scored.absent.values())}")
    with printed_after(lambda: "\n".join(lines)):
        if listing is not None:
            text = found.to_csv() if listing.suffix == ".csv" else found.to_markdown()
            write_atomically(listing, text)
        if target.suffix == ".npz":
            arrays = {
                "mean": completed.mean,
                "samples": completed.samples,
                "x": completed.x,
                "mask": completed.mask,
            }
            content: dict[str, Any] = {k: v.detach().cpu().numpy() for k, v in arrays.items()}
            if completed.identity is not None:
                content["identity"] = np.array(json.dumps(completed.identity.to_dict()))
            write_atomically(target, lambda file: np.savez_compressed(file, **content))
        else:
            shown = figures.completions(completed, prepared.x, rows=limit, samples=num_samples)
            save_figure(shown, target)
    print(f"{len(completed)} completions of {Path(run).name} in {target}")
    return found
