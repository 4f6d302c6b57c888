"""The best member of a guide's family, among guides of the same data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pyro
import torch
from pyro import poutine
from torch.distributions import Independent, MultivariateNormal, Normal

from inference.evaluation.guide_table import GuideScores
from inference.posterior.fitted import NOT_FITTED
from inference.posterior.posterior import Posterior
from pyro_models.seeds import alone, same_generators

__all__ = ["BestOfFamily", "family_of", "family_of_fitted", "is_better", "is_fitted"]

_FITTED_HERE = {"normal": "refined", "full_covariance": "full_covariance", "flow": "flow"}
_FAMILY_OF = {"refined": "normal", "auto_normal": "normal"}
_FAMILY_OF |= {"laplace": "full_covariance", "amortised_flow": "flow"}
_CONTAINS = {  # of latents that are one site
    "low_rank": ("normal",),
    "full_covariance": ("normal", "low_rank"),
    "flow": ("normal", "low_rank", "full_covariance"),
}
_CONTAINS_OF_SEVERAL_SITES = {**_CONTAINS, "flow": ("normal", "low_rank")}
_ENOUGH = 0.02  # nats below another member up to which a fit stands for the best of its family
_NOT_TO_EACH_DATUM = ("laplace", "amortised_flow")  # what is fitted is a mode, or shared weights


def family_of_fitted(name: str) -> str:
    """The family of a guide that was fitted to each datum, by its name."""
    return _FAMILY_OF.get(name, name)


def is_fitted(posterior: Posterior) -> bool:
    """Whether its bound was maximised for each datum."""
    return posterior.name not in _NOT_TO_EACH_DATUM and set(posterior.stopped) != {NOT_FITTED}


class BestOfFamily:
    """The guide with the highest mean ELBO of each family; one is fitted where none is there."""

    def __init__(
        self,
        posteriors: Mapping[str, Posterior],
        rows: Mapping[str, GuideScores],
        fitted: Callable[[str], GuideScores],
    ) -> None:
        self.fit_and_score = fitted
        dense = {name: p for name, p in posteriors.items() if p.density}
        self.rows = {name: rows[name] for name in dense}
        self.fitted = {name for name, p in dense.items() if is_fitted(p)}
        self.family = {
            name: family_of_fitted(name) if name in self.fitted else family_of(p)[0]
            for name, p in dense.items()
        }
        several = any(len(p.target.prior) > 1 for p in dense.values())
        self.contains = _CONTAINS_OF_SEVERAL_SITES if several else _CONTAINS

    def __call__(self, family: str, row: GuideScores) -> GuideScores:
        """The best member of a family, ``row`` itself if none is better."""
        if family in _FITTED_HERE and not self._fitted_members(family):
            name = _FITTED_HERE[family]
            self.rows[name] = self.fit_and_score(name)
            self.family[name] = family
            self.fitted.add(name)
        within = (family, *self.contains.get(family, ()))
        fitted = self._fitted_members(family)
        best = max((self.rows[name] for name in fitted or [row.name]), key=_mean_elbo)
        for name, of in self.family.items():
            other = self.rows[name]
            if of in within and is_better(other, best):
                best = other
        return row if _mean_elbo(row) >= _mean_elbo(best) else best

    def _fitted_members(self, family: str) -> list[str]:
        return [name for name in self.fitted if self.family[name] == family]


def _mean_elbo(row: GuideScores) -> float:
    return row.elbo_mean[0]


def is_better(one: GuideScores, other: GuideScores) -> bool:
    """Whether the mean ELBO of one is higher than a fit's is expected to end below the best."""
    (first, first_error), (second, second_error) = one.elbo_mean, other.elbo_mean
    noise = math.hypot(first_error, second_error)
    return first - second > _ENOUGH + 2 * (0.0 if math.isnan(noise) else noise)


@alone()
def family_of(posterior: Posterior) -> tuple[str | None, str]:
    """The family whose members can be fitted to each datum, or why there is none."""
    if posterior.name == "prior":
        return None, "the prior has nothing that could be fitted"
    if posterior.name in _FAMILY_OF:
        return _FAMILY_OF[posterior.name], ""
    apart = same_generators(posterior.x.device)
    with torch.no_grad(), apart, pyro.plate("_particles", 2, dim=-2):
        trace = poutine.trace(posterior.guide).get_trace(posterior.x, **posterior.target.conditions)
    latents = posterior.pair.latent_sites
    found = [trace.nodes[name]["fn"] for name in posterior.target.prior]
    means = [q.mean.expand(2, *q.mean.shape[-1 - len(q.event_shape) :]) for q in found]
    reason = "its family is not among those that are fitted to one datum"
    family = None
    if any(name in trace.nodes for name, site in latents.items() if site.discrete):
        reason = "q is a mixture over labels, a family that is not fitted to one datum"
    elif any(not torch.equal(mean[0], mean[1]) for mean in means):
        reason = "its sites depend on each other, a family that is not fitted to one datum"
    elif all(isinstance(q, Independent) and isinstance(q.base_dist, Normal) for q in found):
        family = "normal"
    elif len(found) == 1 and isinstance(found[0], MultivariateNormal):
        family = "full_covariance"
    return family, reason
