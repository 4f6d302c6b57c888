"""Which guide, and what does it lose? Several guides of one pair, scored against one evidence."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from inference.evaluation.annealing import relative_error
from inference.evaluation.best_of_family import (
    BestOfFamily,
    family_of,
    family_of_fitted,
    is_better,
    is_fitted,
)
from inference.evaluation.evidence import Evidence, evidence
from inference.evaluation.guide_table import GuideComparison, GuideScores
from inference.evaluation.quantity import quantities_of
from inference.evaluation.scores import contradiction
from inference.evaluation.tightest import tightest
from inference.pareto import pareto_k_hat
from inference.particles import checked_count, effective_sample_size, log_mean_exp
from inference.posterior.guides import Family, guide_family
from inference.posterior.identity import identity_of
from inference.posterior.infer import infer
from inference.posterior.log_density import log_label_prior
from inference.posterior.optimization import DIVERGED, NON_FINITE, STEP_LIMIT
from inference.posterior.posterior import Posterior
from inference.precision import DEFAULT, at_precision
from inference.programs.door import or_program
from inference.progress import over
from inference.standard_error import error_of_mean
from pyro_models import Pair, UsageError
from pyro_models.contract import check_pair
from pyro_models.data.masks import Mask
from pyro_models.observed import Data, Labels, Observed, observed
from pyro_models.seeds import check_seed

__all__ = ["compare_guides"]

_WHOLE = "fitted to each datum: all of its gap counts as its family's"
_OPTIMISATION = "fitted to each datum: what it lacks of the best of its family is its optimisation"


@or_program("inference.evaluation.program_guides:compare_program_guides")
@at_precision
def compare_guides(
    pair: Pair,
    x: Data,
    *,
    guides: Sequence[str | Family | nn.Module | Posterior] = (
        "encoder",
        "normal",
        "full_covariance",
    ),
    mask: Mask | None = None,
    y: Labels | None = None,
    fraction: float = 0.5,
    num_particles: int = 1000,
    log_evidence: Evidence | Tensor | None = None,
    infer_options: Mapping[str, Any] | None = None,
    evidence_options: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool = False,
    precision: str = DEFAULT,
) -> GuideComparison:
    """Score guides on the same data: their bounds, and what lies between bound and evidence.

    For every guide q and datum, in nats,

        log p(x) − ELBO(q) = KL(q(z | x) ‖ p(z | x)) = [log p(x) − ELBO(q*)] + [ELBO(q*) − ELBO(q)],

    the approximation gap of its family, whose best member for this datum is q*, and the
    amortisation gap (Cremer, Li & Duvenaud 2018). q* is the same family fitted to each datum: one
    of the guides if there is one, fitted for this purpose otherwise. A guide of a family that the
    family contains (diagonal Normals are full ones) is a member too: where it is better than what
    was fitted, the rest is the optimisation's and not the family's. Guides are compared in pairs by
    ``difference``, where what an image itself does to both cancels.

    Where log p(x) is sampled, the better of all estimates at hand is taken for each datum: the L_K
    of a guide where its error is smaller than that of annealing (see
    :func:`inference.evaluation.tightest.tightest`). A gap that is negative beyond its error is said
    and not given as a number.

    ``compare_guides(model, *args, guides=[...], **kwargs)`` does the same for any Pyro model,
    called with these arguments, and returns an
    :class:`inference.evaluation.ProgramGuideComparison`: bounds and KL(q ‖ p(θ | x)), k̂, effective
    draws for each draw and each second, and what means and standard deviations differ from a
    ``reference`` in units of its standard deviations; plain words stand below. The reference is
    ``exact``, ``quadrature`` or ``nuts`` if that is one of the guides, NUTS of 8 × 500 draws
    otherwise; or the name of a guide, a posterior, or draws as ``{site: (n, \\*shape)}``. log p(x)
    is ``log_evidence`` if given, exact where a guide knows it, by quadrature up to two numbers, and
    else annealed between a lower and an upper bound. A guide that fails keeps its row, with the
    reason. Other keywords of this function have their meaning, all that it does not have are the
    model's.

    Parameters
    ----------
    pair
        A pair with a continuous latent; nothing of it changes. Or a Pyro model.
    x, mask, y, fraction
        Prepared data (B, \\*data_shape), what is seen of them, and labels, as
        :func:`pyro_models.observed.observed` takes them. With labels of a pair that infers them all
        is given y.
    guides
        Names or families for :func:`inference.posterior.infer`, or posteriors of these data from
        it, one row each.
    num_particles
        Number of particles K of every row; k̂ needs some hundreds.
    log_evidence
        log p(x) of the same data, mask, labels and weights, if it is known already, from
        :func:`inference.evaluation.evidence`, which says what it is of; found so otherwise. A
        tensor (B,) of your own is taken at your word, and the table says so.
    infer_options, evidence_options
        Further options of these two functions.
    seed, progress
        Random seed of all draws (the caller's generators do not move); show progress bars.
    precision
        ``"float32"``, ``"bfloat16"`` or ``"float64"``, see
        :func:`inference.precision.in_precision`; the table says it, and a
        posterior stays in its own.

    Raises
    ------
    UsageError
        If a guide is unknown or there is none, two have the same name, or a posterior or evidence
        is of other data.

    Examples
    --------
    >>> import torch
    >>> from pyro_models import PPCA
    >>> x = torch.randn(50, 5, generator=torch.Generator().manual_seed(0))
    >>> ppca = PPCA.maximum_likelihood(x, latent_dim=2)  # its guide is the exact posterior
    >>> found = compare_guides(ppca, x[:4], guides=["encoder", "prior"], num_particles=50)
    >>> bool(found["encoder"].gap.abs().max() < 1e-4), bool(found["prior"].gap.min() > 0.01)
    (True, True)
    """
    check_pair(pair)
    check_seed(seed)
    if isinstance(guides, str):
        raise UsageError(f"guides is a list of guides: give [{guides!r}]")
    if not guides:
        raise UsageError("there is nothing to compare: give at least one guide")
    if checked_count(num_particles) < 2:
        raise UsageError(f"num_particles (K) must be at least 2; got {num_particles}")
    data = observed(pair, x, mask=mask, y=y, fraction=fraction, seed=seed)
    names = [g.name if isinstance(g, Posterior) else guide_family(g)[0] for g in guides]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two guides are named {twice!r}: rows need names of their own")

    def fit(guide: str | Family | nn.Module | Posterior) -> Posterior:
        if not isinstance(guide, Posterior):
            options = {"seed": seed, "progress": progress, **(infer_options or {})}
            return infer(pair, data, guide=guide, **options)
        why = guide.identity.differs_from(identity_of(pair, data))
        if why is not None:
            raise UsageError(
                f"the posterior {guide.name} is of another pair or other data, or given other "
                f"pixels or labels ({why})"
            )
        return guide

    fitting = over(guides, unit="guides", shown=progress)
    posteriors = {name: fit(guide) for name, guide in zip(names, fitting, strict=True)}
    if log_evidence is None:
        options = {"seed": seed, "progress": progress, **(evidence_options or {})}
        sampled = evidence(pair, data, **options)
    else:
        sampled = _checked(log_evidence, pair, data)
    rows = {name: _bounds(p, num_particles, seed) for name, p in posteriors.items()}
    bounds = [
        (f"L_{num_particles} of {row.name}", *row.bound, row.effective_sample_size)
        for row in rows.values()
        if row.bound is not None
    ]
    found = tightest(sampled, bounds)
    best = BestOfFamily(posteriors, rows, lambda family: _bounds(fit(family), num_particles, seed))
    scored = tuple(
        _consistent(_with_gaps(row, posteriors[name], found.value, best), found)
        for name, row in rows.items()
    )
    return GuideComparison(scored, found, num_particles, seed, sampled)


def _checked(known: Evidence | Tensor, pair: Pair, data: Observed) -> Evidence:
    """Evidence that is there already, if it is of this pair's model and these data."""
    found = known if isinstance(known, Evidence) else Evidence.of_caller(known)
    if len(found) != len(data):
        raise UsageError(f"an evidence of {len(found)} data does not fit {len(data)} data")
    why = found.identity and found.identity.differs_from(identity_of(pair, data))
    if why is not None:
        raise UsageError(f"log_evidence is not of this pair's model and these data ({why})")
    return found


def _bounds(posterior: Posterior, num_particles: int, seed: int) -> GuideScores:
    """What K weights of every datum say, or why there are none."""
    milliseconds = 1000 * posterior.seconds / len(posterior)
    unfinished = sum(reason in (STEP_LIMIT, NON_FINITE, DIVERGED) for reason in posterior.stopped)
    row = GuideScores(
        posterior.name,
        milliseconds,
        posterior.num_parameters,
        unfinished=unfinished,
        precision=posterior.precision,
    )
    if not posterior.density:
        reason = "no density: there is no log q, so no bound and no weight"
        without = set(quantities_of("guides")) - {"milliseconds", "num_parameters"}
        return replace(row, absent=dict.fromkeys(sorted(without), reason))
    log_w = posterior.log_weights(num_particles, seed=seed)
    k_hat = pareto_k_hat(log_w)  # in their own precision, whose rounding is no tail
    log_w = log_w.double() - log_label_prior(posterior.pair, posterior.x, posterior.y)
    finite = bool(log_w.isfinite().all())
    none = "too few particles to estimate k̂" if finite else "weights that are not finite"
    return replace(
        row,
        elbo=log_w.mean(0),
        elbo_error=log_w.std(0) / math.sqrt(num_particles),
        importance_bound=log_mean_exp(log_w),
        importance_error=relative_error(log_w),
        effective_sample_size=effective_sample_size(log_w),
        k_hat=k_hat,
        absent={"share_unreliable": none} if bool(k_hat.isnan().any()) else {},
    )


def _with_gaps(
    row: GuideScores, posterior: Posterior, log_p: Tensor, best_of: BestOfFamily
) -> GuideScores:
    """The row with the gap between bound and evidence, split where its family can be fitted."""
    if row.elbo is None:
        return row
    elbo, log_p = row.elbo, log_p.to(row.elbo)
    row, fitted = replace(row, gap=log_p - elbo), is_fitted(posterior)
    family, why = (family_of_fitted(row.name), _WHOLE) if fitted else family_of(posterior)
    if family is None:
        absent = dict.fromkeys(("approximation_gap", "amortisation_gap"), why)
        return replace(row, absent={**row.absent, **absent})
    row = replace(row, family=family)
    if fitted:
        absent = {**row.absent, "amortisation_gap": why}
        row = replace(row, approximation_gap=row.gap, absent=absent)
    best = best_of(family, row)
    if best.elbo is None or (fitted and not is_better(best, row)):
        return row
    row = replace(row, best_of_family=best.name, approximation_gap=log_p - best.elbo)
    if not fitted:
        return replace(row, amortisation_gap=best.elbo - elbo)
    absent = {**row.absent, "amortisation_gap": _OPTIMISATION}
    return replace(row, optimisation_gap=best.elbo - elbo, absent=absent)


def _consistent(row: GuideScores, found: Evidence) -> GuideScores:
    """The row without numbers that contradict log p(x), and why they are not given."""
    if row.bound is None:
        return row
    log_p, noise = found.mean[0], found.monte_carlo_error

    def wrong(name: str, value: float, error: float, of: str = "log p(x)") -> str | None:
        error = math.hypot(error, noise)
        return contradiction((f"the {name}", value), (of, log_p), error=error)

    elbo, error = row.elbo_mean
    above = wrong(f"ELBO of {row.name}", elbo, error)
    reasons = {"gap": above, "approximation_gap": above}
    if row.best_of_family is not None and row.approximation_gap is not None:
        best = log_p - float(row.approximation_gap.double().mean())
        reasons["approximation_gap"] = wrong(f"ELBO of {row.best_of_family}", best, error) or above
    if found.kind in ("exact", "estimate"):
        reasons["elbo"] = above
        bound, errors = (values.double() for values in row.bound)
        of = f"log p(x) by {found.method}"
        reasons["importance_bound"] = wrong(
            f"L_K of {row.name}", float(bound.mean()), error_of_mean(errors), of
        )
    absent = {name: why for name, why in reasons.items() if why is not None}
    return replace(row, absent={**row.absent, **absent})
