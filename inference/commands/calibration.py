"""``pyro-models calibrate``: whether posteriors are right over data that the model simulates."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from inference import figures
from inference.commands.command import OnHalfSeen, command, command_of_models
from inference.commands.files import free_path, printed_after, save_figure
from inference.commands.model_file import OnModel
from inference.commands.quantities import Names, listed
from inference.declared import takes
from inference.evaluation.calibration import Calibration
from inference.evaluation.calibration import calibrate as calibrated
from pyro_models.files import holding_folder, write_atomically

__all__ = ["calibrate", "calibrate_model"]

_FILES = ("calibration.csv", "calibration.md", "ranks.png", "coverage.png")
_SUCH_AS = "tau,log_likelihood"


@command
@takes(OnHalfSeen, without=("data", "split", "limit"))
def calibrate(
    run: str,
    guide: str | dict[str, Any] = "encoder",
    num_simulations: int = 200,
    num_draws: int = 99,
    level: float = 0.05,
    out: str | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Calibration:
    """Calibrate a guide: infer simulated data, and see where the truth lies among the draws.

    Args:
        run: Run folder; or a Pyro model, FILE.py:NAME, which has options of its own (--help).
        options: One of :class:`OnHalfSeen`.
        guide: Name of a guide, fitted to each simulated datum but for the encoder: {guides}.
        num_simulations: How many data are simulated.
        num_draws: Posterior draws L of each, among which the truth is ranked.
        level: The chance that a right posterior is said to be miscalibrated.
        out: Folder for calibration.csv, calibration.md, ranks.png and coverage.png.
        workers: Processes that share the simulations, one thread each; this one unless given.
        resume: Folder where finished blocks are kept; the same command goes on after a kill.
        quantities: Names with commas between of what is shown: latents such as tau, or z[3] of z,
            log_likelihood, log_q and tarp; all unless given. Tests stay those of all.
    """
    on = OnHalfSeen(**options)
    targets = _targets(out, force=on.force)
    pair, _ = on.open(run)
    seen: dict[str, Any] = {}
    if on.mask is not None:
        seen = {"mask": on.mask, "fraction": on.fraction}
    found = calibrated(
        pair,
        guide,
        num_simulations=num_simulations,
        num_draws=num_draws,
        level=level,
        seed=on.seed,
        progress=on.progress,
        workers=workers,
        resume=resume,
        quantities=listed(quantities, such_as=_SUCH_AS),
        **seen,
    )
    _written(found, targets, f"{run}, simulated data")
    return found


@command_of_models
@takes(OnModel)
def calibrate_model(
    model: str,
    guide: str | dict[str, Any] = "full_covariance",
    guide_options: dict[str, Any] | None = None,
    num_simulations: int = 200,
    num_draws: int = 99,
    level: float = 0.05,
    max_steps: int = 2000,
    out: str | None = None,
    workers: int | None = None,
    resume: str | None = None,
    quantities: Names = None,
    **options: Any,
) -> Calibration:
    """Calibrate a guide of any Pyro model on data that the model simulates.

    Args:
        model: Pyro model in a file, FILE.py:NAME.
        options: One of :class:`OnModel`; the table gives shapes, and values that are no data.
        guide: Name of a guide: {program_guides}.
        guide_options: Options of the guide, such as {num_samples: 500, num_chains: 4}.
        num_simulations: How many data sets are simulated.
        num_draws: Posterior draws L of each, among which the truth is ranked.
        level: The chance that a right posterior is said to be miscalibrated.
        max_steps: Steps after which a fit stops in any case.
        out: Folder for calibration.csv, calibration.md, ranks.png and coverage.png.
        workers: Processes that share the simulations, one thread each; this one unless given.
        resume: Folder where finished blocks are kept; the same command goes on after a kill.
        quantities: Names with commas between of what is shown: latents such as tau, or z[3] of z,
            log_likelihood, log_q and tarp; all unless given. Tests stay those of all.
    """
    on = OnModel(**options)
    targets = _targets(out, force=on.force)
    program = on.open(model)
    found = calibrated(
        program,
        guide=guide,
        guide_options=guide_options,
        num_simulations=num_simulations,
        num_draws=num_draws,
        level=level,
        max_steps=max_steps,
        seed=on.seed,
        progress=on.progress,
        workers=workers,
        resume=resume,
        quantities=listed(quantities, such_as=_SUCH_AS),
    )
    _written(found, targets, on.title(model, program))
    return found


def _targets(out: str | None, *, force: bool) -> list[Path]:
    return [free_path(f"{out}/{name}", force=force) for name in _FILES] if out else []


def _written(found: Calibration, targets: list[Path], title: str) -> None:
    """Print a calibration after it is written."""
    with printed_after(lambda: f"{title}\n\n{found.to_text()}"):
        if targets:
            csv, markdown, ranks, coverage = targets
            with holding_folder(csv.parent):
                write_atomically(csv, found.to_csv())
                write_atomically(markdown, found.to_markdown())
                save_figure(figures.rank_histograms(found), ranks)
                save_figure(figures.expected_coverage(found), coverage)
