"""``pyro-models complete``: half-seen images of a trained pair filled in, looked at and scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from inference import figures
from inference.commands.command import OnHalfSeen, command
from inference.commands.files import free_path, printed_after, save_arrays, save_figure
from inference.commands.impute import impute
from inference.commands.quantities import Names, chosen
from inference.declared import takes
from inference.evaluation import Comparison, compare, evaluate_completion
from inference.evaluation.quantity import quantities_of
from inference.learning import Run
from inference.posterior import Imputation
from inference.posterior import complete as complete_data
from pyro_models import UsageError
from pyro_models.files import write_atomically

__all__ = ["complete"]

_LOG_PROB = "conditional_log_likelihood"


@command
@takes(OnHalfSeen)
def complete(
    run: str,
    mask: str = "left",
    guide: str = "best",
    limit: int = 16,
    num_samples: int = 4,
    num_latents: int = 100,
    pixels: Literal["sample", "mean"] = "sample",
    log_prob: bool = False,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    out: str = "completed.png",
    table: str | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Comparison | Imputation:
    """Complete half-seen images: a picture of them, and a table of how well it went.

    A run of a table has its empty cells filled in, as by ``pyro-models impute``.

    Args:
        run: Run folder.
        options: One of :class:`OnHalfSeen`.
        mask: What is seen: left, right, top, bottom, top_left (and so on), random, or a .npy file.
        guide: exact, trained, a guide that is fitted to each image (normal, ...), encoder_zeros
            (wrong, to compare with), or best, the first of these that there is.
        limit: How many images, from the first.
        num_samples: Completions drawn of each.
        num_latents: Draws of the latents that the mean completion is averaged over.
        pixels: Draw the pixels of these, or show their means.
        log_prob: Also estimate log p(unseen | seen), in nats per image; that may take long.
        num_chains: Chains of annealed importance sampling for it, where it is not exact.
        num_temperatures: Temperatures of the same.
        out: Figure (.png, .pdf, .svg), or .npz with the arrays mean, samples, x and mask.
        table: Markdown or CSV file (.md, .csv) for the table.
        workers: Processes that share log_prob, one thread or GPU each; this one unless given.
        resume: Folder where finished blocks are kept; the same command goes on after a kill.
        quantities: Names with commas between of what is shown, of mse_unseen and
            conditional_log_likelihood, which is then estimated; all that there are unless given.
    """
    wanted = chosen(quantities, quantities_of("comparison"), among=(_LOG_PROB, "mse_unseen"))
    log_prob = log_prob or _LOG_PROB in (wanted or ())
    if Run(run).table is not None:
        if wanted is not None:
            raise UsageError(f"{run} was trained on a table, whose empty cells have no scores")
        own = {name: value for name, value in options.items() if name != "fraction"}
        target_of_table = "completed.csv" if out == "completed.png" else out
        return impute(run, guide=guide, out=target_of_table, **own)
    on = OnHalfSeen(mask=mask, limit=limit, **options)
    target = free_path(out, force=on.force, endings=".png, .pdf, .svg or .npz")
    listing = free_path(table, force=on.force, option="table", endings=".md or .csv")
    pair, images = on.open(run)
    prepared = on.prepared(pair, images)
    completed = complete_data(
        pair,
        prepared,
        mask,
        guide=guide,
        num_samples=num_samples,
        num_latents=num_latents,
        pixels=pixels,
        fraction=on.fraction,
        seed=on.seed,
        progress=on.progress,
    )
    settings: dict[str, Any] = {**on.scored, "fraction": on.fraction}
    scored = evaluate_completion(
        pair,
        images,
        mask,
        name=f"{Path(run).name}, {completed.guide}",
        log_prob=log_prob,
        guide=completed.posterior or completed.guide,
        complete_options={"num_latents": num_latents},
        evidence_options={
            "num_chains": num_chains,
            "num_temperatures": num_temperatures,
            "workers": workers,
            "resume": resume,
        },
        **settings,
    )
    mean = images.prepared("train", seed=on.seed).x.mean(0)
    settings["progress"] = False
    nobody = evaluate_completion(mean, images, mask, name="mean training image", **settings)
    found = compare([scored, nobody], quantities=wanted)
    lines = [found.to_text()]
    if log_prob and scored.absent and wanted is None:  # a column of no row goes without a word
        lines.append(f"log p(unseen | seen): none – {' '.join(scored.absent.values())}")
    with printed_after(lambda: "\n".join(lines)):
        if listing is not None:
            text = found.to_csv() if listing.suffix == ".csv" else found.to_markdown()
            write_atomically(listing, text)
        if target.suffix == ".npz":
            arrays = {n: getattr(completed, n) for n in ("mean", "samples", "x", "mask")}
            arrays |= {"precision": completed.precision} if completed.precision else {}
            save_arrays(target, arrays, completed.identity)
        else:
            shown = figures.completions(completed, prepared.x, rows=limit, samples=num_samples)
            save_figure(shown, target)
    print(f"{len(completed)} completions of {Path(run).name} in {target}")
    return found
