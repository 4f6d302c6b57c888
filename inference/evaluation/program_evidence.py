"""log p(x) of a program: as given, exact, by quadrature, or annealed between two bounds."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inference.evaluation.annealing import Annealed, anneal, relative_error
from inference.evaluation.bracket import reversed_weights
from inference.evaluation.evidence import Evidence, evidence
from inference.evaluation.program_table import Number, ProgramGuideScores
from inference.evaluation.quadrature import MOST_DIMENSIONS
from inference.evaluation.quantity import Kind
from inference.evaluation.scores import contradiction
from inference.evaluation.tightest import LowerBound, tightest
from inference.particles import log_mean_exp
from inference.posterior.guides.draws import DrawsGuide
from inference.posterior.log_density import LogDensity, condition
from inference.programs import ProgramPair, ProgramPosterior
from inference.programs.pair import SITE
from pyro_models import UsageError

__all__ = ["annealed_evidence", "known_evidence", "with_kl"]

ANNEALING = {"num_chains": 64, "num_temperatures": 200, "num_leapfrog": 5}


def known_evidence(
    pair: ProgramPair,
    posteriors: Mapping[str, ProgramPosterior],
    given: float | Tensor | Evidence | None,
) -> Evidence | None:
    """log p(x) as given, as a guide knows it, or by quadrature."""
    if isinstance(given, Evidence):
        return given
    if given is not None:
        return Evidence.of_caller(torch.tensor([float(given)], dtype=torch.float64, device="cpu"))
    kinds: dict[str, Kind] = {"exact": "exact", "quadrature": "estimate"}
    for name, kind in kinds.items():
        value = getattr(posteriors.get(name), "log_evidence", None)
        if value is not None:
            at = torch.tensor([float(value)], dtype=torch.float64, device="cpu")
            return Evidence(at, torch.zeros_like(at), None, kind, name, None)
    if pair.program.dim > MOST_DIMENSIONS:
        return None
    try:
        return evidence(pair, pair.data, method="quadrature")
    except UsageError:  # a grid cannot resolve it
        return None


def annealed_evidence(
    pair: ProgramPair,
    rows: Sequence[ProgramGuideScores],
    reference: ProgramPosterior | str,
    options: Mapping[str, Any],
) -> tuple[Evidence | str, Number | None]:
    """log p(x) by annealing, and an upper bound if the reference has draws to anneal back from.

    Chains begin at Normals about the paths that Pathfinder has found, half as wide again.
    """
    start, how = pair.chain_start, {**ANNEALING, **options}
    if start is None and pair.program.improper:
        return "the prior is improper, and there is nothing else to anneal from", None
    target = condition(pair, pair.data, guide=start)
    try:
        forward = anneal(target, **how)
    except UsageError:
        raise
    except Exception as error:  # whatever a model of someone else raises
        return f"annealing failed: {' '.join(str(error).split())}", None
    settings = {
        "T =": how["num_temperatures"],
        "leapfrog steps": how["num_leapfrog"],
        "acceptance": round(float(forward.acceptance.mean()), 2),
    }
    found = Evidence(
        forward.estimate,
        forward.standard_error,
        forward.effective_sample_size,
        "lower bound",
        "annealing",
        int(how["num_chains"]),
        settings,
        seed=int(how["seed"]),
    )
    bounds = [_bound(row) for row in rows if "importance_bound" in row.numbers]
    return tightest(found, bounds), _upper(pair, target, forward, reference, how)


def _bound(row: ProgramGuideScores) -> LowerBound:
    number = row.numbers["importance_bound"]
    both = torch.tensor([[number.value], [number.error]], dtype=torch.float64, device="cpu")
    return f"L_K of {row.name}", both[0], both[1], None


def _upper(
    pair: ProgramPair,
    target: LogDensity,
    forward: Annealed,
    reference: ProgramPosterior | str,
    how: Mapping[str, Any],
) -> Number | None:
    """Chains that anneal back from draws of the reference: an upper bound in expectation."""
    if isinstance(reference, str) or not isinstance(reference.posterior.guide, DrawsGuide):
        return None
    drawn = reference.posterior.sample(how["num_chains"], seed=how["seed"])[SITE]
    u = pair.standard(reference.pair.reals(drawn))  # (C, 1, D)
    again = {n: how[n] for n in ("num_leapfrog", "seed")}
    inverse = -reversed_weights(target, u, forward, **again)
    return Number(float(-log_mean_exp(inverse)), float(relative_error(inverse)), "upper bound")


def with_kl(row: ProgramGuideScores, found: Evidence | str) -> ProgramGuideScores:
    """The row with KL(q ‖ p) = log p(x) − ELBO, or why it is not given."""
    elbo = row.numbers.get("elbo")
    if elbo is None:
        return row
    if isinstance(found, str):
        return dataclasses.replace(row, absent={**row.absent, "kl": f"log p(x): {found}"})
    log_p, noise = float(found.value[0]), float(found.standard_error[0])
    error = math.hypot(elbo.error, 0.0 if math.isnan(noise) else noise)
    wrong = contradiction((f"the ELBO of {row.name}", elbo.value), ("log p(x)", log_p), error=error)
    if wrong is not None:
        return dataclasses.replace(row, absent={**row.absent, "kl": wrong})
    if not math.isfinite(elbo.value):
        return dataclasses.replace(row, absent={**row.absent, "kl": "the ELBO is not finite"})
    kind: Kind = "lower bound" if found.kind == "lower bound" else "estimate"
    kl = Number(log_p - elbo.value, error, kind)
    return dataclasses.replace(row, numbers={**row.numbers, "kl": kl})
