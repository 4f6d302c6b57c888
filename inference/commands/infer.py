"""``pyro-models infer``: posteriors of single images, without the encoder or beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.command import OnHalfSeen, command
from inference.commands.files import (
    free_figure_path,
    free_path,
    printed_after,
    save_arrays,
    save_figure,
)
from inference.declared import takes
from inference.posterior import Plateau, Posterior
from inference.posterior import infer as infer_posterior
from pyro_models import UsageError

__all__ = ["infer"]


@command
@takes(OnHalfSeen)
def infer(
    run: str,
    guide: str | dict[str, Any] = "auto_normal",
    limit: int = 100,
    guide_options: dict[str, Any] | None = None,
    resample: int | None = None,
    lr: float | None = None,
    min_improvement: float = 0.02,
    max_steps: int = 2000,
    starts: int = 64,
    out: str | None = None,
    figure: str | None = None,
    **options: Any,
) -> Posterior:
    """Infer the latents of images by a guide of their own; print bounds, and why each fit stopped.

    Args:
        run: Run folder.
        options: One of :class:`OnHalfSeen`.
        guide: Name of a guide, such as normal, full_covariance, refined, laplace or encoder.
        limit: Only the first so many data.
        guide_options: Options of the guide, such as {rank: 3}.
        resample: Resample so many draws by their importance weights.
        lr: Learning rate; the one that suits the guide unless given.
        min_improvement: Rise of the bound, in nats, below which an image counts as finished.
        max_steps: Steps after which an image stops in any case.
        starts: A fit begins at the best of the prior's mean and so many draws from the prior.
        out: .npz file for the latents' means, the bounds, steps and reasons of every image.
        figure: PNG, PDF or SVG file: whole images, decoded by this guide and by the encoder.
    """
    on = OnHalfSeen(limit=limit, **options)
    target = free_path(out, force=on.force, endings=".npz")
    picture = free_figure_path(figure, option="figure", force=on.force)
    if picture is not None and on.mask is not None:
        raise UsageError("the figure is of whole images; pyro-models complete draws half-seen ones")
    pair, images = on.open(run)
    posterior = infer_posterior(
        pair,
        on.prepared(pair, images),
        mask=on.mask,
        fraction=on.fraction,
        guide=guide,
        guide_options=guide_options,
        resample=resample,
        lr=lr,
        stopping=Plateau(min_improvement=min_improvement),
        max_steps=max_steps,
        starts=starts,
        seed=on.seed,
        progress=on.progress,
    )
    title = f"{Path(run).name}, {images.name} {on.split}, {len(posterior)} images, seed {on.seed}"
    with printed_after(lambda: f"{title}\n{posterior.to_text().rstrip()}"):
        if target is not None:
            arrays: dict[str, Any] = dict(posterior.mean)
            if posterior.density:
                bound = posterior.bound
                arrays |= {"bound": bound.value, "standard_error": bound.standard_error}
            arrays |= {"steps": posterior.steps, "stopped": posterior.stopped}
            arrays |= {"precision": posterior.precision} if posterior.precision else {}
            save_arrays(target, arrays, posterior.identity)
        if picture is not None:
            save_figure(figures.encoder_free(posterior), picture)
    return posterior
