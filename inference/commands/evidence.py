"""``pyro-models evidence``: log p(x) of trained pairs, with the σ that suits validation data."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from inference import figures
from inference.commands.command import OnRun, command
from inference.commands.files import free_path, printed_after, save_figure
from inference.commands.quantities import Names, chosen
from inference.commands.titles import titles_of
from inference.declared import takes
from inference.evaluation import Comparison, SigmaCurve, bracket, evaluate_evidence, sigma_curve
from inference.evaluation import compare as compare_evaluations
from inference.evaluation import kernel_density as density_of_kernels
from inference.evaluation.evaluated import evaluated_split
from inference.evaluation.quantity import quantities_of
from inference.evaluation.sigmas import SIGMAS
from inference.evaluation.spherical import fixed_sigma, why_not_spherical
from pyro_models.contract import fulfills
from pyro_models.counts import check_counts
from pyro_models.data import Split
from pyro_models.files import holding_folder, write_atomically
from pyro_models.observed import Observed, observed
from pyro_models.pair import Classifies, Pair

__all__ = ["evidence"]

_FILES = ("evidence.csv", "evidence.md", "sigma.png")


@command
@takes(OnRun)
def evidence(
    runs: list[str],
    sigmas: list[float] | None = None,
    limit: int = 100,
    num_validation: int = 100,
    num_simulated: int = 0,
    kernel_samples: int = 0,
    method: Literal["best", "exact", "quadrature", "importance", "annealing"] = "best",
    num_particles: int = 1000,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    num_leapfrog: int = 10,
    schedule: Literal["sigmoidal", "linear", "geometric"] = "sigmoidal",
    out: str | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Comparison:
    """Find log p(x) of trained pairs, such as GANs, whose σ is then chosen on validation data.

    Args:
        runs: Run folders.
        options: One of :class:`OnRun`.
        sigmas: Values of σ of N(G(z), σ²), e.g. [0.05, 0.07, 0.1, 0.14, 0.2, 0.28]; log p(x) is
            that at the best on validation data. The σ of the run unless given.
        limit: Use only the first so many data.
        num_validation: Number of validation data that σ is chosen on.
        num_simulated: Bound the error of annealing on so many simulated data (BDMC).
        kernel_samples: Number of samples of a kernel density, to stand beside; it is no log p(x).
        method: How log p(x) is found; best: exact, or a grid for two latents, or annealing.
        num_particles: Number of particles K of importance sampling.
        num_chains: Number of chains of annealing, per datum.
        num_temperatures: Number of temperatures of annealing.
        num_leapfrog: Leapfrog steps of annealing at each temperature.
        schedule: How temperatures are spaced; geometric suits a small σ.
        out: Folder for evidence.csv, evidence.md and, with sigmas, sigma.png.
        workers: Processes that share log p(x), one thread or GPU each; this one unless given.
        resume: Folder where finished blocks are kept; the same command goes on after a kill.
        quantities: Names with commas between of what is shown, such as
            log_likelihood,kernel_density; all that there are unless given.
    """
    on = OnRun(limit=limit, **options)
    wanted = chosen(quantities, quantities_of("comparison"))
    check_counts(least=0, num_simulated=num_simulated, kernel_samples=kernel_samples)
    check_counts(num_validation=num_validation)

    targets = [free_path(f"{out}/{name}", force=on.force) for name in _FILES] if out else []
    of_chains: dict[str, Any] = {
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "num_leapfrog": num_leapfrog,
        "schedule": schedule,
        "seed": on.seed,
        "workers": workers,
    }
    opened = [on.open(run) for run in runs]
    if sigmas is not None and all(why_not_spherical(pair) for pair, _ in opened):
        fixed_sigma(opened[0][0])  # says why
    names = [Path(run).name for run in runs]
    names = names if len(set(names)) == len(names) else runs
    rows, curves, said = [], dict[str, SigmaCurve](), []
    for i, (run, (own, images)) in enumerate(zip(names, opened, strict=True)):
        kept = {n: resume and Path(resume) / f"{i}-{n}" for n in ("sigma", "evidence", "bracket")}
        name, pair, kernels = run, own, None
        if sigmas is not None or kernel_samples:
            of: dict[str, Any] = {"seed": on.seed, "split": "validation", "limit": num_validation}
            validation = _given(pair, evaluated_split(pair, images, **of))
        if sigmas is not None and (why := why_not_spherical(pair)):
            said.append(f"{name} is {why}")
        elif sigmas is not None:
            how = {**of_chains, "resume": kept["sigma"], "progress": on.progress}
            curves[run] = sigma_curve(pair, validation, sigmas, **how)
            pair = curves[run].pair
            said.append(f"{name}: {curves[run]}")
            name = f"{name}, σ {curves[run].sigma:g}"
        if kernel_samples:
            of = {"seed": on.seed, "split": on.split, "limit": limit}
            x = replace(evaluated_split(pair, images, **of), y=None)
            how = {"num_samples": kernel_samples, "seed": on.seed, "progress": on.progress}
            how["sigmas"] = SIGMAS if sigmas is None else sigmas
            kernels = density_of_kernels(pair, x, validation=validation, **how)
        how = {**of_chains, **on.scored, "method": method, "num_particles": num_particles}
        how |= {"name": name, "kernel_density": kernels, "resume": kept["evidence"]}
        rows.append(evaluate_evidence(pair, images, **how))
        if num_simulated:
            found = bracket(pair, num_data=num_simulated, resume=kept["bracket"], **of_chains)
            said.append(f"{name}: {found}")
    shown = dict(zip(names, (row.name for row in rows), strict=True))
    titles = titles_of(zip(names, (own for own, _ in opened), strict=True), shown=shown)
    table = compare_evaluations(rows, quantities=wanted, titles=titles)
    with (
        printed_after(lambda: "\n\n".join([*said, table.to_text()])),
        holding_folder(Path(out)) if out else nullcontext(),
    ):
        if targets:
            csv, markdown, picture = targets
            write_atomically(csv, table.to_csv())
            write_atomically(markdown, table.to_markdown())
            if curves:
                save_figure(figures.sigma_curves(curves), picture)
    return table


def _given(pair: Pair, found: Split) -> Observed:
    """Prepared data as the pair takes them: with what is seen, and labels if it needs them."""
    needed = pair.num_classes is not None and not fulfills(pair, Classifies)
    return observed(pair, found.x, y=found.y if needed else None, mask=found.mask)
