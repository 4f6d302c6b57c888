"""``pyro-models infer``: posteriors of single images without the encoder, or of a Pyro model."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any, Literal

from inference import figures
from inference.commands.command import OnHalfSeen, command, command_of_models
from inference.commands.files import (
    free_figure_path,
    free_path,
    printed_after,
    save_arrays,
    save_figure,
)
from inference.commands.model_file import OnModel
from inference.declared import takes
from inference.pareto import RELIABLE
from inference.posterior import Plateau, Posterior
from inference.posterior import infer as infer_posterior
from inference.posterior.export import import_arviz
from inference.programs import ProgramPosterior
from inference.programs.infer import infer_program
from inference.standard_error import with_error
from pyro_models import UsageError
from pyro_models.counts import check_counts
from pyro_models.errors import in_one_line
from pyro_models.files import write_atomically

__all__ = ["infer", "infer_model"]


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
    latents: Literal["mean", "sample"] = "mean",
    pixels: Literal["mean", "sample"] = "mean",
    **options: Any,
) -> Posterior:
    """Infer the latents of images by a guide of their own; print bounds, and why each fit stopped.

    Args:
        run: Run folder; or a Pyro model, FILE.py:NAME, which has options of its own (--help).
        options: One of :class:`OnHalfSeen`.
        guide: Name of a guide: {guides}; or mine.py:make.
        limit: Only the first so many data.
        guide_options: Options of the guide, such as {rank: 3}.
        resample: Resample so many draws by their importance weights.
        lr: Learning rate; the one that suits the guide unless given.
        min_improvement: Rise of the bound, in nats, below which an image counts as finished.
        max_steps: Steps after which an image stops in any case.
        starts: A fit begins at the best of the prior's mean and so many draws from the prior.
        out: .npz file for the latents' means, the bounds, steps and reasons of every image.
        figure: PNG, PDF or SVG file: whole images, decoded by this guide and by the encoder.
        latents: Mean or sampled z of the figure.
        pixels: Means of its pixels, or draws of them.
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
    count = f"{len(posterior)} {'images' if images.is_images else 'data'}"
    title = f"{Path(run).name}, {images.name} {on.split}, {count}, seed {on.seed}"
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
            how: dict[str, Any] = {"latents": latents, "pixels": pixels, "seed": on.seed}
            save_figure(figures.encoder_free(posterior, **how), picture)
    return posterior


@command_of_models
@takes(OnModel)
def infer_model(
    model: str,
    guide: str | dict[str, Any] = "full_covariance",
    guide_options: dict[str, Any] | None = None,
    resample: int | None = None,
    lr: float | None = None,
    min_improvement: float = 0.02,
    max_steps: int = 2000,
    starts: int = 64,
    num_draws: int = 1000,
    out: str | None = None,
    figure: str | None = None,
    **options: Any,
) -> ProgramPosterior:
    """Infer the latents of any Pyro model; print their means, spreads and intervals.

    Args:
        model: Pyro model in a file, FILE.py:NAME.
        options: One of :class:`OnModel`.
        guide: Name of a guide: {program_guides};
            or your own, FILE.py:NAME.
        guide_options: Options of the guide, such as {num_samples: 500, num_chains: 4}.
        resample: Resample so many draws by their importance weights.
        lr: Learning rate; the one that suits the guide unless given.
        min_improvement: Rise of the bound, in nats, below which a fit is finished.
        max_steps: Steps after which a fit stops in any case.
        starts: A fit begins at the best of the prior's mean and so many draws from the prior.
        num_draws: How many draws are written of a guide that is no chain.
        out: .npz file for draws of every latent, or .nc for ArviZ.
        figure: PNG, PDF or SVG file: histograms of the latents.
    """
    on = OnModel(**options)
    check_counts(num_draws=num_draws)
    target = free_path(out, force=on.force, endings=".npz or .nc")
    picture = free_figure_path(figure, option="figure", force=on.force)
    if target is not None and target.suffix == ".nc":
        import_arviz()  # before anything is computed
    program = on.open(model)
    posterior = infer_program(
        program,
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
    with printed_after(lambda: f"{on.title(model, program)}\n\n{_said(posterior)}"):
        if target is not None and target.suffix == ".nc":
            drawn = posterior.to_arviz(num_draws=num_draws, seed=on.seed)
            with in_one_line(str(target)), tempfile.TemporaryDirectory() as folder:
                draft = Path(folder) / target.name  # netCDF's libraries write to paths alone
                drawn.to_netcdf(str(draft))
                write_atomically(target, draft.read_bytes())
        elif target is not None:
            chains = posterior.chains()
            draws = posterior.sample(num_draws, seed=on.seed) if chains is None else chains[0]
            save_arrays(target, draws, None)
        if picture is not None:
            save_figure(figures.marginals(posterior), picture)
    return posterior


def _said(posterior: ProgramPosterior) -> str:
    """The latents, how the fit ended, and what may be believed."""
    lines = [posterior.summary().to_text().rstrip()]
    if posterior.density:
        bound, k_hat = posterior.elbo, posterior.k_hat
        number = with_error(float(bound.value), float(bound.standard_error), digits=2)
        text = f"ELBO {number} nats (lower bound of log p(x)), "
        text += "all weights equal" if k_hat == -math.inf else f"k̂ {k_hat:.2f}"
        if k_hat > RELIABLE:
            text += f", above {RELIABLE}: q misses the tails, compare it (pyro-models guides)"
        lines += ["", text]
    if posterior.steps:
        lines.append(f"{posterior.stopped} after {posterior.steps:,} steps")
    return "\n".join(lines)
