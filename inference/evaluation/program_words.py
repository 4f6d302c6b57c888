"""What the numbers of a guide say of it, in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from inference.mcmc.diagnostics import ESS_PER_CHAIN, RHAT
from inference.pareto import RELIABLE

if TYPE_CHECKING:
    from inference.evaluation.program_table import ProgramGuideScores

__all__ = ["sentence"]

_MEAN = 0.1  # reference standard deviations by which a mean may be off and be right
_SD = 0.1  # share by which a standard deviation may be off and be right
_ERRORS = 3.0  # standard errors that a number must be beyond to be called wrong
DIVERGENT = 0.005  # share of transitions that diverge from which on a geometry is hard
_GOOD = 0.5  # k̂ up to which weights have finite variance
_MOST_SITES = 3
_SHARES = (
    *((1 / 4, "a quarter"), (1 / 3, "a third"), (1 / 2, "half")),
    *((2 / 3, "two thirds"), (3 / 4, "three quarters")),
)
_NEAR = 0.04


def sentence(row: ProgramGuideScores) -> str:
    """A sentence on a guide: its moments, its weights, its chains, and what to do.

    - A mean is right within 0.1 standard deviations of the reference, a standard deviation within a
      tenth of it; in both cases within three standard errors of the difference, too.
    - k̂ up to 0.5 makes a good importance proposal, up to 0.7 one that will do; above that weights
      cannot be relied upon (Vehtari et al. 2024).
    - Chains agree up to R̂ = 1.01, and their draws are enough from 100 for each chain (Vehtari et
      al. 2021). From 5 divergences in 1,000 transitions on the geometry is called hard.
    """
    if row.failed is not None:
        return f"{row.name}: failed: {row.failed}."
    parts = [*_moments(row), *_fit(row)]
    advice = "; ".join([*_weights(row), *_chains(row)])
    said = ", ".join(parts)
    return f"{row.name}: {'; '.join(text for text in (said, advice) if text)}."


def _moments(row: ProgramGuideScores) -> Iterator[str]:
    """Whether means and standard deviations are right, and where not."""
    if row.is_reference:
        yield "the reference"
        return
    if row.departures is None:
        return
    off, found = row.departures, []
    for what, limit in (("mean", _MEAN), ("sd", _SD)):
        wrong = {}
        for name, values in getattr(off, what).items():
            errors = getattr(off, f"{what}_error")[name]
            beyond = values.abs() > (_ERRORS * errors).clamp_min(limit)
            if bool(beyond.any()):
                flat = values.abs().where(beyond, values.new_zeros(())).flatten()
                wrong[name] = float(values.flatten()[int(flat.argmax())])
        found.append(dict(sorted(wrong.items(), key=lambda item: -abs(item[1]))))
    means, sds = found
    if not means and not sds:
        yield "means and standard deviations right"
        return
    yield _means(means) if means else "means right"
    yield from _sds(sds) if sds else ["standard deviations right"]


def _means(wrong: dict[str, float]) -> str:
    sites = list(wrong)
    by = f"{abs(wrong[sites[0]]):.2g} standard deviations"
    return f"mean{'s' * (len(sites) > 1)} of {_listed(sites)} off by {_up_to(sites)}{by}"


def _sds(wrong: dict[str, float]) -> Iterator[str]:
    for word, chosen in (
        ("small", [name for name, v in wrong.items() if v < 0]),
        ("large", [name for name, v in wrong.items() if v > 0]),
    ):
        if chosen:
            worst, up_to = wrong[chosen[0]], _up_to(chosen)
            if worst < -0.995:
                yield f"no spread in {_listed(chosen)}"
            elif worst > 1:
                yield f"standard deviations of {_listed(chosen)} {up_to}{1 + worst:.2g}-fold"
            else:
                by = _share(-worst) if worst < 0 else f"{worst:.0%}"
                yield f"standard deviations of {_listed(chosen)} too {word} by {up_to}{by}"


def _up_to(sites: list[str]) -> str:
    return "up to " if len(sites) > 1 else ""


def _listed(sites: list[str]) -> str:
    more = len(sites) - _MOST_SITES
    shown = sites[:_MOST_SITES]
    if more > 0:
        return f"{', '.join(shown)} and {more} more"
    return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))


def _share(value: float) -> str:
    near = [name for share, name in _SHARES if abs(share - value) <= _NEAR]
    return near[0] if near else f"{value:.0%}"


def _fit(row: ProgramGuideScores) -> Iterator[str]:
    if row.unfinished:
        yield f"its fit did not converge ({row.unfinished})"


def _weights(row: ProgramGuideScores) -> Iterator[str]:
    """What its importance weights are good for."""
    k_hat = row.value("k_hat")
    if k_hat is None or math.isnan(k_hat):
        return
    if k_hat == -math.inf:
        yield "all weights are equal: it is the posterior itself"
    elif k_hat <= _GOOD:
        yield f"k-hat {k_hat:.1f}: a good importance proposal"
    elif k_hat <= RELIABLE:
        yield f"k-hat {k_hat:.1f}: an importance proposal that will do"
    else:
        yield f"k-hat {k_hat:.1f}: do not use it as an importance proposal"


def _chains(row: ProgramGuideScores) -> Iterator[str]:
    """Whether chains can be believed."""
    diverged, r_hat, size = (row.value(n) for n in ("divergences", "r_hat", "chain_ess"))
    if diverged is None:
        return
    if diverged:
        told = f"{int(diverged):,} divergence{'s' * (diverged > 1)} of {row.num_draws:,}"
        hard = "the geometry is hard, write the model non-centred, or take tighter priors"
        yield f"{told}{f': {hard}' if diverged >= DIVERGENT * row.num_draws else ', which are few'}"
    if r_hat is not None and not r_hat <= RHAT:
        yield (
            f"chains do not agree (R-hat {r_hat:.2f} at {row.numbers['r_hat'].where}): more "
            "warm-up and draws"
        )
    if size is not None and not size >= ESS_PER_CHAIN * row.num_chains:
        yield (
            f"draws of {row.numbers['chain_ess'].where} are worth only {size:.0f} independent ones"
        )
    if not diverged and r_hat is not None and r_hat <= RHAT:
        yield "no divergence, and its chains agree"
