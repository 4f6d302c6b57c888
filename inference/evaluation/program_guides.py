"""Which guide for this model, and may it be believed? Several guides of one Pyro model, scored."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from inference.evaluation.annealing import relative_error
from inference.evaluation.evidence import Evidence
from inference.evaluation.program_evidence import annealed_evidence, known_evidence, with_kl
from inference.evaluation.program_moments import (
    Moments,
    chains_of,
    departures,
    moments,
    moments_of,
)
from inference.evaluation.program_table import Number, ProgramGuideComparison, ProgramGuideScores
from inference.evaluation.program_words import DIVERGENT
from inference.mcmc.diagnostics import bulk_ess, r_hat
from inference.pareto import pareto_k_hat
from inference.particles import checked_count, effective_sample_size, log_mean_exp
from inference.posterior.fitted import NOT_FITTED
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.optimization import CONVERGED
from inference.programs import Program, ProgramPair, ProgramPosterior
from inference.programs.guides import program_family
from inference.programs.infer import infer_program, program_of, standardized
from inference.progress import over, showing
from pyro_models import UsageError
from pyro_models.seeds import check_seed

__all__ = ["compare_program_guides"]

GUIDES = ("normal", "full_covariance", "laplace", "nuts")
REFERENCE = {"num_samples": 500, "num_chains": 8, "warmup": 400}
"""Chains of the reference."""
_DISAGREE = 1.05  # R̂ above which chains are no reference
_NO_DENSITY = "no density: there is no log q, so no bound and no weight"
_OF_WEIGHTS = ("elbo", "importance_bound", "kl", "k_hat")


def compare_program_guides(
    model: Program | Callable[..., Any],
    *args: Any,
    guides: Sequence[Any] = GUIDES,
    reference: str | ProgramPosterior | Mapping[str, Tensor] | None = None,
    log_evidence: float | Tensor | Evidence | None = None,
    num_particles: int = 1000,
    infer_options: Mapping[str, Any] | None = None,
    evidence_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    **kwargs: Any,
) -> ProgramGuideComparison:
    """Score guides of a Pyro model; see :func:`inference.evaluation.compare_guides`."""
    check_seed(seed)
    if isinstance(guides, str):
        raise UsageError(f"guides is a list of guides: give [{guides!r}]")
    if not guides:
        raise UsageError("there is nothing to compare: give at least one guide")
    if checked_count(num_particles) < 2:
        raise UsageError(f"num_particles (K) must be at least 2; got {num_particles}")
    program = program_of(model, args, kwargs)
    names = [
        g.name if isinstance(g, ProgramPosterior) else program_family(g, {})[0] for g in guides
    ]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two guides are named {twice!r}: rows need names of their own")
    options = {"seed": seed, "progress": progress, **(infer_options or {})}
    known = _given_moments(reference, program)

    def fit(guide: Any) -> ProgramPosterior:
        if not isinstance(guide, ProgramPosterior):
            own = {"guide_options": REFERENCE} if guide == "nuts" else {}
            return infer_program(program, guide=guide, **{**own, **options})
        if guide.program.checksum != program.checksum:
            raise UsageError(f"the posterior {guide.name} is of another model or other data")
        return guide

    for guide in guides:
        if isinstance(guide, ProgramPosterior):
            fit(guide)
    found: dict[str, ProgramPosterior | str] = {}
    fitting = over(guides, unit="guides", shown=progress)
    for name, guide in zip(names, fitting, strict=True):
        try:
            found[name] = fit(guide)
        except Exception as error:  # whatever a guide of someone else, or its density, raises
            found[name] = " ".join(str(error).split()) or type(error).__name__
    posteriors = {name: q for name, q in found.items() if isinstance(q, ProgramPosterior)}
    of, notes = _reference(reference, posteriors, fit), []
    if known is None and isinstance(of, ProgramPosterior):
        known = moments_of(of)
        notes += _doubts(of)
    rows = [_row(name, q, num_particles, seed) for name, q in found.items()]
    pair = _pair(posteriors, program, seed)
    evidence_of: Evidence | str | None = known_evidence(pair, posteriors, log_evidence)
    upper = None
    if evidence_of is None:
        how = {"seed": seed, **(evidence_options or {})}
        with showing(progress):
            evidence_of, upper = annealed_evidence(pair, rows, of, how)
    if program.improper:
        notes.append(
            f"The prior of {', '.join(program.improper)} does not integrate to 1: log p(x) is up "
            "to a constant, KL and all else are not."
        )
    rows = [
        _against(with_kl(row, evidence_of), known, of) if row.posterior else row for row in rows
    ]
    return ProgramGuideComparison(
        tuple(rows),
        evidence_of,
        known,
        of if isinstance(of, str) else of.name,
        num_particles,
        seed,
        program.name,
        upper,
        _draws(reference, of),
        tuple(notes),
    )


def _pair(posteriors: Mapping[str, ProgramPosterior], program: Program, seed: int) -> ProgramPair:
    """The program as a pair, in units that some fit has found already."""
    first = next(iter(posteriors.values()), None)
    return first.pair if first is not None else standardized(program, seed=seed)[0]


# moments -----------------------------------------------------------------------------------------


def _given_moments(reference: Any, program: Program) -> Moments | None:
    """Moments of draws that the caller gives by site."""
    if not isinstance(reference, Mapping):
        return None
    missing = [name for name in program.latents if name not in reference]
    if missing:
        raise UsageError(f"reference draws of the latent {', '.join(missing)} are missing")
    draws = {}
    for name, site in program.latents.items():
        values = torch.as_tensor(reference[name], dtype=site.dtype)
        if values.shape[1:] != site.shape or len(values) < 2:
            raise UsageError(
                f"reference draws of {name!r} are of the shape (n, "
                f"{', '.join(map(str, site.shape))}) with n ≥ 2; got {tuple(values.shape)}"
            )
        draws[name] = values
    return moments(draws)


def _reference(
    reference: Any, posteriors: Mapping[str, ProgramPosterior], fit: Callable[[Any], Any]
) -> ProgramPosterior | str:
    """What guides are compared with: as asked for, or the best of them, or chains of its own."""
    if isinstance(reference, Mapping):
        return "the draws given"
    if isinstance(reference, ProgramPosterior):
        fitted: ProgramPosterior = fit(reference)
        return fitted
    if isinstance(reference, str) and reference in posteriors:
        return posteriors[reference]
    for name in ("exact", "quadrature", "nuts"):
        if reference is None and name in posteriors:
            return posteriors[name]
    try:
        fitted = fit(reference or "nuts")
    except Exception as error:  # whatever a model of someone else raises
        if reference is not None:
            raise
        return f"chains could not be drawn: {' '.join(str(error).split())}"
    return fitted


def _draws(reference: Any, of: ProgramPosterior | str) -> Mapping[str, Tensor] | None:
    """Draws of the reference by site."""
    if isinstance(of, ProgramPosterior):
        return of.sample(2000)
    return reference if isinstance(reference, Mapping) else None


def _doubts(of: ProgramPosterior) -> list[str]:
    """What makes a reference doubtful."""
    guide = of.posterior.guide
    if not isinstance(guide, DrawsGuide) or not guide.num_chains:
        return []
    diverged, worst, _, total = _of_chains(of)
    if diverged.value < DIVERGENT * total and worst.value <= _DISAGREE:
        return []
    return [
        f"The reference {of.name} is doubtful itself: {int(diverged.value):,} of {total:,} "
        f"transitions diverged, R̂ {worst.value:.2f} ({worst.where}); errors against it say little."
    ]


def _against(
    row: ProgramGuideScores, known: Moments | None, of: ProgramPosterior | str
) -> ProgramGuideScores:
    """The row with what its moments differ from the reference's."""
    assert row.posterior is not None
    if row.posterior is of:
        absent = dict.fromkeys(("mean_departure", "sd_departure"), "the reference itself")
        return dataclasses.replace(row, is_reference=True, absent={**row.absent, **absent})
    if known is None:
        return row
    off = departures(moments_of(row.posterior), known)
    numbers = {f"{what}_departure": Number(*_worst(off.worst(what))) for what in ("mean", "sd")}
    return dataclasses.replace(row, departures=off, numbers={**row.numbers, **numbers})


def _worst(found: tuple[float, float, str]) -> tuple[float, float, Any, str]:
    return found[0], found[1], "estimate", found[2]


# weights and chains ------------------------------------------------------------------------------


def _row(name: str, q: ProgramPosterior | str, count: int, seed: int) -> ProgramGuideScores:
    """What is known of a guide, or why there is none."""
    if isinstance(q, str):
        return ProgramGuideScores(name, failed=q)
    try:
        return _scored(q, count, seed, name=name)
    except Exception as error:  # of its density
        return ProgramGuideScores(name, failed=" ".join(str(error).split()) or type(error).__name__)


def _scored(q: ProgramPosterior, count: int, seed: int, *, name: str) -> ProgramGuideScores:
    """What K weights of a guide say, or its chains."""
    reason = "" if q.stopped in (CONVERGED, NOT_FITTED) else q.stopped
    numbers = {
        "seconds": Number(q.seconds),
        "num_parameters": Number(q.num_parameters, kind="exact"),
    }
    row = ProgramGuideScores(name, numbers, posterior=q, unfinished=reason)
    guide, proposal = q.posterior.guide, q.posterior.proposal
    absent = dict.fromkeys((*_OF_WEIGHTS, "ess_per_draw", "ess_per_second"), _NO_DENSITY)
    if isinstance(guide, DrawsGuide) and guide.num_chains:
        diverged, worst, least, total = _of_chains(q)
        numbers |= {
            "divergences": diverged,
            "r_hat": worst,
            "chain_ess": least,
            "ess_per_draw": Number(least.value / total),
            "ess_per_second": Number(least.value / q.seconds),
        }
        absent = {n: why for n, why in absent.items() if n not in numbers}
        return dataclasses.replace(
            row, numbers=numbers, absent=absent, num_draws=total, num_chains=guide.num_chains
        )
    if proposal is not None:
        return dataclasses.replace(
            row,
            numbers={**numbers, "k_hat": Number(float(proposal.k_hat(count, seed=seed)))},
            absent={n: why for n, why in absent.items() if n != "k_hat"},
        )
    if not q.density:
        return dataclasses.replace(row, absent=absent)
    began = time.perf_counter()
    log_w = q.log_weights(count, seed=seed)
    seconds = q.seconds + time.perf_counter() - began
    k_hat = float(pareto_k_hat(log_w.unsqueeze(1)))
    log_w = log_w.double()
    size = float(effective_sample_size(log_w.unsqueeze(1)))
    bound, error = log_mean_exp(log_w.unsqueeze(1)), relative_error(log_w.unsqueeze(1))
    numbers |= {
        "elbo": Number(float(log_w.mean()), float(log_w.std()) / math.sqrt(count), "lower bound"),
        "importance_bound": Number(float(bound), float(error), "lower bound"),
        "ess_per_draw": Number(size / count),
        "ess_per_second": Number(size / seconds),
    }
    if math.isnan(k_hat):
        finite = bool(log_w.isfinite().all())
        few = "too few particles to estimate k̂" if finite else "weights that are not finite"
        return dataclasses.replace(row, numbers=numbers, absent={"k_hat": few})
    return dataclasses.replace(row, numbers={**numbers, "k_hat": Number(k_hat)})


def _of_chains(q: ProgramPosterior) -> tuple[Number, Number, Number, int]:
    """Divergences, the worst R̂ and the least bulk ESS with their sites, and how many draws."""
    guide = q.posterior.guide
    assert isinstance(guide, DrawsGuide)
    draws, stats = chains_of(q), guide.chains()[1]
    worst, least = Number(-math.inf), Number(math.inf)
    for name, values in draws.items():
        agreed = np.nan_to_num(r_hat(values), nan=math.inf)
        sizes = np.nan_to_num(bulk_ess(values))
        worst = max(worst, Number(float(agreed.max()), where=name), key=lambda n: n.value)
        least = min(least, Number(float(sizes.min()), where=name), key=lambda n: n.value)
    diverging = stats["diverging"]
    return Number(float(diverging.sum()), kind="exact"), worst, least, diverging.numel()
