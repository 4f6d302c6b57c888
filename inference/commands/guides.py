"""``pyro-models guides``: several guides of a trained pair, or of any Pyro model, compared."""

from __future__ import annotations

from typing import Any, Literal

from inference import figures
from inference.commands.command import OnHalfSeen, command, command_of_models
from inference.commands.files import free_path, printed_after, save_figure
from inference.commands.model_file import OnModel
from inference.commands.quantities import Names, chosen
from inference.declared import takes
from inference.evaluation import GuideComparison, compare_guides
from inference.evaluation.evaluated import evaluated_split
from inference.evaluation.program_guides import compare_program_guides
from inference.evaluation.program_table import COLUMNS, ProgramGuideComparison
from inference.evaluation.quantity import quantities_of
from inference.posterior.guides import guide_family
from pyro_models.contract import fulfills
from pyro_models.data.masks import mask_name, seen_pixels
from pyro_models.files import holding_folder, write_atomically
from pyro_models.models import title_of
from pyro_models.observed import Observed
from pyro_models.pair import Classifies

__all__ = ["guides", "guides_model"]


@command
@takes(OnHalfSeen)
def guides(
    run: str,
    guides: list[str] = ["encoder", "normal", "full_covariance"],  # noqa: B006 - jsonargparse copies
    limit: int = 100,
    num_particles: int = 1000,
    method: Literal["best", "exact", "quadrature", "importance", "annealing"] = "best",
    num_temperatures: int = 1000,
    num_chains: int = 16,
    start: str | None = None,
    max_steps: int = 2000,
    out: str | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> GuideComparison:
    """Compare guides of a trained pair: bounds, gaps to log p(x), k-hat, cost, paired differences.

    Args:
        run: Run folder; or a Pyro model, FILE.py:NAME, which has options of its own (--help).
        options: One of :class:`OnHalfSeen`.
        guides: Names of guides, e.g. [encoder, normal, full_covariance], of: {guides}.
        limit: Use only the first so many data.
        num_particles: Number K of importance weights per datum.
        method: How log p(x) is found; best: exact, or a grid for two latents, or annealing.
        num_temperatures: Number of temperatures of annealing.
        num_chains: Number of chains of annealing, per datum.
        start: Guide that annealing starts at, such as encoder (the prior unless given), or that
            importance sampling draws from (the pair's own unless given).
        max_steps: Steps after which the fit of a datum stops in any case.
        out: Folder for guides.csv, guides.md and guides.png.
        workers: Processes that share log p(x), one thread or GPU each; this one unless given.
        resume: Folder where finished blocks are kept; the same command goes on after a kill.
        quantities: Names with commas between of what is shown, such as elbo,gap, of
            {of guides}; all unless given.
    """
    on = OnHalfSeen(limit=limit, **options)
    wanted = chosen(quantities, quantities_of("guides"))
    names = ("guides.csv", "guides.md", "guides.png")
    targets = [free_path(f"{out}/{name}", force=on.force) for name in names] if out else []
    for name in (*guides, *([] if start is None else [start])):
        guide_family(name)
    pair, images = on.open(run)
    prepared = evaluated_split(pair, images, split=on.split, limit=limit, seed=on.seed)
    needs_labels = pair.num_classes is not None and not fulfills(pair, Classifies)
    seen, of = None, ""
    if on.mask is not None:
        drawn: dict[str, Any] = {"fraction": on.fraction, "seed": on.seed}
        seen = seen_pixels(on.mask, pair.data_shape, num_data=len(prepared), **drawn)
        of = f", seen: {mask_name(on.mask, fraction=on.fraction)}"
    table = compare_guides(
        pair,
        Observed.unchecked(prepared.x, mask=prepared.mask),
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
            "workers": workers,
            "resume": resume,
        },
        seed=on.seed,
        progress=on.progress,
    ).showing(wanted or ())
    of = f"{images.name} {on.split}, the first {len(prepared):,}, {images.preparation_in_words}{of}"
    with printed_after(lambda: f"{title_of(pair)}; {of}\n\n{table.to_text()}"):
        if targets:
            csv, markdown, picture = targets
            with holding_folder(csv.parent):
                write_atomically(csv, table.to_csv())
                write_atomically(markdown, table.to_markdown())
                if any(row.value("gap") is not None for row in table.rows):
                    save_figure(figures.guide_gaps(table), picture)
    return table


@command_of_models
@takes(OnModel)
def guides_model(
    model: str,
    guides: list[str] = ["normal", "full_covariance", "laplace", "nuts"],  # noqa: B006 - as above
    num_particles: int = 1000,
    reference: str | None = None,
    log_evidence: float | None = None,
    num_temperatures: int = 200,
    num_chains: int = 64,
    max_steps: int = 2000,
    out: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> ProgramGuideComparison:
    """Compare guides of any Pyro model: bounds, KL, k-hat, errors of moments, and what to believe.

    Args:
        model: Pyro model in a file, FILE.py:NAME.
        options: One of :class:`OnModel`.
        guides: Names of guides, e.g. [normal, full_covariance, nuts], of: {program_guides}.
        num_particles: Number K of importance weights.
        reference: Guide whose moments the others are compared with; exact, quadrature or nuts, the
            first of them that is compared, or else nuts, unless given.
        log_evidence: log p(x) in nats, where you know it.
        num_temperatures: Number of temperatures of annealing, where log p(x) is found by it.
        num_chains: Number of chains of annealing.
        max_steps: Steps after which a fit stops in any case.
        out: Folder for guides.csv, guides.md and marginals.png.
        quantities: Names with commas between of what is shown, such as elbo,kl, of
            {of program_guides}; all unless given.
    """
    on = OnModel(**options)
    wanted = chosen(quantities, COLUMNS)
    names = ("guides.csv", "guides.md", "marginals.png")
    targets = [free_path(f"{out}/{name}", force=on.force) for name in names] if out else []
    program = on.open(model)
    table = compare_program_guides(
        program,
        guides=guides,
        reference=reference,
        log_evidence=log_evidence,
        num_particles=num_particles,
        infer_options={"max_steps": max_steps},
        evidence_options={"num_temperatures": num_temperatures, "num_chains": num_chains},
        seed=on.seed,
        progress=on.progress,
    ).showing(wanted or ())
    with printed_after(lambda: f"{on.title(model, program)}\n\n{table.to_text()}"):
        if targets:
            csv, markdown, picture = targets
            with holding_folder(csv.parent):
                write_atomically(csv, table.to_csv())
                write_atomically(markdown, table.to_markdown())
                if any(row.departures is not None for row in table.rows):
                    save_figure(figures.guide_marginals(table, title=program.name), picture)
    return table
