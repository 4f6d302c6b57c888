"""``pyro-models infer``: posteriors of single images, without the encoder or beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inference import figures
from inference.commands.files import (
    free_figure_path,
    free_path,
    open_run,
    printed_after,
    save_figure,
)
from inference.evaluation.evaluated import check_limit
from inference.learning.settings import check_pair_fits_data
from inference.posterior import Plateau, Posterior
from inference.posterior import infer as infer_posterior
from pyro_models import UsageError
from pyro_models.files import write_atomically
from pyro_models.seeds import check_seed

__all__ = ["infer"]


def infer(
    run: str,
    guide: str | dict[str, Any] = "auto_normal",
    data: str | None = None,
    split: Literal["test", "validation", "train"] = "test",
    limit: int = 100,
    guide_options: dict[str, Any] | None = None,
    resample: int | None = None,
    lr: float | None = None,
    min_improvement: float = 0.02,
    max_steps: int = 2000,
    starts: int = 64,
    seed: int = 0,
    out: str | None = None,
    figure: str | None = None,
    mask: str | None = None,
    fraction: float = 0.5,
    force: bool = False,
    device: str = "cpu",
    progress: bool = True,
) -> Posterior:
    """Infer the latents of images by a guide of their own; print bounds, and why each fit stopped.

    Args:
        run: Run folder.
        guide: Name of a guide, such as normal, full_covariance, refined, laplace or encoder.
        data: Other data than those it was trained on.
        split: Which split.
        limit: Only the first so many data.
        guide_options: Options of the guide, such as {rank: 3}.
        resample: Resample so many draws by their importance weights.
        lr: Learning rate; the one that suits the guide unless given.
        min_improvement: Rise of the bound, in nats, below which an image counts as finished.
        max_steps: Steps after which an image stops in any case.
        starts: A fit begins at the best of the prior's mean and so many draws from the prior.
        seed: Random seed of the preparation and of all draws.
        out: .npz file for the latents' means, the bounds, steps and reasons of every image.
        figure: PNG, PDF or SVG file: whole images, decoded by this guide and by the encoder.
        mask: What is seen: left, right, top, bottom, top_left (and so on), random, or a .npy file;
            everything unless given.
        fraction: Fraction of the pixels that the mask random sees.
        force: Replace those files.
        device: Where to compute: cpu, cuda, cuda:1 or mps.
        progress: Show a progress bar.
    """
    check_seed(seed)
    check_limit(limit)
    target = free_path(out, force=force)
    if target is not None and target.suffix != ".npz":
        raise UsageError(f"out must end in .npz; got {out}")
    picture = free_figure_path(figure, option="figure", force=force)
    if picture is not None and mask is not None:
        raise UsageError("the figure is of whole images; pyro-models complete draws half-seen ones")
    pair, images, _ = open_run(run, data, device=device)
    check_pair_fits_data(pair, images, splits=[split], seed=seed)
    prepared = images.prepared(split, seed=seed, limit=limit)
    posterior = infer_posterior(
        pair,
        prepared,
        mask=mask,
        fraction=fraction,
        guide=guide,
        guide_options=guide_options,
        resample=resample,
        lr=lr,
        stopping=Plateau(min_improvement=min_improvement),
        max_steps=max_steps,
        starts=starts,
        seed=seed,
        progress=progress,
    )
    title = f"{Path(run).name}, {images.name} {split}, {len(posterior)} images, seed {seed}"
    with printed_after(lambda: f"{title}\n{posterior.to_text().rstrip()}"):
        if target is not None:
            arrays = {name: mean for name, mean in posterior.mean.items()}
            if posterior.density:
                arrays |= {
                    "bound": posterior.bound.value,
                    "standard_error": posterior.bound.standard_error,
                }
            content: dict[str, Any] = {k: v.detach().cpu().numpy() for k, v in arrays.items()}
            content |= {"steps": posterior.steps.numpy(), "stopped": np.array(posterior.stopped)}
            content["identity"] = np.array(json.dumps(posterior.identity.to_dict()))
            write_atomically(target, lambda file: np.savez_compressed(file, **content))
        if picture is not None:
            save_figure(figures.encoder_free(posterior), picture)
    return posterior
